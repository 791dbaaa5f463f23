/* The supervisor of one project: the loop that owns its containers, networks and names. */
#ifndef ENGINE_SUPERVISOR_H
#define ENGINE_SUPERVISOR_H

#include "base/paths.h"

/* `compose supervise [--listen-fd N --lock-fd N] PROJECT`, the hidden command. Returns the process's
 * exit code when nothing is left to supervise. */
int supervisor_main(const struct paths *p, const char *project, int listen_fd, int lock_fd);

#endif
