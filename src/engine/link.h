/* The supervisor's connection to one monitor (runtime/monitor.h, "supervisor"). */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H

#include <uv.h>

#include "runtime/monitor.h"

struct monitor_link;

/* Every callback comes from the loop; none after monitor_link_close(). */
struct monitor_link_events {
    void (*status)(void *arg, const struct monitor_status *status);
    void (*tty)(void *arg, int take_fd); /* a copy of the pty master */
    void (*lost)(void *arg);             /* the monitor is gone */
};

/* Takes fd, a connection from monitor_connect(). */
struct monitor_link *monitor_link_open(uv_loop_t *loop, int take_fd,
                                       const struct monitor_link_events *events, void *arg);
void monitor_link_close(struct monitor_link *l);
/* Closes it and says that nobody has to start a supervisor for that. */
void monitor_link_leave(struct monitor_link *l);
/* No more events; the monitor, which has told all, stays to see whether we do. */
void monitor_link_mute(struct monitor_link *l);

#endif
