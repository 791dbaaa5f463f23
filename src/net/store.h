/* Networks and endpoints in files: what is connected ends with the machine's run, so it lies in RUN. Within net/ only.
 *
 *   ROOT/networks/lock                         held while subnets are chosen
 *   ROOT/networks/NAME/network.json
 *   RUN/networks/NAME/endpoints/CONTAINER.json
 *   RUN/networks/NAME/addresses/ADDRESS        symbolic link to CONTAINER: making it takes the
 * address */
#ifndef NET_STORE_H
#define NET_STORE_H

#include "net/network.h"

/* Names that become folders: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 200 bytes. */
bool store_name_valid(const char *name);
/* ROOT/networks, heap. */
char *store_networks_dir(const struct paths *paths);

int store_network_save(const struct paths *paths, const struct network_state *n, struct err *err);
/* As network_load(), of networks with a file only. */
int store_network_load(const struct paths *paths, const char *name, struct network_state **out,
                       struct err *err);
int store_endpoint_save(const struct paths *paths, const struct endpoint *e, struct err *err);
char *store_endpoint_path(const struct paths *paths, const char *network, const char *container_id);

/* Takes an address of the subnet for the container: the lowest free of its range, or want (NULL:
 * any). One that the container holds already is given again. */
int store_address_take(const struct paths *paths, const struct network_state *n,
                       const struct network_subnet *subnet, const char *container_id,
                       const struct ip_addr *want, struct ip_addr *out, struct err *err);
/* Gives it back if the container holds it. */
void store_address_drop(const struct paths *paths, const char *network, const struct ip_addr *addr,
                        const char *container_id);

/* Gives back addresses that a process took and was killed before it wrote the endpoint's file. */
void store_addresses_sweep(const struct paths *paths, const char *network);

#endif
