/* What the relays of TCP and UDP share. */
#ifndef NET_RELAY_INTERNAL_H
#define NET_RELAY_INTERNAL_H

#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

#include "net/relay.h"

struct relay {
    uv_loop_t *loop;
    uv_poll_t poll; /* of the listening socket */
    int fd;
    struct sockaddr_storage target;
    socklen_t target_len;
    size_t refs; /* open handles of the relay and its connections */
    bool closing;
    void (*close_all)(struct relay *r);
    void *peers; /* connections or sessions, a doubly linked list */
    size_t peers_n;
    uv_timer_t timer; /* UDP: sweeps idle sessions; TCP: a pause when file descriptors run out */
    void (*done)(void *arg);
    void *done_arg;
};

struct relay *relay_new(uv_loop_t *loop, int take_fd, const struct ip_addr *target, uint16_t port);
/* Each open handle that points to the relay holds a reference. */
void relay_unref(struct relay *r);
void relay_handle_closed(uv_handle_t *handle);
socklen_t relay_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *out);

#endif
