/* The way to a project's supervisor: connects, and starts it where none runs.
 *
 * RUN/projects/P/spawn.lock is held while somebody looks whether there is a supervisor and starts
 * one; RUN/projects/P/lock is held by the supervisor as long as it lives. */
#ifndef ENGINE_CONTROL_H
#define ENGINE_CONTROL_H

#include <stdbool.h>

#include "base/err.h"
#include "base/paths.h"

/* *fd: a connected stream socket. start false: ERR_NOT_FOUND when no supervisor runs. Blocking, but
 * never for longer than another process takes to start one. */
int control_connect(const struct paths *p, const char *project, bool start, int *fd,
                    struct err *err);

struct control_listener {
    int listen_fd, lock_fd;
};
/* Becomes the project's supervisor: ERR_CONFLICT when there is one. */
int control_listen(const struct paths *p, const char *project, struct control_listener *out,
                   struct err *err);
/* Gives the socket up unless somebody is connecting right now (false: stay and serve). */
bool control_retire(const struct paths *p, const char *project, struct control_listener *l);

/* argv that starts the supervisor of a project (for monitors), heap vector. */
char **control_supervisor_argv(const struct paths *p, const char *project);

#endif
