/* The image store: an OCI image layout on disk that skopeo, buildah and umoci read and write too.
 *
 *     ROOT/images/oci-layout, index.json, blobs/sha256/HEX
 *     ROOT/images/layers/HEX/fs           a layer unpacked, as an overlay lower folder; HEX is its
 *                                         diff ID, or made of its chain where it needs what
 *                                         lies below
 *     ROOT/images/layers/HEX/layer.json   { diff_id, size, ... }
 *     ROOT/images/layers/HEX/unsynced     boot ID; gone when the files have reached the disk
 *     ROOT/images/tmp/ID/                 work in progress; `lock` in it is held by its owner, so
 *                                         what a dead owner leaves is swept by the next command
 *     ROOT/images/lock                    held for each change of index.json and each sweep
 *
 * index.json names images by full name in the annotation org.opencontainers.image.ref.name.
 * Everything appears by rename, so a reader needs no lock; a kill at any point leaves a sound
 * store. A store may be used by many threads and many processes. */
#ifndef IMAGE_STORE_H
#define IMAGE_STORE_H

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"
#include "image/image.h"
#include "image/reference.h"

struct image_store;

/* Makes the layout if there is none. paths is copied. */
int image_store_open(const struct paths *paths, struct image_store **store, struct err *err);
void image_store_free(struct image_store *store);
/* ROOT/images; lives as long as the store. */
const char *image_store_dir(const struct image_store *store);

/* Finds an image by name ("nginx", "nginx:1.25", "nginx@sha256:..."), ID or unique beginning of an
 * ID. platform: "os/arch[/variant]", NULL: this machine's, where a name stands for several.
 * ERR_NOT_FOUND: `No such image: NAME`; ERR_CONFLICT: the ID prefix is ambiguous;
 * ERR_CORRUPT: the store lost a blob. The result is the caller's: image_free(). */
int image_find(struct image_store *store, const char *name, const char *platform,
               struct image **image, struct err *err);

struct image_list {
    struct image **v; /* newest first */
    size_t n;
};
/* One entry an image ID. Images whose blobs are damaged are left out; image_check() names them. */
int image_store_list(struct image_store *store, struct image_list *list, struct err *err);
void image_list_release(struct image_list *list);

/* The raw config (what the ID is the digest of) and manifest, for inspect; caller decrefs. */
int image_config_json(struct image_store *store, const struct image *image, json_t **config,
                      struct err *err);
int image_manifest_json(struct image_store *store, const struct image *image, json_t **manifest,
                        struct err *err);

/* Gives an image one more name; a name that stood for another image moves, and that image becomes
 * dangling if it was its last one. */
int image_tag(struct image_store *store, const char *source, const char *target, struct err *err);

struct image_change {
    char **untagged; /* names gone */
    char **deleted;  /* image IDs gone */
    int64_t freed;   /* bytes of blobs and layers */
};
void image_change_release(struct image_change *change);

/* Removes a name, and the image with its last name; by ID the image with its only name (force:
 * with all of them, else ERR_CONFLICT). An image in use keeps its layers: ERR_CONFLICT, with force
 * it loses its names only. in_use: IDs of the images that containers use, NULL-terminated, or NULL.
 */
int image_remove(struct image_store *store, const char *name, const char *const *in_use, bool force,
                 struct image_change *change, struct err *err);

/* Removes dangling images (all: also named ones) that no container uses, and what nothing refers
 * to. */
int image_prune(struct image_store *store, const char *const *in_use, bool all,
                struct image_change *change, struct err *err);

/* Looks at every image: blobs there and of the right size (deep: and digest), layers unpacked.
 * report is called once a finding, with one line that names image and finding. mend: what is
 * damaged is removed, so that the next pull or build brings it again. *findings: how many. */
int image_check(struct image_store *store, bool deep, bool mend,
                void (*report)(void *ctx, const char *line), void *ctx, size_t *findings,
                struct err *err);

#endif
