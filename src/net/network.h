/* Networks: bridges with their subnets, and containers' endpoints in them.
 *
 * A network belongs to the machine, not to a project: ROOT/networks/NAME/network.json says what it
 * is, RUN/networks/NAME/endpoints/CONTAINER.json who is in it, addresses/ADDRESS there (a symbolic link to the
 * container's ID) which addresses are taken. The kernel's objects (bridge, veth, nftables table) follow from
 * the files and are mended from them.
 *
 * All calls block and may run in any worker thread at the same time, in several processes too. */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"
#include "model/project.h"
#include "net/addr.h"

enum network_driver {
    NETWORK_BRIDGE,
    NETWORK_MACVLAN, /* interfaces cut from one of the host's: a place in the network that it is in */
    NETWORK_HOST,    /* the machine's own namespace: nothing is made */
    NETWORK_NONE,    /* loopback alone */
};

/* What a network shall be. Strings are borrowed. */
struct network_config {
    const char *name;    /* on the machine */
    const char *driver;  /* NULL: bridge; macvlan, host, none */
    const char *project; /* NULL: of no project */
    const char *key;     /* its key in the file, NULL: none */
    const struct ipam_pool *pools;
    size_t pools_n; /* 0, or pools without a subnet: taken from the default pools */
    struct key_values driver_opts, labels;
    bool internal, attachable;
    int enable_ipv4, enable_ipv6;  /* 1, 0, UNSET: IPv4 yes, IPv6 no */
    const struct node *definition; /* its section of the file, kept with it; NULL: none */
    /* Where subnets are taken from, NULL-terminated, "172.17.0.0/16" style; each gives one subnet a
     * network of prefix 24 (IPv6: 64). NULL: COMPOSE_ADDRESS_POOLS (comma-separated), else Docker's
     * ranges 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16. */
    const char *const *address_pools;
};

struct network_subnet {
    struct ip_net subnet, range; /* range: what addresses are given out of */
    struct ip_addr gateway;      /* the bridge's address */
    struct network_aux {
        char *name;
        struct ip_addr addr;
    } * aux;
    size_t aux_n;
};

/* What a network is. Heap; network_state_free(). */
struct network_state {
    char *id; /* 64 hex digits */
    char *name, *project, *key;
    enum network_driver driver;
    char *bridge; /* interface name, NULL: driver without one */
    char *parent; /* the interface of the host that macvlan ones belong to, else NULL */
    struct network_subnet *subnets;
    size_t subnets_n;
    bool internal, attachable, ipv4, ipv6;
    bool icc;                 /* containers may talk to each other */
    bool masquerade;          /* outgoing traffic bears the host's address */
    int mtu;                  /* 0: the kernel's default */
    char *host_binding;       /* address that ports without host_ip are published on, NULL: all */
    int64_t created;          /* ns since the epoch */
    json_t *labels, *options; /* objects of strings */
    json_t *definition;       /* the section of the file that it was made from, NULL: not known */
    /* Set by network_create() alone, for the user to be told: */
    bool made;               /* it did not exist before */
    bool enabled_forwarding; /* net.ipv4.ip_forward was 0 */
    char *warning; /* something in the host's firewall that was not mended; NULL: nothing */
};

void network_state_free(struct network_state *n);
/* Whether containers get an interface in it. */
bool network_has_interfaces(const struct network_state *n);

/* Fills c from a network of the file. */
void network_config_of(const struct network *model, const char *project, struct network_config *c);

/* Makes the network, or mends what is missing of one that exists (bridge deleted, table flushed,
 * after a reboot). An existing network's configuration is kept; whether it differs from what the
 * file says is the caller's to judge (definition). Errors: ERR_CONFLICT names the route, address or
 * network that a subnet overlaps; ERR_UNAVAILABLE when the pools are exhausted, and says what to
 * do. */
int network_create(const struct paths *paths, const struct network_config *config,
                   struct network_state **out, struct err *err);
/* Mends the network as network_create() does, for when another program changed the host's network
 * (net/watch.h). ERR_NOT_FOUND where there is none. */
int network_repair(const struct paths *paths, const char *name, struct err *err);
/* Removes bridge, table and files. ERR_CONFLICT names the containers that are in it; endpoints
 * whose namespace is gone do not count. A network that does not exist is ERR_NOT_FOUND. */
int network_remove(const struct paths *paths, const char *name, struct err *err);
/* ERR_NOT_FOUND where there is none. "host" and "none" always exist. */
int network_load(const struct paths *paths, const char *name, struct network_state **out,
                 struct err *err);
/* All networks by name, NULL-terminated; unreadable ones are left out. network_list_free(). */
int network_list(const struct paths *paths, struct network_state ***out, struct err *err);
void network_list_free(struct network_state **list);

/* A container that shall be in a network. Strings are borrowed. */
struct endpoint_config {
    const char *container_id, *container_name;
    const char *project, *service;           /* NULL: none */
    const char *netns;                       /* pin made by netns_create() */
    const char *interface_name;              /* NULL: the first free of eth0, eth1, … */
    const char *ipv4_address, *ipv6_address; /* NULL: any */
    const char *mac_address;                 /* NULL: made from the IPv4 address */
    struct strings link_local_ips;
    struct strings aliases; /* the service's name and its aliases in this network */
    struct key_values driver_opts;
    const char *hostname; /* a name of it too, NULL: none */
    bool default4,
        default6;      /* the container leaves through this network; see network_pick_gateways() */
    bool no_dns_names; /* `run` containers without --use-aliases: only name and ID resolve */
};

/* A container's place in a network. Strings are heap; endpoint_release(). */
struct endpoint {
    char *container_id, *container_name, *project, *service, *network;
    char *netns;
    char *ifname;              /* in the container; NULL: driver without interface */
    uint64_t netns_inode;      /* of the namespace that was at netns, see stat(2) */
    char *veth;                /* its other end, a port of the bridge; NULL: macvlan */
    struct ip_addr ipv4, ipv6; /* family 0: none */
    unsigned ipv4_prefix, ipv6_prefix;
    struct ip_addr gateway4, gateway6; /* family 0: none, or an internal network */
    char mac[18];
    char **names;  /* all names that DNS resolves to it in this network, lower case */
    json_t *ports; /* array kept by net/port.h; borrowed by nobody else */
};

void endpoint_release(struct endpoint *e);

/* Which of n networks give the default routes; -1: none. */
struct network_gateways {
    int ipv4, ipv6;
};

/* Of those that have the family: highest gw_priority, then such as have both families, then by name; internal networks
 * and such without a bridge do not count. */
struct network_gateways network_pick_gateways(const struct network_state *const *networks,
                                              const int64_t *gw_priority, size_t n);

/* Connects the container: addresses (the lowest free; a requested one that is taken is ERR_CONFLICT
 * and names the holder), veth, bridge port, routes, and the endpoint's file, which makes its names
 * known to other projects. Already connected: made anew. e is filled on success only. */
int network_connect(const struct paths *paths, const struct network_state *network,
                    const struct endpoint_config *config, struct endpoint *e, struct err *err);
/* Undoes network_connect(), published ports included. Not connected, or no such network: fine.
 * Call it before netns_remove(). */
int network_disconnect(const struct paths *paths, const char *network, const char *container_id,
                       struct err *err);
/* From every network that knows it. */
int network_disconnect_all(const struct paths *paths, const char *container_id, struct err *err);
/* Who is in the network, as the files say; *out is an array of *n, each to be released, then freed.
 */
int network_endpoints(const struct paths *paths, const char *network, struct endpoint **out,
                      size_t *n, struct err *err);
/* One endpoint; ERR_NOT_FOUND where there is none. */
int network_endpoint(const struct paths *paths, const char *network, const char *container_id,
                     struct endpoint *e, struct err *err);
/* RUN/networks/NAME/endpoints, heap: what dns_zone_watch() follows. */
char *network_endpoints_dir(const struct paths *paths, const char *network);

#endif
