/* The rtnetlink messages that networks need: each call queues one on the batch (net/netlink.h). */
#ifndef NET_LINK_H
#define NET_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/addr.h"
#include "net/netlink.h"

/* A bridge with a fixed MAC address, so that it does not change as ports come and go. mtu 0:
 * default. Fails with EEXIST where the name is taken. */
void link_add_bridge(struct netlink *nl, const char *name, const uint8_t mac[6], int mtu,
                     uint32_t group);
/* A veth pair: name stays here as a port of the bridge (interface index), peer with its MAC address
 * goes into the namespace. */
void link_add_veth(struct netlink *nl, const char *name, int bridge, const char *peer, int netns_fd,
                   const uint8_t mac[6], int mtu, uint32_t group);
/* An interface name at the parent, with its MAC address, which goes into the namespace. mode:
 * MACVLAN_MODE_*, linux/if_link.h. */
void link_add_macvlan(struct netlink *nl, int parent, const char *name, int netns_fd,
                      const uint8_t mac[6], int mtu, uint32_t mode);
void link_set_up(struct netlink *nl, int ifindex);
void link_set_master(struct netlink *nl, int ifindex, int bridge);
/* hairpin: frames may leave through the port that they came from. isolated: the port talks to the
 * bridge and to ports that are not isolated, alone (Linux 4.18). */
void link_set_port(struct netlink *nl, int ifindex, bool hairpin, bool isolated);
/* Stops a bridge port from passing frames, at once; deleting it takes the kernel some 20 ms. */
void link_disable_port(struct netlink *nl, int ifindex);
/* All links of a group: one grace period of the kernel for all instead of one each. None: fine. */
void link_delete_group(struct netlink *nl, uint32_t group);
/* A link that does not exist is fine. */
void link_delete(struct netlink *nl, const char *name);
/* No duplicate address detection: the addresses are ours to give. */
void link_add_address(struct netlink *nl, int ifindex, const struct ip_net *addr);
/* The default route of the gateway's family. */
void link_add_default_route(struct netlink *nl, int ifindex, const struct ip_addr *gateway);

/* Calls fn for each interface until it returns something else than 0. */
int link_each(struct netlink *nl, int (*fn)(const char *name, uint32_t group, void *arg), void *arg,
              struct err *err);

/* 0 where there is no such interface in the caller's namespace. */
int link_index(const char *name);

struct host_route {
    struct ip_net dst;
    int ifindex; /* 0: none (blackhole and the like) */
    bool local; /* an address of the host rather than a route: dst is the address with its prefix */
};

/* All routes but the default ones and the kernel's local, broadcast and multicast ones, and all
 * addresses; *out is an array of *n, heap. */
int link_host_routes(struct netlink *nl, struct host_route **out, size_t *n, struct err *err);

#endif
