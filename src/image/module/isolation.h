/* How the builder runs its steps on this machine. */
#ifndef IMAGE_MODULE_ISOLATION_H
#define IMAGE_MODULE_ISOLATION_H

#include <stdbool.h>

/* Appends --runtime or --isolation where buildah's own choice, crun, would not work: crun refuses
 * hosts whose cgroup v2 still holds controllers beside v1. devices: the steps shall have the host's,
 * which an OCI runtime forbids them whatever buildah is told. BUILDAH_ISOLATION and BUILDAH_RUNTIME
 * decide where they are set. */
void isolation_arguments(char ***argv, bool devices);

#endif
