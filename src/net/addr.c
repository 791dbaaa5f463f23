#include "net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ip_parse(const char *s, struct ip_addr *a)
{
    *a = (struct ip_addr){0};
    if (inet_pton(AF_INET, s, &a->v4) == 1)
        a->family = AF_INET;
    else if (inet_pton(AF_INET6, s, &a->v6) == 1)
        a->family = AF_INET6;
    return a->family != 0;
}

bool ip_net_parse(const char *s, struct ip_net *n)
{
    char text[IP_TEXT_MAX];
    const char *slash = strchr(s, '/');
    if (!slash || (size_t)(slash - s) >= sizeof(text))
        return false;
    memcpy(text, s, (size_t)(slash - s));
    text[slash - s] = '\0';
    if (!ip_parse(text, &n->addr))
        return false;
    if (strspn(slash + 1, "0123456789") != strlen(slash + 1) || !slash[1] || strlen(slash + 1) > 3)
        return false;
    n->prefix = (unsigned)atoi(slash + 1);
    return n->prefix <= ip_size(&n->addr) * 8;
}

char *ip_format(const struct ip_addr *a, char out[IP_TEXT_MAX])
{
    if (!a->family || !inet_ntop(a->family, a->bytes, out, IP_TEXT_MAX))
        out[0] = '\0';
    return out;
}

char *ip_net_format(const struct ip_net *n, char out[IP_TEXT_MAX])
{
    char addr[IP_TEXT_MAX];
    snprintf(out, IP_TEXT_MAX, "%.*s/%u", INET6_ADDRSTRLEN, ip_format(&n->addr, addr), n->prefix);
    return out;
}

unsigned ip_size(const struct ip_addr *a)
{
    return a->family == AF_INET6 ? 16 : 4;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, ip_size(a)) == 0;
}

int ip_compare(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return memcmp(a->bytes, b->bytes, ip_size(a));
}

bool ip_add(const struct ip_addr *a, uint64_t n, struct ip_addr *out)
{
    struct ip_addr sum = *a;
    uint64_t carry = n;
    for (int i = (int)ip_size(a) - 1; i >= 0 && carry; i--) {
        carry += sum.bytes[i];
        sum.bytes[i] = (uint8_t)carry;
        carry >>= 8;
    }
    *out = sum;
    return carry == 0;
}

bool ip_is_loopback(const struct ip_addr *a)
{
    return a->family == AF_INET ? a->bytes[0] == 127 : IN6_IS_ADDR_LOOPBACK(&a->v6);
}

bool ip_is_any(const struct ip_addr *a)
{
    static const uint8_t zero[16];
    return memcmp(a->bytes, zero, ip_size(a)) == 0;
}

struct ip_net ip_net_masked(const struct ip_net *n)
{
    struct ip_net m = *n;
    for (unsigned i = 0; i < ip_size(&n->addr); i++) {
        unsigned bits = n->prefix > i * 8 ? n->prefix - i * 8 : 0;
        if (bits < 8)
            m.addr.bytes[i] &= (uint8_t)(0xff00u >> bits);
    }
    return m;
}

bool ip_net_contains(const struct ip_net *n, const struct ip_addr *a)
{
    if (n->addr.family != a->family)
        return false;
    struct ip_net other = {.addr = *a, .prefix = n->prefix};
    struct ip_net x = ip_net_masked(n), y = ip_net_masked(&other);
    return ip_equal(&x.addr, &y.addr);
}

bool ip_net_overlaps(const struct ip_net *a, const struct ip_net *b)
{
    return a->prefix <= b->prefix ? ip_net_contains(a, &b->addr) : ip_net_contains(b, &a->addr);
}

struct ip_addr ip_net_last(const struct ip_net *n)
{
    struct ip_addr last = n->addr;
    for (unsigned i = 0; i < ip_size(&n->addr); i++) {
        unsigned bits = n->prefix > i * 8 ? n->prefix - i * 8 : 0;
        if (bits < 8)
            last.bytes[i] |= (uint8_t)(0xffu >> bits);
    }
    return last;
}
