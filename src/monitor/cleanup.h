/* What is left of a container once its processes are gone: cgroups and the runtime's state. */
#ifndef MONITOR_CLEANUP_H
#define MONITOR_CLEANUP_H

#include <stdbool.h>

/* Does what `RUNTIME delete` would do, without starting it (10 ms with runc), for runtimes whose
 * state is known to be a plain folder. False: something is still in use, or the runtime is another
 * one: it has to do it itself. */
bool cleanup_directly(const char *runtime, const char *state, const char *id);
/* Removes the container's cgroups, killing what is left in them: a runtime that was itself killed
 * knows nothing of them. */
void cleanup_cgroups(void);

#endif
