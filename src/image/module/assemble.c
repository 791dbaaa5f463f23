#include "image/module/assemble.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

struct run {
    struct assembly *a;
    pthread_mutex_t mutex;        /* of next, err and the progress callback */
    size_t next;                  /* layer to be taken by the next free worker */
    struct err err;               /* the first failure; others stop at it */
    struct layer_result *results; /* trees that wait for the layers below */
    atomic_bool failed;
    struct stop stop;
};

struct worker {
    struct run *run;
    unsigned number;
    pthread_t thread;
};

struct layer_task {
    struct run *run;
    unsigned worker;
    size_t layer;
};

static void tell_more(struct run *run, size_t layer, struct image_progress p)
{
    struct assembly *a = run->a;
    if (!a->progress)
        return;
    const struct image_layer *l = &a->layers->layers[layer];
    char id[13];
    snprintf(id, sizeof(id), "%.12s", l->digest + 7);
    p.image = a->image;
    p.layer = id;
    p.total = l->size;
    pthread_mutex_lock(&run->mutex);
    a->progress(a->ctx, &p);
    pthread_mutex_unlock(&run->mutex);
}

static void tell(struct run *run, size_t layer, enum image_phase phase, int64_t current)
{
    tell_more(run, layer, (struct image_progress){.phase = phase, .current = current});
}

static void on_progress(void *ctx, int64_t received)
{
    struct layer_task *t = ctx;
    const struct assembly *a = t->run->a;
    bool all = received >= a->layers->layers[t->layer].size;
    tell(t->run, t->layer, all ? IMAGE_UNPACKING : IMAGE_DOWNLOADING, received);
}

static void on_retrying(void *ctx, const char *why, int64_t ms)
{
    struct layer_task *t = ctx;
    tell_more(t->run, t->layer,
              (struct image_progress){.phase = IMAGE_RETRYING, .why = why, .delay = ms});
}

static int fetch(void *ctx, struct layer_sink *sink, struct err *err)
{
    struct layer_task *t = ctx;
    struct assembly *a = t->run->a;
    return a->fetch(a->fetch_ctx, t->worker, t->layer, sink, err);
}

/* The key of a layer in its place in the image, if it needs those below. */
static char *dependent_key(const struct image *image, size_t layer, char key[72])
{
    for (size_t i = 0; i <= layer; i++)
        digest_chain(i ? key : NULL, image->layers[i].diff_id, key);
    return digest_dependent(key, key);
}

static bool tree_exists(struct image_store *store, const struct image *image, size_t layer)
{
    char key[72];
    return layout_has_layer(store, image->layers[layer].diff_id) ||
           layout_has_layer(store, dependent_key(image, layer, key));
}

static int receive_file(struct work *work, const struct layer_spec *spec, const char *path,
                        struct layer_result *r, struct err *err)
{
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    struct layer_file file = {fd, path};
    return layer_receive(work, spec, layer_source_file, &file, r, err);
}

/* From where the caller has it: a file, or what it fetches. */
static int receive_new(struct run *run, struct layer_task *t, struct layer_spec *spec,
                       struct layer_result *r, struct err *err)
{
    struct assembly *a = run->a;
    const char *own = a->files ? a->files[t->layer] : NULL;
    if (!own && !a->fetch)
        return err_set(err, ERR_CORRUPT, "its blob is not in the store: pull or load it again");
    spec->want_blob = !own;
    if (!own)
        return layer_receive(a->work, spec, fetch, t, r, err);
    if (receive_file(a->work, spec, own, r, err) < 0)
        return -1;
    /* Linked, not moved: another image of the archive may have the same layer. */
    char *blob AUTOFREE = work_path(a->work, "blob");
    if (link(own, blob) < 0)
        return err_sys(err, errno, "link %s", blob);
    r->blob = STEAL(blob);
    return 0;
}

/* From the blob in the store; one that is damaged there is brought anew where that can be. */
static int receive_stored(struct run *run, struct layer_task *t, struct layer_spec *spec,
                          struct layer_result *r, struct err *err)
{
    struct assembly *a = run->a;
    struct err why AUTOERR = ERR_INIT;
    char *path AUTOFREE = layout_blob(a->work->store, spec->digest);
    spec->want_blob = false;
    if (receive_file(a->work, spec, path, r, &why) == 0)
        return 0;
    if (why.kind == ERR_CORRUPT && (a->fetch || (a->files && a->files[t->layer]))) {
        unlink(path);
        return receive_new(run, t, spec, r, err);
    }
    err_move(err, &why);
    return -1;
}

/* Fetches the layer, with its digest locked. */
static int fill_layer(struct run *run, struct layer_task *t, bool has_blob, bool has_tree,
                      struct err *err)
{
    struct assembly *a = run->a;
    struct image_store *store = a->work->store;
    const struct image_layer *l = &a->layers->layers[t->layer];
    struct layer_spec spec = {
        .digest = l->digest,
        .size = l->size,
        .diff_id = l->diff_id,
        .want_tree = !has_tree,
        .stop = &run->stop,
        .progress = on_progress,
        .retrying = on_retrying,
        .progress_ctx = t,
    };
    struct layer_result *r = &run->results[t->layer];
    int rc = has_blob ? receive_stored(run, t, &spec, r, err) : receive_new(run, t, &spec, r, err);
    if (rc < 0)
        return -1;
    if (r->blob && layer_commit_blob(store, r, err) < 0)
        return -1;
    bool waits = r->unpacked.fixups.n > 0;
    return r->tree && !waits ? layer_commit_tree(store, r, l->diff_id, err) : 0;
}

static int do_layer(struct run *run, struct layer_task *t, struct err *err)
{
    struct assembly *a = run->a;
    struct image_store *store = a->work->store;
    const struct image_layer *l = &a->layers->layers[t->layer];
    bool has_blob = layout_has_blob(store, l->digest, l->size);
    bool has_tree = tree_exists(store, a->layers, t->layer);
    if (has_blob && has_tree) {
        tell(run, t->layer, IMAGE_EXISTS, l->size);
        return 0;
    }
    int lock = -1;
    if (layout_lock_digest(store, l->diff_id, &run->stop, &lock, err) < 0)
        return -1;
    has_blob = layout_has_blob(store, l->digest, l->size);
    has_tree = tree_exists(store, a->layers, t->layer);
    int rc = 0;
    if (!has_blob || !has_tree) {
        tell(run, t->layer, has_blob ? IMAGE_UNPACKING : IMAGE_DOWNLOADING, 0);
        rc = fill_layer(run, t, has_blob, has_tree, err);
    }
    layout_unlock_digest(store, l->diff_id, lock);
    if (rc == 0)
        tell(run, t->layer, IMAGE_DONE, l->size);
    return rc;
}

static void fail(struct run *run, const char *digest, struct err *err)
{
    pthread_mutex_lock(&run->mutex);
    if (!run->err.msg) {
        if (digest)
            err_wrap(err, "layer %.12s", digest + 7);
        err_move(&run->err, err);
    }
    atomic_store(&run->failed, true);
    pthread_mutex_unlock(&run->mutex);
    err_release(err);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct run *run = w->run;
    const struct image *image = run->a->layers;
    for (;;) {
        pthread_mutex_lock(&run->mutex);
        size_t layer = run->next++;
        pthread_mutex_unlock(&run->mutex);
        if (layer >= image->layers_n || stop_now(&run->stop))
            return NULL;
        struct layer_task t = {run, w->number, layer};
        struct err err = ERR_INIT;
        layout_slot_take(run->a->work->store);
        if (do_layer(run, &t, &err) < 0)
            fail(run, image->layers[layer].digest, &err);
        layout_slot_give(run->a->work->store);
    }
}

/* Trees that link to files below, or go through folders that they do not hold. */
static int complete_layer(struct run *run, size_t layer, char **below, struct err *err)
{
    struct assembly *a = run->a;
    struct layer_result *r = &run->results[layer];
    char *fs AUTOFREE = path_join(r->tree, "fs");
    char **unique AUTOSTRV = strv_dup((const char *const *)below);
    layout_stack_unique(unique);
    char *scratch AUTOFREE = work_path(a->work, "below");
    if (mkdir(scratch, 0700) < 0)
        return err_sys(err, errno, "mkdir %s", scratch);
    if (unpack_fixups(fs, &r->unpacked, (const char *const *)unique, scratch, err) < 0)
        return -1;
    char key[72];
    return layer_commit_tree(a->work->store, r, dependent_key(a->layers, layer, key), err);
}

static int complete_layers(struct run *run, struct err *err)
{
    const struct image *image = run->a->layers;
    struct image_store *store = run->a->work->store;
    char **below AUTOSTRV = xcalloc(1, sizeof(*below));
    for (size_t i = 0; i < image->layers_n; i++) {
        if (run->results[i].tree && complete_layer(run, i, below, err) < 0)
            return err_wrap(err, "layer %.12s", image->layers[i].digest + 7);
        char dependent[72];
        const char *key = image->layers[i].diff_id;
        if (!layout_has_layer(store, key))
            key = dependent_key(image, i, dependent);
        char *dir AUTOFREE = layout_layer(store, key);
        char *fs AUTOFREE = path_join(dir, "fs");
        strv_push(&below, fs);
    }
    return 0;
}

static void run_workers(struct run *run)
{
    struct worker workers[ASSEMBLY_WORKERS];
    unsigned n = 0;
    size_t want = run->a->layers->layers_n;
    while (n < ASSEMBLY_WORKERS && n < want) {
        workers[n] = (struct worker){.run = run, .number = n};
        int rc = pthread_create(&workers[n].thread, NULL, worker_main, &workers[n]);
        if (rc && n == 0) {
            struct err err = ERR_INIT;
            err_sys(&err, rc, "start a thread");
            fail(run, NULL, &err);
        }
        if (rc)
            break;
        n++;
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
}

int assembly_run(struct assembly *a, struct err *err)
{
    struct run run = {.a = a, .mutex = PTHREAD_MUTEX_INITIALIZER};
    run.stop = (struct stop){a->cancel, &run.failed};
    run.results = xcalloc(a->layers->layers_n, sizeof(*run.results));
    for (size_t i = 0; i < a->layers->layers_n; i++)
        tell(&run, i, IMAGE_WAITING, 0);
    run_workers(&run);
    int rc = 0;
    if (a->cancel && atomic_load(a->cancel)) {
        rc = err_set(err, ERR_CANCELLED, "cancelled");
    } else if (run.err.msg) {
        err_move(err, &run.err);
        rc = -1;
    } else {
        rc = complete_layers(&run, err);
    }
    for (size_t i = 0; i < a->layers->layers_n; i++)
        layer_result_release(&run.results[i]);
    free(run.results);
    pthread_mutex_destroy(&run.mutex);
    err_release(&run.err);
    return rc;
}

int assembly_pin(struct work *work, const struct image *image, struct err *err)
{
    char **pins AUTOSTRV = NULL;
    char chain[72], dependent[72];
    strv_push(&pins, image->id);
    for (size_t i = 0; i < image->layers_n; i++) {
        digest_chain(i ? chain : NULL, image->layers[i].diff_id, chain);
        strv_push(&pins, image->layers[i].digest);
        strv_push(&pins, image->layers[i].diff_id);
        strv_push(&pins, digest_dependent(chain, dependent));
    }
    return work_pin(work, (const char *const *)pins, err);
}
