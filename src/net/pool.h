/* Choosing subnets out of address pools: logic alone, no system calls. */
#ifndef NET_POOL_H
#define NET_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "net/addr.h"

/* A subnet that is in use, and by whom: "route 10.0.0.0/8 by tun0". */
struct pool_taken {
    struct ip_net net;
    char *what;
};

/* The pools given out when nobody says otherwise, NULL-terminated. */
extern const char *const pool_defaults[];

enum { POOL_PREFIX6 = 64 };

/* The first free subnet of the IPv4 pools that overlaps nothing in taken: a /22, which has as many addresses as a
 * bridge has ports, of a pool of a /16 or more; a /24, or the whole pool, of smaller ones. ERR_INVALID on a pool that makes no sense; ERR_UNAVAILABLE when all are in use:
 * the error says by what and what to do. */
int pool_pick(const char *const *pools, const struct pool_taken *taken, size_t n,
              struct ip_net *out, struct err *err);
/* A random unique local IPv6 /64 (RFC 4193) that overlaps nothing in taken. */
int pool_pick_ula(const struct pool_taken *taken, size_t n, struct ip_net *out, struct err *err);

/* "a, b" -> NULL-terminated heap vector, for COMPOSE_ADDRESS_POOLS. */
char **pool_split(const char *list);

#endif
