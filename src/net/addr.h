/* IP addresses and subnets of both families, in network byte order. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct ip_addr {
    int family; /* AF_INET, AF_INET6, 0: none */
    union {
        struct in_addr v4;
        struct in6_addr v6;
        uint8_t bytes[16];
    };
};

/* An address with a prefix length; as a subnet its host bits are zero. */
struct ip_net {
    struct ip_addr addr;
    unsigned prefix;
};

enum { IP_TEXT_MAX = 64 }; /* enough for "ADDRESS/PREFIX" */

/* False where s is no address; nothing but the address may stand in s. */
bool ip_parse(const char *s, struct ip_addr *a);
/* "ADDRESS/PREFIX"; host bits are kept. */
bool ip_net_parse(const char *s, struct ip_net *n);
char *ip_format(const struct ip_addr *a, char out[IP_TEXT_MAX]);
char *ip_net_format(const struct ip_net *n, char out[IP_TEXT_MAX]);

/* 4 or 16. */
unsigned ip_size(const struct ip_addr *a);
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
int ip_compare(const struct ip_addr *a, const struct ip_addr *b);
/* a + n; false where that leaves the address space. */
bool ip_add(const struct ip_addr *a, uint64_t n, struct ip_addr *out);
bool ip_is_loopback(const struct ip_addr *a);
bool ip_is_any(const struct ip_addr *a);

/* The subnet of n: its host bits cleared. */
struct ip_net ip_net_masked(const struct ip_net *n);
bool ip_net_contains(const struct ip_net *n, const struct ip_addr *a);
bool ip_net_overlaps(const struct ip_net *a, const struct ip_net *b);
/* The last address of the subnet: the broadcast address where the family is IPv4. */
struct ip_addr ip_net_last(const struct ip_net *n);

#endif
