/* How a container's first process is asked to end, and made to: the stop signal, again where it was not
 * heard, SIGKILL after the grace period; whoever waits is told of one that takes its time. */
#ifndef ENGINE_STOP_H
#define ENGINE_STOP_H

#include "engine/container.h"

/* Sends a signal to the first process; -1: it has gone, errno says so. */
int stop_signal(struct container *c, int sig);
/* Its state is C_STOPPING from now on. */
void stop_begin(struct container *c);
/* Its timer has fired (container_wake). */
void stop_step(struct container *c);

#endif
