/* All layers of an image, several at a time: what is there is left alone, what another process or
 * thread is fetching is waited for, the rest is fetched and unpacked; then the layers that need
 * those below are completed in order. */
#ifndef IMAGE_MODULE_ASSEMBLE_H
#define IMAGE_MODULE_ASSEMBLE_H

#include "image/image.h"
#include "image/layout.h"
#include "image/module/layer.h"
#include "image/transfer.h"

struct assembly {
    struct work *work;
    const char *image; /* for progress */
    image_progress_cb progress;
    void *ctx;
    image_cancel cancel;
    const struct image *layers; /* digests, sizes, diff IDs, bottom to top */
    /* Gives the bytes of a layer's blob; worker counts from 0 and runs one layer at a time. NULL:
     * the blobs are in the store. */
    int (*fetch)(void *fetch_ctx, unsigned worker, size_t layer, struct layer_sink *sink,
                 struct err *err);
    void *fetch_ctx;
    /* Files that are the blobs, one a layer, on the store's file system: they are linked into it.
     * NULL: none. */
    const char *const *files;
};

enum { ASSEMBLY_WORKERS = 6 };

/* Pins config, blobs and layers of the image in the work folder: what is there now stays there. */
int assembly_pin(struct work *work, const struct image *image, struct err *err);
int assembly_run(struct assembly *assembly, struct err *err);

#endif
