/* Network namespaces: one a container, pinned by a bind mount so that it outlives every process.
 *
 * A thread that enters another namespace never comes back from it: such work runs in a thread of
 * its own which ends with it, so no worker can be left in the wrong namespace. All calls block. */
#ifndef NET_NETNS_H
#define NET_NETNS_H

#include <stdbool.h>

#include "base/err.h"

/* Makes a namespace and pins it at path (the file is made, its folder must exist). Loopback is up;
 * net.ipv4.ip_unprivileged_port_start is 0 and every group may ping, as in Docker's containers.
 * A namespace that is pinned there already is kept (adoption). */
int netns_create(const char *path, struct err *err);
/* Unpins; the kernel destroys the namespace with its last process and socket. A missing pin is
 * fine. */
int netns_remove(const char *path, struct err *err);
/* True where path pins a namespace. */
bool netns_exists(const char *path);

/* Runs fn(arg, err) inside the namespace open at fd (any nsfs fd, also /proc/PID/ns/net) and
 * returns what it returns. fn must not keep thread-local state. */
int netns_run(int netns_fd, int (*fn)(void *arg, struct err *err), void *arg, struct err *err);
/* The same in a new namespace, which goes away afterwards. */
int netns_try(int (*fn)(void *arg, struct err *err), void *arg, struct err *err);
/* The same with a path. */
int netns_run_at(const char *path, int (*fn)(void *arg, struct err *err), void *arg,
                 struct err *err);

#endif
