/* The embedded DNS server: answers at 127.0.0.11 inside each container.
 *
 * The server opens its sockets in the container's network namespace, so the socket itself says who
 * asks. They stand at a port of their own, to which port 53 of 127.0.0.11 is redirected in that
 * namespace: the container may run its own DNS server on port 53.
 *
 * Names come from zones, one a network. A known name is never forwarded: without a record of the
 * asked type the answer is NODATA. Everything else goes to the upstreams as it came, with another
 * ID.
 *
 * Lives on one libuv loop; nothing here blocks it. */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "net/addr.h"
#include "net/network.h"

struct dns_server;
struct dns_zone;
struct dns_endpoint;

struct dns_options {
    const char *resolv_conf; /* the host's, followed live; NULL: /etc/resolv.conf */
    unsigned max_forwards;   /* forwarded queries at a time, 0: 1024; beyond: SERVFAIL */
    uint32_t ttl;            /* seconds, 0: 600 as Docker */
};

/* options may be NULL. */
struct dns_server *dns_server_new(uv_loop_t *loop, const struct dns_options *options);
/* Closes every endpoint and zone, then calls done (may be NULL) with nothing of it left on the
 * loop. */
void dns_server_close(struct dns_server *s, void (*done)(void *arg), void *arg);

/* Zones: what names a network has. */

/* The zone of a network, made on first use and owned by the server. */
struct dns_zone *dns_zone(struct dns_server *s, const char *network);
/* The same from an endpoint that network_connect() gave. */
void dns_zone_add_endpoint(struct dns_zone *z, const struct endpoint *e);
void dns_zone_remove(struct dns_zone *z, const char *id);
/* Follows a folder of endpoint files (network_endpoints_dir()), so that containers of other
 * projects on a shared network resolve too. Reads what is there now. A zone that follows one already goes on with it. */
int dns_zone_watch(struct dns_zone *z, const char *dir, struct err *err);

/* Endpoints: who asks, and what it may see. */

/* links: NULL-terminated "alias" -> name pairs, in the container's networks. */
struct dns_link {
    const char *alias, *name;
};

/* Copied by dns_endpoint_open(). */
struct dns_view {
    const char *const *networks; /* zones, in order of search; NULL-terminated */
    const struct dns_link *links;
    size_t links_n;
    const char *const
        *upstreams;  /* the service's `dns:`, asked from within the container's namespace;
                        NULL or empty: the host's resolv.conf, asked from the host */
    bool no_forward; /* only internal networks: unknown names are SERVFAIL */
    bool ndots_set;  /* the service sets an ndots option: single-label names are not forwarded */
};

/* err is NULL on success. */
typedef void (*dns_endpoint_cb)(void *arg, struct err *err);

/* Opens the sockets in the namespace pinned at netns; done is called once, later, from the loop.
 * After a restart of the process, opening again moves the redirection to the new sockets. id is the
 * container's, for messages. Closed by dns_endpoint_close(), also when done told of an error. */
void dns_endpoint_open(struct dns_server *s, const char *id, const char *netns,
                       const struct dns_view *view, dns_endpoint_cb done, void *arg,
                       struct dns_endpoint **out);
/* Closes; done (may be NULL) is called when its sockets are closed. */
void dns_endpoint_close(struct dns_endpoint *e, void (*done)(void *arg), void *arg);

#endif
