/* nftables: one table a network, "inet compose_<12 hex digits of its id>".
 *
 * The table holds the network's masquerading, its published ports and who may reach its bridge;
 * deleting the table takes all of it away at once. Blocking; calls of several threads take turns,
 * since libnftables is not thread-safe. */
#ifndef NET_NFT_H
#define NET_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "net/network.h"

/* A published port, of one address family. */
struct nft_port {
    char protocol[8];
    struct ip_addr host; /* 0.0.0.0 or :: : all addresses of the host */
    struct ip_addr target;
    uint16_t published, target_port;
};

enum { NFT_TABLE_MAX = 32 };

/* Runs commands of nft(8) as one transaction. json: *json gets the JSON output of list commands
 * (new reference); NULL: text commands without output. ERR_NOT_FOUND where an object does not
 * exist, ERR_CONFLICT where it exists already. */
int nft_run(const char *commands, json_t **json, struct err *err);

char *nft_table_name(const struct network_state *n, char out[NFT_TABLE_MAX]);
/* Makes the network's table, with these ports, in place of any that is there. */
int nft_network_apply(const struct network_state *n, const struct nft_port *ports, size_t ports_n,
                      struct err *err);
bool nft_network_exists(const struct network_state *n);
/* A missing table is fine. */
int nft_network_delete(const struct network_state *n, struct err *err);
/* Adds ports to the table; one that is there with another target is replaced. */
int nft_ports_add(const struct network_state *n, const struct nft_port *ports, size_t ports_n,
                  struct err *err);
/* Removes ports; those that are not there are fine. */
int nft_ports_remove(const struct network_state *n, const struct nft_port *ports, size_t ports_n,
                     struct err *err);

/* Redirects port 53 of 127.0.0.11, in the caller's network namespace, to these ports of 127.0.0.11.
 */
int nft_dns_redirect(uint16_t udp_port, uint16_t tcp_port, struct err *err);

#endif
