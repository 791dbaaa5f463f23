/* Choosing and binding the host's side of published ports: blocking, for the publisher's worker. */
#ifndef NET_PORT_BIND_H
#define NET_PORT_BIND_H

#include <stdbool.h>

#include "net/network.h"
#include "net/nft.h"
#include "net/port.h"

struct bound_socket {
    int fd; /* -1: handed over */
    bool udp;
    struct ip_addr target;
    uint16_t target_port;
};

struct bound_ports {
    struct bound_socket *sockets; /* held against other programs; relayed from */
    size_t sockets_n;
    struct nft_port *rules; /* what the kernel translates */
    size_t rules_n;
    struct port_binding *bindings; /* what the user is told */
    size_t bindings_n;
    uint16_t *udp; /* UDP ports */
    size_t udp_n;
};

/* Binds all or none; see port_publish() for the errors. */
int ports_bind(const struct paths *paths, const struct network_state *n, const struct endpoint *e,
               const struct port_spec *specs, size_t specs_n, struct bound_ports *out,
               struct err *err);
/* Closes what was not handed over. */
void bound_ports_release(struct bound_ports *b);

#endif
