#include "file/port_spec.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "base/mem.h"

static bool parse_port(const char *s, size_t len, uint16_t *port)
{
    unsigned v = 0;
    if (!len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)s[i]))
            return false;
        v = v * 10 + (unsigned)(s[i] - '0');
        if (v > UINT16_MAX)
            return false;
    }
    *port = (uint16_t)v;
    return true;
}

bool port_range_parse(const char *text, uint16_t *first, uint16_t *last)
{
    size_t n = strcspn(text, "-");
    if (!parse_port(text, n, first))
        return false;
    *last = *first;
    if (text[n] && !parse_port(text + n + 1, strlen(text + n + 1), last))
        return false;
    return *first <= *last;
}

bool address_is_valid(const char *ip)
{
    unsigned char buf[16];
    return inet_pton(AF_INET, ip, buf) == 1 || inet_pton(AF_INET6, ip, buf) == 1;
}

static const char *parse_protocol(struct arena *a, char *container, struct port_spec *out)
{
    char *slash = strchr(container, '/');
    out->protocol = "tcp";
    if (!slash)
        return NULL;
    *slash++ = '\0';
    slash[strcspn(slash, "/")] = '\0';
    if (!*slash)
        return NULL;
    for (char *p = slash; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    out->protocol = slash;
    if (!streq(slash, "tcp") && !streq(slash, "udp") && !streq(slash, "sctp"))
        return arena_printf(a, "unknown protocol \"%s\": want tcp or udp", slash);
    return NULL;
}

const char *port_spec_parse(struct arena *a, const char *text, struct port_spec *out)
{
    *out = (struct port_spec){.address = ""};
    char *copy = arena_strdup(a, text), *container = copy, *host = NULL;
    char *colon = strrchr(copy, ':');
    if (colon) {
        *colon = '\0';
        container = colon + 1;
        host = copy;
        colon = strrchr(copy, ':');
        if (colon) {
            *colon = '\0';
            host = colon + 1;
            out->address = copy;
        }
    }
    size_t n = strlen(out->address);
    if (n > 1 && copy[0] == '[' && copy[n - 1] == ']') {
        copy[n - 1] = '\0';
        out->address = copy + 1;
    } else if (strchr(out->address, ':')) {
        return arena_printf(a, "IPv6 address %s must be in brackets", out->address);
    }
    if (*out->address && !address_is_valid(out->address))
        return arena_printf(a, "\"%s\" is no IP address", out->address);
    const char *wrong = parse_protocol(a, container, out);
    if (wrong)
        return wrong;
    if (!*container)
        return "no container port";
    if (!port_range_parse(container, &out->first, &out->last))
        return arena_printf(a, "container port \"%s\": want 0-65535 or a range", container);
    if (!host || !*host)
        return NULL;
    out->published = true;
    if (!port_range_parse(host, &out->host_first, &out->host_last))
        return arena_printf(a, "host port \"%s\": want 0-65535 or a range", host);
    if (out->first != out->last && out->last - out->first != out->host_last - out->host_first)
        return arena_printf(a, "ranges %s and %s differ in length", host, container);
    return NULL;
}
