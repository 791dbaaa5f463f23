#include "image/module/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "image/module/hash.h"

/* Progress is told after so many ns, or so large a part of the layer: a transfer that then stands still
 * does not show a number from long before. */
enum { PROGRESS_INTERVAL = 100000000, PROGRESS_PARTS = 16 };

struct layer_sink {
    const struct layer_spec *spec;
    struct hash hash;
    int blob;         /* fd, -1: not kept */
    struct ring *out; /* NULL: not unpacked */
    int64_t received;
    int64_t reported, reported_at; /* bytes, when */
    struct err err; /* why the sink refused bytes; empty where the pipeline behind it failed */
};

struct pipeline {
    struct ring packed, plain;
    struct hash hash;
    struct inflate inflate;
    const char *tree;
    struct unpack_result *unpacked;
    struct err inflate_err, unpack_err;
    int inflate_rc, unpack_rc;
    pthread_t inflate_thread, unpack_thread;
};

int64_t layer_sink_received(const struct layer_sink *sink)
{
    return sink->received;
}

bool layer_sink_complete(const struct layer_sink *sink)
{
    return sink->spec->size >= 0 && sink->received == sink->spec->size;
}

void layer_sink_retrying(struct layer_sink *sink, const char *why, int64_t ms)
{
    if (sink->spec->retrying)
        sink->spec->retrying(sink->spec->progress_ctx, why, ms);
}

static void report(struct layer_sink *s)
{
    if (!s->spec->progress)
        return;
    int64_t now = time_monotonic();
    bool part = s->spec->size > 0 && s->received - s->reported >= s->spec->size / PROGRESS_PARTS;
    if (!part && !layer_sink_complete(s) && now - s->reported_at < PROGRESS_INTERVAL)
        return;
    s->reported = s->received;
    s->reported_at = now;
    s->spec->progress(s->spec->progress_ctx, s->received);
}

int layer_sink_write(struct layer_sink *s, const void *data, size_t n)
{
    if (stop_now(s->spec->stop))
        return err_set(&s->err, ERR_CANCELLED, "cancelled");
    s->received += (int64_t)n;
    if (s->spec->size >= 0 && s->received > s->spec->size)
        return err_set(&s->err, ERR_CORRUPT, "it is larger than the %lld bytes it should have",
                       (long long)s->spec->size);
    hash_update(&s->hash, data, n);
    if (s->blob >= 0 && fd_write_all(s->blob, data, n) < 0)
        return err_sys(&s->err, errno, "write the blob");
    if (s->out && ring_write(s->out, data, n) < 0)
        return -1;
    report(s);
    return 0;
}

/* Reads on after damage was found: whether the digest is right tells who made it. */
static void drain(struct ring *ring)
{
    size_t n;
    while (ring_bytes(ring, &n))
        ring_consume(ring, n);
}

static void *inflate_thread(void *arg)
{
    struct pipeline *p = arg;
    p->inflate_rc = inflate_run(&p->inflate, &p->inflate_err);
    ring_end(&p->plain, p->inflate_rc < 0);
    if (p->inflate_rc == 0)
        return NULL;
    /* unpack_err is set before the ring is stopped, which is what we were told by. */
    bool damaged = p->inflate_err.kind == ERR_CORRUPT ||
                   (p->plain.stopped && p->unpack_err.kind == ERR_CORRUPT);
    if (damaged)
        drain(&p->packed);
    ring_stop(&p->packed);
    return NULL;
}

static void *unpack_thread(void *arg)
{
    struct pipeline *p = arg;
    p->unpack_rc = unpack_tar(&p->plain, p->tree, p->unpacked, &p->unpack_err);
    if (p->unpack_rc < 0)
        ring_stop(&p->plain);
    return NULL;
}

static int pipeline_start(struct pipeline *p, const char *tree, int copy,
                          struct unpack_result *unpacked, struct err *err)
{
    ring_init(&p->packed);
    ring_init(&p->plain);
    hash_init(&p->hash);
    p->inflate = (struct inflate){
        .in = &p->packed, .out = &p->plain, .hash = &p->hash, .copy = copy};
    p->tree = tree;
    p->unpacked = unpacked;
    int rc = pthread_create(&p->inflate_thread, NULL, inflate_thread, p);
    if (rc)
        return err_sys(err, rc, "start a thread");
    rc = pthread_create(&p->unpack_thread, NULL, unpack_thread, p);
    if (rc) {
        ring_end(&p->packed, true);
        pthread_join(p->inflate_thread, NULL);
        return err_sys(err, rc, "start a thread");
    }
    return 0;
}

static void pipeline_finish(struct pipeline *p, bool failed)
{
    ring_end(&p->packed, failed);
    pthread_join(p->inflate_thread, NULL);
    pthread_join(p->unpack_thread, NULL);
}

static void pipeline_release(struct pipeline *p)
{
    ring_release(&p->packed);
    ring_release(&p->plain);
    hash_release(&p->hash);
    err_release(&p->inflate_err);
    err_release(&p->unpack_err);
}

/* One failure stops all stages: the first cause is the one that is no consequence of another. */
static int pipeline_error(struct pipeline *p, struct err *err)
{
    if (p->inflate_rc < 0 && p->inflate_err.kind != ERR_CANCELLED)
        err_move(err, &p->inflate_err);
    else if (p->unpack_rc < 0)
        err_move(err, &p->unpack_err);
    else if (p->inflate_rc < 0)
        err_move(err, &p->inflate_err);
    else
        return 0;
    return -1;
}

static int verify_blob(const struct layer_spec *spec, const struct layer_result *r, struct err *err)
{
    if (spec->size >= 0 && r->size != spec->size)
        return err_set(err, ERR_CORRUPT, "%lld bytes came in the place of %lld", (long long)r->size,
                       (long long)spec->size);
    if (spec->digest && !streq(r->digest, spec->digest))
        return err_set(err, ERR_CORRUPT, "digest mismatch: the content has %s", r->digest);
    return 0;
}

static int verify_tree(const struct layer_spec *spec, const struct layer_result *r, struct err *err)
{
    if (spec->want_tree && spec->diff_id && !streq(r->diff_id, spec->diff_id))
        return err_set(err, ERR_CORRUPT,
                       "diff ID mismatch: the unpacked layer has %s, the image says %s", r->diff_id,
                       spec->diff_id);
    return 0;
}

static int run(struct layer_sink *sink, struct pipeline *pipe, layer_source source, void *ctx,
               struct layer_result *r, struct err *err)
{
    struct err source_err AUTOERR = ERR_INIT;
    int rc = source(ctx, sink, &source_err);
    if (pipe)
        pipeline_finish(pipe, rc < 0);
    if (sink->err.msg) {
        err_move(err, &sink->err);
        return -1;
    }
    if (rc < 0 && source_err.msg) {
        err_move(err, &source_err);
        return -1;
    }
    r->size = sink->received;
    hash_digest(&sink->hash, r->digest);
    if (rc == 0 && verify_blob(sink->spec, r, err) < 0)
        return -1;
    if (pipe && pipeline_error(pipe, err) < 0)
        return -1;
    if (pipe) {
        hash_digest(&pipe->hash, r->diff_id);
        r->compression = pipe->inflate.kind;
        if (sink->spec->plain_blob) {
            memcpy(r->digest, r->diff_id, sizeof(r->digest));
            r->size = (int64_t)pipe->inflate.produced;
            r->compression = COMPRESSION_NONE;
        }
    }
    return 0;
}

static int open_outputs(struct work *work, const struct layer_spec *spec, struct layer_sink *sink,
                        struct layer_result *r, struct err *err)
{
    if (spec->want_blob) {
        r->blob = work_path(work, "blob");
        sink->blob = open(r->blob, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (sink->blob < 0)
            return err_sys(err, errno, "create %s", r->blob);
    }
    if (spec->want_tree) {
        r->tree = work_path(work, "layer");
        char *fs AUTOFREE = path_join(r->tree, "fs");
        /* 0711 above: a container's user must be able to pass; the tree's own root decides. */
        if (mkdir(r->tree, 0711) < 0 || mkdir(fs, 0755) < 0 || chmod(fs, 0755) < 0)
            return err_sys(err, errno, "mkdir %s", fs);
    }
    return 0;
}

int layer_receive(struct work *work, const struct layer_spec *spec, layer_source source, void *ctx,
                  struct layer_result *r, struct err *err)
{
    *r = (struct layer_result){0};
    struct layer_sink sink = {.spec = spec, .blob = -1};
    hash_init(&sink.hash);
    struct pipeline pipe = {0};
    int rc = open_outputs(work, spec, &sink, r, err);
    int plain AUTOCLOSE = spec->plain_blob ? STEAL_FD(sink.blob) : -1;
    if (rc == 0 && spec->want_tree) {
        char *fs AUTOFREE = path_join(r->tree, "fs");
        rc = pipeline_start(&pipe, fs, plain, &r->unpacked, err);
        sink.out = &pipe.packed;
        if (rc == 0)
            rc = run(&sink, &pipe, source, ctx, r, err);
    } else if (rc == 0) {
        rc = run(&sink, NULL, source, ctx, r, err);
    }
    if (rc == 0)
        rc = verify_tree(spec, r, err);
    pipeline_release(&pipe);
    hash_release(&sink.hash);
    err_release(&sink.err);
    fd_close_ptr(&sink.blob);
    if (rc < 0)
        layer_result_release(r);
    return rc;
}

void layer_result_release(struct layer_result *r)
{
    /* Removed at once, not with the work folder: a failed layer may be what filled the disk. */
    if (r->blob)
        unlink(r->blob);
    if (r->tree)
        fs_remove_all(r->tree, NULL);
    free(r->blob);
    free(r->tree);
    r->blob = r->tree = NULL;
    unpack_result_release(&r->unpacked);
}

int layer_commit_blob(struct image_store *store, struct layer_result *r, struct err *err)
{
    char *path AUTOFREE = layout_blob(store, r->digest);
    if (rename(r->blob, path) < 0)
        return err_sys(err, errno, "rename to %s", path);
    free(r->blob);
    r->blob = NULL;
    return 0;
}

int layer_commit_tree(struct image_store *store, struct layer_result *r, const char *key,
                      struct err *err)
{
    json_t *j AUTOJSON = json_pack(
        "{s:s,s:I,s:I,s:b}", "diff_id", r->diff_id, "size", (json_int_t)r->unpacked.size, "entries",
        (json_int_t)r->unpacked.entries, "opaque", r->unpacked.opaque_root);
    char *description AUTOFREE = path_join(r->tree, "layer.json");
    char *unsynced AUTOFREE = path_join(r->tree, "unsynced");
    if (json_write(description, j, false, err) < 0 ||
        fs_write_atomic(unsynced, store->boot, strlen(store->boot), 0600, false, err) < 0)
        return -1;
    char *path AUTOFREE = layout_layer(store, key);
    char *old AUTOFREE = xasprintf("%s.old", r->tree);
    /* One that does not count (see layout_has_layer) gives way. */
    if (!layout_has_layer(store, key) && rename(path, old) < 0 && errno != ENOENT)
        return err_sys(err, errno, "rename %s", path);
    if (rename(r->tree, path) < 0) {
        if (errno != EEXIST && errno != ENOTEMPTY)
            return err_sys(err, errno, "rename to %s", path);
        fs_remove_all(r->tree, NULL);
    }
    fs_remove_all(old, NULL);
    free(r->tree);
    r->tree = NULL;
    return 0;
}

int layer_source_file(void *ctx, struct layer_sink *sink, struct err *err)
{
    struct layer_file *file = ctx;
    char *buffer AUTOFREE = xmalloc(1 << 18);
    for (;;) {
        ssize_t n = read(file->fd, buffer, 1 << 18);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s", file->name);
        if (n == 0)
            return 0;
        if (layer_sink_write(sink, buffer, (size_t)n) < 0)
            return -1;
    }
}
