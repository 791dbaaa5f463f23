/* Relays what arrives at a listening socket to one address: for what the kernel's translation of
 * published ports cannot do. TCP by splice(2), the data never enters this process; UDP by sessions
 * that end after 90 idle seconds. Lives on a libuv loop. */
#ifndef NET_RELAY_H
#define NET_RELAY_H

#include <stdint.h>
#include <uv.h>

#include "net/addr.h"

struct relay;

/* Takes the socket: listening (TCP) or bound (UDP), non-blocking, with IP_PKTINFO or
 * IPV6_RECVPKTINFO set where UDP. */
struct relay *relay_tcp_new(uv_loop_t *loop, int take_fd, const struct ip_addr *target,
                            uint16_t port);
struct relay *relay_udp_new(uv_loop_t *loop, int take_fd, const struct ip_addr *target,
                            uint16_t port);
/* Closes the socket at once and all connections; frees, then calls done (may be NULL). */
void relay_close(struct relay *r, void (*done)(void *arg), void *arg);

#endif
