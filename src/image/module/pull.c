#include <stdio.h>

#include "base/mem.h"
#include "base/units.h"
#include "image/module/assemble.h"
#include "image/module/calls.h"
#include "image/module/publish.h"
#include "image/module/registry.h"
#include "image/module/settle.h"

struct pull {
    struct image_store *store;
    const struct pull_request *request;
    struct reference ref;
    struct image_platform platform;
    struct stop stop;
    struct registry *registry;
    struct registry_client *clients[ASSEMBLY_WORKERS]; /* [0] also fetches the manifests */
    struct work work;
    struct image *image; /* what the registry has, layers not yet there */
    char *index_digest;
};

static void tell(const struct pull *p, enum image_phase phase)
{
    struct image_progress event = {.image = p->request->reference, .phase = phase};
    if (p->request->progress)
        p->request->progress(p->request->ctx, &event);
}

static void on_retrying(void *ctx, const char *why, int64_t ms)
{
    const struct pull *p = ctx;
    struct image_progress event = {
        .image = p->request->reference, .phase = IMAGE_RETRYING, .why = why, .delay = ms};
    if (p->request->progress)
        p->request->progress(p->request->ctx, &event);
}

static const char *wanted(const struct reference *ref)
{
    return ref->digest ? ref->digest : ref->tag;
}

static int choose_platform(struct pull *p, struct manifest *m, struct err *err)
{
    char text[96];
    for (int depth = 0; media_is_index(m->media_type); depth++) {
        const json_t *chosen = depth < 4 ? index_choose(m->json, &p->platform) : NULL;
        const char *digest = jstr(chosen, "digest", "");
        json_int_t size = jint(chosen, "size", -1);
        if (!chosen)
            return err_set(err, ERR_NOT_FOUND, "it is not there for platform %s",
                           image_platform_format(&p->platform, text));
        if (!digest_valid(digest))
            return err_set(err, ERR_CORRUPT, "the index has an entry without a valid digest");
        struct manifest next;
        if (registry_manifest(p->clients[0], digest, &next, err) < 0)
            return -1;
        if (size >= 0 && size != (json_int_t)next.n) {
            manifest_release(&next);
            return err_set(err, ERR_CORRUPT,
                           "the manifest has %zu bytes in the place of the index's %lld", next.n,
                           (long long)size);
        }
        if (!p->index_digest)
            p->index_digest = xstrdup(m->digest);
        manifest_release(m);
        *m = next;
    }
    return 0;
}

static int check_layers(const struct image *image, struct err *err)
{
    for (size_t i = 0; i < image->layers_n; i++) {
        const char *type = image->layers[i].media_type;
        if (strstr(type, "foreign") || strstr(type, "nondistributable"))
            return err_set(err, ERR_INVALID,
                           "layer %.12s is foreign: it may not be distributed by registries and "
                           "is not supported",
                           image->layers[i].digest + 7);
        if (*type && !strstr(type, "tar"))
            return err_set(err, ERR_INVALID, "layer %.12s is no file system (%.100s)",
                           image->layers[i].digest + 7, type);
    }
    return 0;
}

static struct image_platform platform_of(const struct image *image)
{
    struct image_platform p;
    snprintf(p.os, sizeof(p.os), "%s", image->os);
    snprintf(p.architecture, sizeof(p.architecture), "%s", image->architecture);
    snprintf(p.variant, sizeof(p.variant), "%s", image->variant ? image->variant : "");
    return p;
}

/* Of the same index another entry may be nearer to the platform that is wanted now. */
static bool serves_best(const struct pull *p, const struct image *local)
{
    struct image_platform has = platform_of(local);
    return image_platform_match(&p->platform, &has) == IMAGE_PLATFORM_SAME;
}

/* The config, from the store or the registry, and the image that both make. */
static int read_image(struct pull *p, const struct manifest *m, struct err *err)
{
    const json_t *descriptor = json_object_get(m->json, "config");
    const char *id = jstr(descriptor, "digest", "");
    json_int_t size = jint(descriptor, "size", -1);
    if (!digest_valid(id) || size < 0 || size > CONFIG_MAX)
        return err_set(err, ERR_CORRUPT, "the manifest has no valid config");
    const char *pins[] = {id, m->digest, NULL};
    if (work_pin(&p->work, pins, err) < 0)
        return -1;
    json_t *config AUTOJSON = NULL;
    if (!layout_has_blob(p->store, id, size) ||
        layout_read_json(p->store, id, CONFIG_MAX, &config, NULL) < 0) {
        char *text AUTOFREE = NULL;
        char digest[72];
        if (registry_blob_text(p->clients[0], id, size, &text, err) < 0)
            return -1;
        config = json_loadb(text, (size_t)size, 0, NULL);
        if (!json_is_object(json_object_get(config, "rootfs")))
            return err_set(err, ERR_INVALID,
                           "it is not a container image: its config (%.100s) "
                           "names no root file system",
                           jstr(descriptor, "mediaType", "of no type"));
        if (publish_blob(&p->work, text, (size_t)size, digest, err) < 0)
            return -1;
    }
    if (image_decode(m->json, config, &p->image, err) < 0)
        return -1;
    struct image_platform offer = platform_of(p->image);
    char have[96], want[96];
    /* Docker takes a lone image of another architecture when nobody named one. */
    if ((p->request->platform && *p->request->platform && *offer.architecture &&
         !image_platform_match(&p->platform, &offer)) ||
        !streq(offer.os, p->platform.os))
        return err_set(err, ERR_NOT_FOUND, "it is for platform %s, not for %s",
                       image_platform_format(&offer, have),
                       image_platform_format(&p->platform, want));
    return check_layers(p->image, err);
}

static int fetch_layer(void *ctx, unsigned worker, size_t layer, struct layer_sink *sink,
                       struct err *err)
{
    struct pull *p = ctx;
    if (!p->clients[worker])
        p->clients[worker] = registry_client_new(p->registry);
    return registry_blob(p->clients[worker], p->image->layers[layer].digest, sink, err);
}

static int fetch_layers(struct pull *p, struct err *err)
{
    if (assembly_pin(&p->work, p->image, err) < 0)
        return -1;
    struct assembly a = {
        .work = &p->work,
        .image = p->request->reference,
        .progress = p->request->progress,
        .ctx = p->request->ctx,
        .cancel = p->request->cancel,
        .layers = p->image,
        .fetch = fetch_layer,
        .fetch_ctx = p,
    };
    return assembly_run(&a, err);
}

/* Fetches the image that `what` (tag or digest) stands for and files it under its name. */
static int fetch(struct pull *p, const char *what, bool *changed, struct err *err)
{
    struct manifest m;
    if ((!p->work.dir && work_begin(p->store, &p->work, err) < 0) ||
        registry_manifest(p->clients[0], what, &m, err) < 0)
        return -1;
    char digest[72];
    int rc = choose_platform(p, &m, err);
    if (rc == 0)
        rc = read_image(p, &m, err);
    if (rc == 0)
        rc = fetch_layers(p, err);
    if (rc == 0)
        rc = publish_blob(&p->work, m.text, m.n, digest, err);
    if (rc == 0) {
        char *name AUTOFREE = reference_name(&p->ref);
        const char *names[] = {name, NULL};
        rc = publish_entry(p->store, m.media_type, digest, (int64_t)m.n, names, p->index_digest,
                           true, changed, err);
    }
    manifest_release(&m);
    /* What came is wrong: whose it is belongs to the message. */
    if (rc < 0 && (err->kind == ERR_CORRUPT || err->kind == ERR_INVALID) &&
        !strstr(err->msg, "registry "))
        err_wrap(err, "registry %s", registry_host(p->registry));
    return rc;
}

/* The time of asking matters only to who pulls by age. */
static int touch(struct pull *p, const struct image *local, struct err *err)
{
    if (p->request->max_age <= 0)
        return 0;
    char *name AUTOFREE = reference_name(&p->ref);
    const char *names[] = {name, NULL};
    json_t *manifest AUTOJSON = NULL;
    if (image_manifest_json(p->store, local, &manifest, err) < 0)
        return -1;
    char *path AUTOFREE = layout_blob(p->store, local->digest);
    struct stat st;
    if (stat(path, &st) < 0)
        return 0;
    return publish_entry(p->store, manifest_media_type(manifest), local->digest, st.st_size, names,
                         local->index_digest, true, NULL, err);
}

/* Whether the store has what the registry's tag stands for now; fills digest with what that is. */
static int is_current(struct pull *p, const struct image *local, char digest[72], bool *current,
                      struct err *err)
{
    *current = false;
    digest[0] = '\0';
    if (!local || !layout_has_blobs(p->store, local))
        return 0; /* what is missing is brought again */
    if (p->ref.digest) {
        *current = true; /* a digest never stands for anything else */
        return 0;
    }
    if (registry_head(p->clients[0], p->ref.tag, digest, err) < 0)
        return -1;
    *current = *digest && (streq(digest, local->digest) ||
                           (local->index_digest && streq(digest, local->index_digest) &&
                            serves_best(p, local)));
    return 0;
}

static int ask_endpoint(struct pull *p, struct image *local, bool *changed, struct err *err)
{
    char digest[72];
    bool current;
    if (is_current(p, local, digest, &current, err) < 0)
        return -1;
    if (current) {
        *changed = false;
        return touch(p, local, err);
    }
    return fetch(p, *digest ? digest : wanted(&p->ref), changed, err);
}

/* What one attempt learned. Layers that it brought are pinned and serve the next one. */
static void forget_attempt(struct pull *p)
{
    image_free(p->image);
    free(p->index_digest);
    p->image = NULL;
    p->index_digest = NULL;
}

/* A mirror that fails on the way is left for the next one, at last for the registry itself. */
static int ask_registry(struct pull *p, struct image *local, bool *changed, struct err *err)
{
    tell(p, IMAGE_RESOLVING);
    for (;;) {
        struct err why AUTOERR = ERR_INIT;
        if (ask_endpoint(p, local, changed, &why) == 0)
            return 0;
        bool theirs = why.kind != ERR_CANCELLED && why.kind != ERR_IO;
        if (!theirs || !registry_leave_mirror(p->registry)) {
            err_move(err, &why);
            return -1;
        }
        on_retrying(p, why.msg, 0);
        forget_attempt(p);
    }
}

static bool local_serves(const struct pull_request *q, const struct image *local)
{
    if (!local || q->policy == IMAGE_PULL_ALWAYS)
        return false;
    return q->policy == IMAGE_PULL_NEVER || q->max_age <= 0 ||
           (local->pulled && time_now() - local->pulled < q->max_age);
}

static int run(struct pull *p, struct image **out, bool *changed, struct err *err)
{
    const struct pull_request *q = p->request;
    struct image *local = NULL;
    struct err why AUTOERR = ERR_INIT;
    if (image_find(p->store, q->reference, q->platform, &local, &why) < 0 &&
        why.kind != ERR_NOT_FOUND && why.kind != ERR_CORRUPT) {
        err_move(err, &why);
        return -1;
    }
    /* Named but not unpacked: skopeo wrote it, or the machine went down too early. */
    if (local && !local->layer_dirs && call_unpack(p->store, &local, q->cancel, &why) < 0) {
        image_free(local);
        local = NULL;
        if (why.kind != ERR_CORRUPT || q->policy == IMAGE_PULL_NEVER) {
            err_move(err, &why);
            return -1;
        }
    }
    int rc = 0;
    bool asked = !local_serves(q, local);
    if (asked && q->policy == IMAGE_PULL_NEVER) {
        rc = err_set(err, ERR_NOT_FOUND, "No such image: %s", q->reference);
    } else if (asked) {
        p->registry = registry_new(&p->ref, q->auth_file, false, &p->stop, err);
        rc = p->registry ? 0 : -1;
    }
    if (p->registry) {
        registry_on_retry(p->registry, on_retrying, p);
        p->clients[0] = registry_client_new(p->registry);
        rc = ask_registry(p, local, changed, err);
    }
    image_free(local);
    struct image *image = NULL;
    if (rc == 0)
        rc = image_find(p->store, q->reference, q->platform, &image, err);
    if (rc < 0)
        return -1;
    tell(p, IMAGE_DONE);
    if (out)
        *out = image;
    else
        image_free(image);
    return 0;
}

static void release(struct pull *p)
{
    for (size_t i = 0; i < ASSEMBLY_WORKERS; i++)
        registry_client_free(p->clients[i]);
    registry_free(p->registry);
    image_free(p->image);
    free(p->index_digest);
    reference_release(&p->ref);
    work_end(&p->work);
}

int call_pull(struct image_store *store, const struct pull_request *q, struct image **image,
              bool *changed, struct err *err)
{
    struct pull p = {.store = store, .request = q, .stop = {q->cancel, NULL}, .work = WORK_INIT};
    struct err unused_err AUTOERR = ERR_INIT;
    bool unused;
    if (!err)
        err = &unused_err;
    if (!changed)
        changed = &unused;
    *changed = false;
    if (reference_parse(q->reference, &p.ref, err) < 0)
        return -1;
    int rc = image_platform_parse(q->platform, &p.platform, err);
    if (rc == 0)
        rc = run(&p, image, changed, err);
    bool worked = p.work.dir != NULL;
    release(&p);
    /* What came before the failure is no image: its space is given back at once. */
    if (rc < 0 && worked)
        layout_sweep(store, NULL);
    return rc < 0 ? wrap_transfer(err, q->reference) : 0;
}

int call_unpack(struct image_store *store, struct image **image, image_cancel cancel,
                struct err *err)
{
    if ((*image)->layer_dirs)
        return 0;
    struct work work AUTOWORK = WORK_INIT;
    struct assembly a = {.work = &work, .image = (*image)->id, .cancel = cancel, .layers = *image};
    if (work_begin(store, &work, err) < 0 || assembly_pin(&work, *image, err) < 0 ||
        assembly_run(&a, err) < 0)
        return err_wrap(err, "unpack image %.19s", (*image)->id);
    settle_layers(store);
    struct image *fresh;
    if (image_find(store, (*image)->id, NULL, &fresh, err) < 0)
        return -1;
    image_free(*image);
    *image = fresh;
    return 0;
}
