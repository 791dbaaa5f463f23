/* The last steps of a new image: config and manifest blobs, and the entry in index.json. */
#ifndef IMAGE_MODULE_PUBLISH_H
#define IMAGE_MODULE_PUBLISH_H

#include "base/err.h"
#include "base/json.h"
#include "image/layout.h"

/* Writes a blob from memory, whole or not at all; digest (72 bytes) is set. */
int publish_blob(struct work *work, const void *data, size_t n, char digest[72], struct err *err);

struct layer_descriptor {
    const char *digest, *media_type;
    int64_t size;
};
/* An OCI manifest of a config and layers as text, heap. */
char *manifest_text(const char *config_digest, size_t config_size,
                    const struct layer_descriptor *layers, size_t n);

/* Gives the manifest its names in index.json (names NULL or empty: the image stays without).
 * *changed (may be NULL): the first name stood for another manifest before. */
int publish_entry(struct image_store *store, const char *media_type, const char *digest,
                  int64_t size, const char *const *names, const char *index_digest, bool pulled,
                  bool *changed, struct err *err);

struct manifest_descriptor {
    char digest[72];
    int64_t size;
};
/* Config (text) and manifest of an image, whose layers are in the store already, as blobs: nothing
 * names them yet. id holds 72 bytes. */
int publish_manifest(struct work *work, const char *config, const struct layer_descriptor *layers,
                     size_t n, char id[72], struct manifest_descriptor *manifest, struct err *err);
/* The same, and the image gets its names. */
int publish_image(struct work *work, const char *config, const struct layer_descriptor *layers,
                  size_t n, const char *const *names, char id[72], struct err *err);
/* The names stand for an index of manifests (descriptors with their platforms), which are in the
 * store already. */
int publish_index(struct work *work, json_t *manifests, const char *const *names, struct err *err);

/* The media type of a layer stored with this compression. */
const char *layer_media_type(int compression);

#endif
