/* buildah's image storage (containers/storage, overlay driver) under ROOT/buildah: what it has, how
 * an image of ours gets in, how what it built gets out, without tools in between where its files
 * say all that is needed. */
#ifndef IMAGE_MODULE_BUILDAH_H
#define IMAGE_MODULE_BUILDAH_H

#include "image/layout.h"
#include "image/module/layer.h"
#include "image/module/publish.h"
#include "image/transfer.h"

/* One use of it: image/builder.h says where and beside whom. */
struct buildah {
    struct image_store *store;
    image_cancel cancel;
    struct work work; /* temporary files, of buildah too; pins */
    char *program;
    char *root, *run; /* its storage; what it keeps of this use, in RUN/buildah/uses/ID */
    char **env;
    int lock;
};

/* ERR_UNAVAILABLE names the package when buildah is not installed. To be released in any case. */
int buildah_open(struct image_store *store, image_cancel cancel, struct buildah *b,
                 struct err *err);
void buildah_release(struct buildah *b);
/* The program, its storage options and the command; heap vector to append to. */
char **buildah_command(const struct buildah *b, const char *command);
/* The folder in which the OCI runtime keeps what it knows of this use's containers, heap. */
char *buildah_runtime_root(const struct buildah *b);

/* Makes sure that buildah has the image; id holds 65 bytes: what it is called there. */
int buildah_take(struct buildah *b, const struct image *image, char id[65], struct err *err);

/* The config of an image of buildah's: what id is the digest of; heap. */
int buildah_config(const struct buildah *b, const char *id, char **text, struct err *err);
/* Brings an image of buildah's into the store (layers that are there stay) with this config, which
 * has the layers of its own. The manifest has no name yet. */
int buildah_give(struct buildah *b, const char *id, const char *config,
                 struct manifest_descriptor *manifest, struct err *err);

#endif
