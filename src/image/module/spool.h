/* The members of an archive as files in a work folder: manifest and index of an image archive may
 * come after the layers they speak of. */
#ifndef IMAGE_MODULE_SPOOL_H
#define IMAGE_MODULE_SPOOL_H

#include "base/map.h"
#include "image/layout.h"
#include "image/transfer.h"

struct spool {
    struct map files; /* clean member name -> path, heap */
};

/* Reads a tar, compressed in any way, to its end. Links to members are followed. */
int spool_read(struct work *work, int fd, image_cancel cancel, struct spool *spool,
               struct err *err);
void spool_release(struct spool *spool);
/* Path of a member, NULL: there is none. */
const char *spool_path(const struct spool *spool, const char *name);
/* A member that is JSON; *out NULL where there is none. */
int spool_json(const struct spool *spool, const char *name, size_t max, json_t **out,
               struct err *err);

#endif
