/* Published ports.
 *
 * The work is the kernel's: the network's nftables table translates what comes to the host's
 * addresses, 127.0.0.1 included, so traffic does not pass through this process and goes on when it
 * dies. Beside it the publisher keeps a listening socket for each port, so that other programs see
 * the clash; what the kernel does not translate (IPv6 to a container that has IPv4 only, [::1])
 * arrives there and is relayed.
 *
 * The publisher lives on one libuv loop; after a restart of the process, port_publish() with the
 * ports that were chosen before opens the sockets again and leaves the rules as they are. */
#ifndef NET_PORT_H
#define NET_PORT_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/paths.h"
#include "net/addr.h"

struct port_publisher;

struct port_spec {
    const char *host_ip;    /* NULL: the network's default, else all addresses of both families */
    uint16_t published;     /* 0: any free port */
    uint16_t published_end; /* the first free one of published..published_end; 0: = published */
    uint16_t target;
    const char *protocol; /* "tcp", "udp", "sctp" */
};

/* One address family of a published port. */
struct port_binding {
    struct ip_addr host_ip; /* 0.0.0.0 or :: where it is all addresses */
    uint16_t published, target;
    char protocol[8];
};

struct port_request {
    const char *network;      /* its table gets the rules: the one with the default route */
    const char *container_id; /* connected to it */
    const struct port_spec *ports;
    size_t ports_n;
};

/* Called once. err is NULL on success; bindings are borrowed until return, ordered as the request,
 * IPv4 before IPv6. On failure nothing stays published. */
typedef void (*port_publish_cb)(void *arg, const struct port_binding *bindings, size_t n,
                                struct err *err);
typedef void (*port_done_cb)(void *arg);

/* paths is borrowed for the publisher's life. SIGPIPE is ignored from now on: splice(2), which relays use,
 * knows no MSG_NOSIGNAL. */
struct port_publisher *port_publisher_new(uv_loop_t *loop, const struct paths *paths);
/* Publishes all ports of a container or none. A port that is taken is ERR_CONFLICT and names who
 * holds it: the container, else the process. Strings are copied. A second call for the same
 * container and network replaces the first. */
void port_publish(struct port_publisher *p, const struct port_request *request, port_publish_cb cb,
                  void *arg);
/* Takes all of a container's ports back; done is called when sockets are closed and rules gone. */
void port_unpublish(struct port_publisher *p, const char *container_id, port_done_cb done,
                    void *arg);
/* Closes the sockets and frees; rules stay (a successor adopts them). done may be NULL. */
void port_publisher_close(struct port_publisher *p, port_done_cb done, void *arg);

#endif
