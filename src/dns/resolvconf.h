/* resolv.conf(5): the host's is read, the container's is written. */
#ifndef DNS_RESOLVCONF_H
#define DNS_RESOLVCONF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "model/project.h"
#include "net/addr.h"

struct resolv_server {
    struct ip_addr addr;
    unsigned scope; /* interface index of a link-local IPv6 address, 0: none */
};

struct resolv_conf {
    struct resolv_server *servers;
    size_t servers_n;
    char **search, **options; /* NULL-terminated, NULL: none */
};

/* Lines that make no sense are skipped, as the resolver does. At most 16 servers, 32 search domains
 * and 32 options are kept. */
void resolv_conf_parse(const char *text, struct resolv_conf *rc);
/* Reads path (NULL: /etc/resolv.conf). A missing file is an empty one. */
int resolv_conf_read(const char *path, struct resolv_conf *rc, struct err *err);
void resolv_conf_release(struct resolv_conf *rc);

/* The container's resolv.conf, heap. search "." : none; empty lists: the host's. "ndots:0" is added
 * unless an ndots option is given, as Docker does: names of services have no dots.
 * internal_dns: "nameserver 127.0.0.11"; else the servers of dns, or the host's, for network_mode
 * host and containers outside of any network. */
char *dns_resolv_conf(const struct resolv_conf *host, const struct strings *dns,
                      const struct strings *search, const struct strings *options,
                      bool internal_dns);

#endif
