/* What the files of net/ share about endpoints. Within net/ only. */
#ifndef NET_ENDPOINT_H
#define NET_ENDPOINT_H

#include "net/network.h"
#include "net/nft.h"

/* The group that the network's interfaces are in, so that they can be deleted all at once. */
#define NETWORK_GROUP_FIRST UINT32_C(0x40000000)
uint32_t network_group(const struct network_state *n);

/* Appends the ports that the endpoint publishes, as the table holds them; *ports is grown. */
void endpoint_ports(const struct endpoint *e, struct nft_port **ports, size_t *n);
/* Records in the endpoint's file what it publishes. */
int endpoint_set_ports(const struct paths *paths, const char *network, const char *container_id,
                       const struct nft_port *ports, size_t n, struct err *err);

#endif
