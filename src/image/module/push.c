#include <pthread.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/mem.h"
#include "image/module/calls.h"
#include "image/module/registry.h"
#include "image/layout.h"

enum { WORKERS = 3 };

struct push {
    struct image_store *store;
    const struct push_request *request;
    struct reference ref;
    struct stop stop;
    atomic_bool failed;
    struct registry *registry;
    struct work work;
    struct image *image;   /* this machine's */
    char **manifests;      /* digests, of an index all that it has, then its own last */
    char **blobs;          /* digests of layers and configs */
    pthread_mutex_t mutex; /* of next, err and the progress callback */
    size_t next;           /* of blobs */
    struct err err;
};

struct upload {
    struct push *push;
    const char *digest;
    int64_t size;
};

static void tell(struct push *p, const char *digest, enum image_phase phase, int64_t current,
                 int64_t total)
{
    char id[13];
    if (!p->request->progress)
        return;
    snprintf(id, sizeof(id), "%.12s", digest ? digest + 7 : "");
    struct image_progress event = {.image = p->request->reference,
                                   .layer = digest ? id : NULL,
                                   .phase = phase,
                                   .current = current,
                                   .total = total};
    pthread_mutex_lock(&p->mutex);
    p->request->progress(p->request->ctx, &event);
    pthread_mutex_unlock(&p->mutex);
}

/* From any worker. */
static void on_retrying(void *ctx, const char *why, int64_t ms)
{
    struct push *p = ctx;
    struct image_progress event = {
        .image = p->request->reference, .phase = IMAGE_RETRYING, .why = why, .delay = ms};
    if (!p->request->progress)
        return;
    pthread_mutex_lock(&p->mutex);
    p->request->progress(p->request->ctx, &event);
    pthread_mutex_unlock(&p->mutex);
}

static void on_sent(void *ctx, int64_t sent)
{
    struct upload *u = ctx;
    tell(u->push, u->digest, IMAGE_UPLOADING, sent, u->size);
}

static int push_blob(struct push *p, struct registry_client *c, const char *digest, int64_t size,
                     struct err *err)
{
    bool has;
    if (registry_has_blob(c, digest, &has, err) < 0)
        return -1;
    if (has) {
        tell(p, digest, IMAGE_EXISTS, size, size);
        return 0;
    }
    struct upload u = {p, digest, size};
    char *path AUTOFREE = layout_blob(p->store, digest);
    if (registry_put_blob(c, digest, path, size, on_sent, &u, err) < 0)
        return -1;
    tell(p, digest, IMAGE_DONE, size, size);
    return 0;
}

static int64_t blob_size(const struct push *p, const char *digest)
{
    char *path AUTOFREE = layout_blob(p->store, digest);
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static void *worker(void *arg)
{
    struct push *p = arg;
    size_t blobs_n = strv_len((const char *const *)p->blobs);
    struct registry_client *c = registry_client_new(p->registry);
    for (;;) {
        pthread_mutex_lock(&p->mutex);
        size_t i = p->next++;
        pthread_mutex_unlock(&p->mutex);
        if (i >= blobs_n || stop_now(&p->stop))
            break;
        const char *digest = p->blobs[i];
        struct err err = ERR_INIT;
        if (push_blob(p, c, digest, blob_size(p, digest), &err) == 0)
            continue;
        pthread_mutex_lock(&p->mutex);
        if (!p->err.msg)
            err_move(&p->err, &err);
        atomic_store(&p->failed, true);
        pthread_mutex_unlock(&p->mutex);
        err_release(&err);
    }
    registry_client_free(c);
    return NULL;
}

static int push_blobs(struct push *p, struct err *err)
{
    pthread_t threads[WORKERS];
    unsigned n = 0;
    while (n < WORKERS && pthread_create(&threads[n], NULL, worker, p) == 0)
        n++;
    if (n == 0)
        worker(p);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    if (p->request->cancel && atomic_load(p->request->cancel))
        return err_set(err, ERR_CANCELLED, "cancelled");
    if (!p->err.msg)
        return 0;
    err_move(err, &p->err);
    return -1;
}

static int push_manifest(struct push *p, struct registry_client *c, const char *digest,
                         const char *name, struct err *err)
{
    char *path AUTOFREE = layout_blob(p->store, digest), *text AUTOFREE = NULL;
    json_t *json AUTOJSON = NULL;
    size_t n;
    if (fs_read(path, MANIFEST_MAX, &text, &n, err) < 0 ||
        layout_read_json(p->store, digest, MANIFEST_MAX, &json, err) < 0)
        return -1;
    return registry_put_manifest(c, name, manifest_media_type(json), text, n, err);
}

/* What an index names first: a registry refuses an index of what it does not have. */
static int push_manifests(struct push *p, struct err *err)
{
    struct registry_client *c = registry_client_new(p->registry);
    int rc = 0;
    for (size_t i = 0; p->manifests[i] && rc == 0; i++) {
        bool tagged = !p->manifests[i + 1] && !p->request->into;
        rc = push_manifest(p, c, p->manifests[i], tagged ? p->ref.tag : p->manifests[i], err);
    }
    registry_client_free(c);
    return rc;
}

static void add_unique(char ***list, const char *digest)
{
    for (size_t i = 0; *list && (*list)[i]; i++)
        if (streq((*list)[i], digest))
            return;
    strv_push(list, digest);
}

static void add_image(struct push *p, const struct image *image)
{
    for (size_t i = 0; i < image->layers_n; i++)
        add_unique(&p->blobs, image->layers[i].digest);
    add_unique(&p->blobs, image->id);
    add_unique(&p->manifests, image->digest);
}

/* All images of the index that this one was chosen from; false: they are not all here, as of an
 * index of which only this machine's was ever fetched. */
static bool add_index(struct push *p)
{
    const char *index = p->image->index_digest;
    json_t *json AUTOJSON = NULL, *entry;
    bool whole = index && layout_read_json(p->store, index, MANIFEST_MAX, &json, NULL) == 0;
    struct image_list all = {0};
    size_t i;
    json_array_foreach (json_object_get(json, "manifests"), i, entry) {
        entry_list(p->store, entry, &all);
        whole = whole && all.n == i + 1 && streq(all.v[i]->digest, jstr(entry, "digest", "")) &&
                layout_has_blobs(p->store, all.v[i]);
        if (whole)
            add_image(p, all.v[i]);
    }
    image_list_release(&all);
    if (whole)
        strv_push(&p->manifests, index);
    return whole;
}

static int choose(struct push *p, struct err *err)
{
    if (image_find(p->store, p->request->reference, NULL, &p->image, err) < 0)
        return -1;
    if (!add_index(p)) {
        strv_free(p->manifests);
        strv_free(p->blobs);
        p->manifests = p->blobs = NULL;
        add_image(p, p->image);
    }
    if (work_pin(&p->work, (const char *const *)p->blobs, err) < 0 ||
        work_pin(&p->work, (const char *const *)p->manifests, err) < 0)
        return -1;
    for (size_t i = 0; p->blobs[i]; i++)
        if (!layout_has_blob(p->store, p->blobs[i], -1))
            return err_set(err, ERR_CORRUPT, "blob %s is not in the store", p->blobs[i]);
    return 0;
}

static int run(struct push *p, struct err *err)
{
    if (p->ref.digest)
        return err_set(err, ERR_INVALID, "a digest cannot be pushed, only a tag");
    if (work_begin(p->store, &p->work, err) < 0 || choose(p, err) < 0)
        return -1;
    p->registry = registry_new(&p->ref, p->request->auth_file, true, &p->stop, err);
    if (!p->registry)
        return -1;
    registry_on_retry(p->registry, on_retrying, p);
    /* One request settles where the registry is and who we are, before several threads ask. */
    struct registry_client *first = registry_client_new(p->registry);
    bool has;
    int rc = registry_has_blob(first, p->image->id, &has, err);
    registry_client_free(first);
    if (rc == 0)
        rc = push_blobs(p, err);
    if (rc == 0)
        rc = push_manifests(p, err);
    if (rc == 0)
        tell(p, NULL, IMAGE_DONE, 0, 0);
    return rc;
}

int call_push(struct image_store *store, const struct push_request *q, char **digest,
              struct err *err)
{
    struct push p = {
        .store = store, .request = q, .work = WORK_INIT, .mutex = PTHREAD_MUTEX_INITIALIZER};
    p.stop = (struct stop){q->cancel, &p.failed};
    if (reference_parse(q->into ? q->into : q->reference, &p.ref, err) < 0)
        return -1;
    int rc = run(&p, err);
    if (rc == 0 && digest)
        *digest = xstrdup(p.manifests[strv_len((const char *const *)p.manifests) - 1]);
    work_end(&p.work);
    registry_free(p.registry);
    image_free(p.image);
    strv_free(p.manifests);
    strv_free(p.blobs);
    reference_release(&p.ref);
    err_release(&p.err);
    pthread_mutex_destroy(&p.mutex);
    return rc < 0 ? wrap_transfer(err, q->reference) : 0;
}
