/* A container's mounts: from the service's and the image's volumes to sources on this host. */
#ifndef ENGINE_MOUNTS_H
#define ENGINE_MOUNTS_H

#include "engine/prepare.h"
#include "engine/state.h"
#include "model/project.h"

/* Resolves named volumes, makes missing bind sources and anonymous volumes, adds the image's
 * volumes and what is inherited. A target that the record already has an anonymous volume for keeps
 * it. The array is the caller's: container_mounts_free(). */
int mounts_resolve(const struct prepare_job *j, struct container_mount **out, size_t *n,
                   struct err *err);
/* For the bundle: an array of n that borrows from mounts; free() it. */
struct bundle_mount *bundle_mounts_of(const struct service *s, const struct container_mount *mounts,
                                      size_t n);
/* The service's mount at target, or NULL. */
const struct service_mount *service_mount_at(const struct service *s, const char *target);

struct container_mount container_mount_copy(const struct container_mount *m);
void container_mounts_free(struct container_mount *mounts, size_t n);

#endif
