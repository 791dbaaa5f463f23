/* A folder as a tar (pax): numeric owners, xattrs, hard links, devices; sorted, so that the same
 * tree is the same tar. */
#ifndef IMAGE_MODULE_TARWRITE_H
#define IMAGE_MODULE_TARWRITE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "image/layout.h"

struct tar_output {
    int (*write)(void *ctx, const void *data, size_t n); /* -1: stop */
    void *ctx;
};

/* layer: the folder is an overlay upper folder, whose whiteouts and opaque marks become those of an
 * OCI layer. Other file systems mounted below dir are not entered. Sockets are left out. -1 with err,
 * or when write said so. */
int tar_write(const char *dir, bool layer, const struct stop *stop, const struct tar_output *output,
              struct err *err);

#endif
