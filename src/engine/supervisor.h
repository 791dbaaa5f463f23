/* The supervisor of one project: the loop that owns its containers, networks and names. */
#ifndef ENGINE_SUPERVISOR_H
#define ENGINE_SUPERVISOR_H

#include "base/paths.h"

/* The hidden command `compose --root ROOT supervise --run RUN [--listen-fd=N --lock-fd=N] PROJECT`
 * (descriptors -1: bind here; see control_supervisor_argv()). Returns the process's exit code when
 * nothing is left to supervise. */
int supervisor_main(const struct paths *p, const char *project, int listen_fd, int lock_fd);

#endif
