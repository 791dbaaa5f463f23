/* The files of the store: index, blobs, layers, locks, work in progress. Private to image/ and its
 * module; image/store.h has the picture of the folders.
 *
 * Who deletes holds the store's lock, and leaves alone what a living work folder has pinned. So a
 * transfer first pins what it counts on, under the same lock, and only then looks what is there. */
#ifndef IMAGE_LAYOUT_H
#define IMAGE_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/map.h"
#include "image/decode.h"
#include "image/store.h"

/* Annotations of the entries of index.json. */
#define ANNOTATION_NAME   "org.opencontainers.image.ref.name"
#define ANNOTATION_INDEX  "compose.index-digest" /* of the image index the entry was chosen from */
#define ANNOTATION_PULLED "compose.pulled"       /* RFC 3339: when a registry was last asked */

/* Bounds of what is read into memory. Registries agree on 4 MiB for manifests. */
enum { MANIFEST_MAX = 4 << 20, CONFIG_MAX = 8 << 20, INDEX_MAX = 64 << 20 };

struct image_store {
    struct paths paths;
    char *dir;     /* ROOT/images */
    char boot[40]; /* this boot's ID */
    pthread_mutex_t mutex;
    pthread_cond_t slot_free;
    int slots;         /* layers that may still enter work in this process */
    json_t *index;     /* last read; immutable, shared by reference count */
    struct stat stamp; /* of the index.json it was read from */
};

/* index.json; a new reference to a document that must not be changed (json_deep_copy first). */
int layout_index(struct image_store *store, json_t **index, struct err *err);
int layout_index_write(struct image_store *store, const json_t *index, struct err *err);
/* The store's lock; the fd is the lock. shared: against deleting only. */
int layout_lock(struct image_store *store, bool shared, int *fd, struct err *err);

/* Heap paths. digest: "sha256:HEX". */
char *layout_blob(const struct image_store *store, const char *digest);
char *layout_layer(const struct image_store *store, const char *digest);
bool layout_has_blob(const struct image_store *store, const char *digest, int64_t size);
/* Whether the layer is there unpacked. One that may not have reached the disk before the machine
 * went down (layers/HEX/unsynced names an earlier boot) does not count. */
bool layout_has_layer(const struct image_store *store, const char *digest);
/* Whether the image has all its layers packed, too: what a push or save needs. */
bool layout_has_blobs(const struct image_store *store, const struct image *image);
/* A whole JSON blob. */
int layout_read_json(const struct image_store *store, const char *digest, size_t max, json_t **out,
                     struct err *err);
/* Bytes that layer.json says the files of an unpacked layer have; 0 if there is none. opaque (may
 * be NULL): it hides all layers below. */
int64_t layout_layer_size(const struct image_store *store, const char *digest, bool *opaque);

/* "sha256:HEX" of memory; out holds 72 bytes. */
char *digest_of(const void *data, size_t n, char out[72]);
/* OCI image-spec config.md, "Layer ChainID"; parent NULL: the bottom layer. */
char *digest_chain(const char *parent, const char *diff_id, char out[72]);
/* The folder of a layer in layers/ that needs the layers below it: it is good for this chain only.
 */
char *digest_dependent(const char *chain, char out[72]);
/* An overlay takes no folder twice, and of a layer that an image has twice the upper one hides the
 * lower one: drops earlier duplicates from a stack (bottom to top). */
void layout_stack_unique(char **dirs);

/* The entry of an index for a manifest: adds it, gives it the name (NULL: none) and takes that name
 * from any other entry, which stays as a dangling one. extra: further annotations, may be NULL. */
void index_set(json_t *index, const char *media_type, const char *digest, int64_t size,
               const char *name, const json_t *extra);
/* The full name of an entry in the way reference_name() writes it, heap; NULL: it has none. */
char *entry_name(const json_t *entry);
/* Reads manifest and config of an entry (an index is followed by platform) and what is unpacked.
 * platform NULL: any. */
int entry_image(struct image_store *store, const json_t *entry,
                const struct image_platform *platform, struct image **image, struct err *err);

/* All images that are here under an entry: of an index those of all platforms. They are appended. */
void entry_list(struct image_store *store, const json_t *entry, struct image_list *images);

/* Work in progress: a folder of its own on the store's file system. */
struct work {
    struct image_store *store;
    char *dir;
    int lock;
    int pins;
};
#define WORK_INIT                                                                                  \
    {                                                                                              \
        .lock = -1, .pins = -1                                                                     \
    }
#define AUTOWORK __attribute__((cleanup(work_end)))

/* Sweeps what dead owners left, makes a folder. */
int work_begin(struct image_store *store, struct work *work, struct err *err);
/* Removes the folder; fine on a WORK_INIT. */
void work_end(struct work *work);
/* Keeps digests (blobs, diff IDs, chain IDs), NULL-terminated, from being deleted until work_end.
 */
int work_pin(struct work *work, const char *const *digests, struct err *err);
/* A new unique path in the folder, heap. */
char *work_path(struct work *work, const char *what);
/* Adds to live the digests that living works have pinned, and sweeps the dead ones. Store locked.
 */
int work_collect(struct image_store *store, struct map *live, struct err *err);

/* Why work should stop: the caller cancels, or a part of the same work failed. Either may be NULL.
 */
struct stop {
    const atomic_bool *cancel, *failed;
};
bool stop_now(const struct stop *stop);

/* Removes blobs and layers that no image needs and nobody has pinned. */
int layout_sweep(struct image_store *store, struct err *err);
/* The same for who holds the store's lock and has read the index. */
int layout_sweep_locked(struct work *work, const json_t *index, struct err *err);

/* One process or thread at a time works on a digest; waits, polling stop. The lock is its fd. */
int layout_lock_digest(struct image_store *store, const char *digest, const struct stop *stop,
                       int *fd, struct err *err);
void layout_unlock_digest(struct image_store *store, const char *digest, int fd);

/* Bounds the layers that are in work at one time in this process. */
void layout_slot_take(struct image_store *store);
void layout_slot_give(struct image_store *store);

#endif
