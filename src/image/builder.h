/* Where the builder works: its storage in ROOT/buildah, which is its cache, and what it keeps of each
 * use in RUN/buildah/uses/ID, ID being that of the use's work folder. Working containers are of the
 * storage, so that each user holds its lock, shared, and whoever finds himself alone clears away
 * what others could not, because they were killed. */
#ifndef IMAGE_BUILDER_H
#define IMAGE_BUILDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "image/store.h"

#define BUILDER_RUNTIME "runtime" /* in the folder of a use: what the OCI runtime keeps */

/* Both heap. */
char *builder_root(const struct image_store *store);
char *builder_uses(const struct image_store *store);

/* Opens the lock of the storage, which is made where there is none; -1 on error. */
int builder_lock(const struct image_store *store, struct err *err);
/* True: nobody else uses the storage, and nobody does before the lock is shared or closed. */
bool builder_alone(int lock);
/* Waits for who is alone with it. */
int builder_share(int lock, struct err *err);

/* Of a use that has ended: its folder and the control groups of its containers. */
void builder_remove_use(const char *use);
/* Of all uses whose work folder is gone, as it is swept when its owner is dead. */
void builder_remove_dead_uses(const struct image_store *store);

/* Removes the cache and all leftovers. ERR_CONFLICT where it is in use. */
int builder_prune(struct image_store *store, int64_t *freed, struct err *err);

#endif
