/* One probe of a container's port, from inside its network namespace, without a process: a TCP
 * connection, or an HTTP request (RFC 9112) whose status must be 200 to 399. */
#ifndef ENGINE_NET_PROBE_H
#define ENGINE_NET_PROBE_H

#include <stdbool.h>
#include <uv.h>

#include "model/project.h"

struct net_probe;

struct net_probe_events {
    /* Once. text: what came of it, for people, borrowed. */
    void (*done)(void *arg, bool ok, bool timed_out, const char *text);
};

/* netns: descriptor of the namespace, and port: both stay the caller's until done. timeout in ns. */
struct net_probe *net_probe_start(uv_loop_t *loop, int netns, const struct port_probe *port,
                                  int64_t timeout, const struct net_probe_events *events,
                                  void *arg);
/* No event comes afterwards; netns and port may go at once. NULL is fine. */
void net_probe_cancel(struct net_probe *p);

#endif
