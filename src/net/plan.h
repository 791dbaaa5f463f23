/* From what a network shall be to what it is: drivers, options, subnets. Within net/ only. */
#ifndef NET_PLAN_H
#define NET_PLAN_H

#include "net/network.h"

/* Decides everything about a new network and makes nothing. Held: ROOT/networks/lock. */
int network_plan(const struct paths *paths, const struct network_config *config,
                 struct network_state **out, struct err *err);

/* MACVLAN_MODE_* of linux/if_link.h. */
uint32_t plan_macvlan_mode(const struct network_state *n);

/* The subnet that a new network would get; for checks. */
int plan_next_subnet(const struct paths *paths, struct ip_net *out, struct err *err);

#endif
