/* buildah's image storage (containers/storage, overlay driver) under ROOT/buildah: what it has, how
 * an image of ours gets in, how what it built gets out, without tools in between where its files
 * say all that is needed. */
#ifndef IMAGE_MODULE_BUILDAH_H
#define IMAGE_MODULE_BUILDAH_H

#include "image/layout.h"
#include "image/module/layer.h"
#include "image/transfer.h"

struct buildah {
    struct image_store *store;
    char *root, *run;
    image_cancel cancel;
};

/* ERR_UNAVAILABLE names the package when buildah is not installed. */
int buildah_open(struct image_store *store, image_cancel cancel, struct buildah *b,
                 struct err *err);
void buildah_release(struct buildah *b);
/* "buildah", its storage options; heap vector to append to. */
char **buildah_command(const struct buildah *b, const char *command);

/* Makes sure that buildah knows the image under this full name. */
int buildah_take(struct buildah *b, const struct image *image, const char *name, struct err *err);

/* The config of an image of buildah's: what id is the digest of; heap. */
int buildah_config(const struct buildah *b, const char *id, char **text, struct err *err);
/* Brings an image of buildah's into the store (layers that are there stay) with this config, which
 * has the layers of its own, and gives it the names. */
int buildah_give(struct buildah *b, const char *id, const char *config, const char *const *names,
                 struct err *err);

#endif
