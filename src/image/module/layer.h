/* One layer on its way into the store, in one pass over its bytes:
 *
 *     source ──▶ SHA-256, blob file ──ring──▶ inflate, SHA-256 ──ring──▶ tar, files
 *     (caller's thread)                       (thread)                   (thread)
 *
 * Everything lands in a work folder; only a layer whose digest, size and diff ID are right is
 * committed, by rename. */
#ifndef IMAGE_MODULE_LAYER_H
#define IMAGE_MODULE_LAYER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "image/layout.h"
#include "image/module/inflate.h"
#include "image/module/unpack.h"

struct layer_sink;

/* Takes the next bytes of the blob; blocks while the pipeline is full. -1: stop, the reason is kept
 * and reported by layer_receive(). */
int layer_sink_write(struct layer_sink *sink, const void *data, size_t n);
/* Bytes taken so far: where an interrupted source goes on. */
int64_t layer_sink_received(const struct layer_sink *sink);
/* Whether the size is known and all bytes are here. */
bool layer_sink_complete(const struct layer_sink *sink);
/* Tells who watches that the source tries again in ms. */
void layer_sink_retrying(struct layer_sink *sink, const char *why, int64_t ms);

struct layer_spec {
    const char *digest;  /* NULL: not known beforehand */
    int64_t size;        /* -1: not known */
    const char *diff_id; /* NULL: not known */
    bool want_blob;      /* keep the bytes as they come */
    bool plain_blob; /* ... or rather what they unpack to: a compression that OCI does not know */
    bool want_tree;  /* unpack */
    const struct stop *stop;
    /* Called now and then with the bytes received; may be NULL. */
    void (*progress)(void *ctx, int64_t received);
    void (*retrying)(void *ctx, const char *why, int64_t ms);
    void *progress_ctx;
};

/* Gives all bytes of the blob to the sink; -1 with err, or when layer_sink_write() said so. */
typedef int (*layer_source)(void *ctx, struct layer_sink *sink, struct err *err);

struct layer_result {
    char digest[72], diff_id[72]; /* diff_id only with want_tree */
    int64_t size;
    enum compression compression;
    char *blob, *tree; /* in the work folder; NULL: not wanted, or committed */
    struct unpack_result unpacked;
};

int layer_receive(struct work *work, const struct layer_spec *spec, layer_source source, void *ctx,
                  struct layer_result *result, struct err *err);
void layer_result_release(struct layer_result *result);

int layer_commit_blob(struct image_store *store, struct layer_result *result, struct err *err);
/* key: diff ID, or digest_dependent(); another process may have been faster, which is fine. */
int layer_commit_tree(struct image_store *store, struct layer_result *result, const char *key,
                      struct err *err);

/* A source that reads a file to its end; ctx is a struct layer_file. */
struct layer_file {
    int fd;
    const char *name;
};
int layer_source_file(void *ctx, struct layer_sink *sink, struct err *err);

#endif
