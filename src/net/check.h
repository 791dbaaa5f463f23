/* What the host must offer for containers to have a network: for `compose doctor`. */
#ifndef NET_CHECK_H
#define NET_CHECK_H

#include <stddef.h>

#include "base/paths.h"

enum check_level { CHECK_OK, CHECK_WARN, CHECK_FAIL };

struct check_result {
    const char *name; /* "ip forwarding", static */
    enum check_level level;
    char *detail; /* what was found, heap */
    char *remedy; /* how to mend it, heap; NULL: nothing to do */
};

/* Runs all checks of the network (blocking, changes nothing): bridge, veth, network namespaces,
 * nftables, forwarding, other firewalls' forward policies, bridge netfilter, IPv6, DNS (port 53 and
 * upstreams), address pools. *out is an array of *n; network_check_free(). */
void network_check(const struct paths *paths, struct check_result **out, size_t *n);
void network_check_free(struct check_result *results, size_t n);

#endif
