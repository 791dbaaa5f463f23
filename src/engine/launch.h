/* A container's process, seen through its monitor: start, news of it, its probes.
 *
 * News are facts (container.up, ended, lost, fault and the record's fields); each steps the
 * container. */
#ifndef ENGINE_LAUNCH_H
#define ENGINE_LAUNCH_H

#include "base/err.h"

struct container;

/* Starts a monitor, which runs the prepared bundle. */
void launch_begin(struct container *c);
/* Connects to the monitor of an adopted container; -1: it has none any more. */
int launch_link(struct container *c, struct err *err);
/* The monitor is gone: what it wrote, the process itself, or a new monitor says how it goes on. */
void launch_take_lost(struct container *c);
/* Starts the probes of a running container, if it has any. */
void launch_health(struct container *c);
/* Lets go of probes and descriptors; the monitor is kept as c->keeper, so that somebody starts a
 * supervisor again should we be killed before the container is started anew. */
void launch_end(struct container *c);
/* Lets go of that one. */
void launch_let_go(struct container *c);

#endif
