#include "image/module/buildah.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/builder.h"
#include "image/module/assemble.h"
#include "image/module/stream.h"
#include "image/module/tarsplit.h"

enum { STORAGE_MAX = 256 << 20 };
/* What buildah hangs below TMPDIR for RUN --mount=type=ssh: ".buildah-ssh-sockNUMBER/ssh_auth_sock". */
enum { SOCKET_BELOW_TMP = 48 };

static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    char *copy AUTOFREE = xstrdup(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
    char *save = NULL;
    for (char *dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        char *file AUTOFREE = path_join(dir, name);
        if (access(file, X_OK) == 0)
            return STEAL(file);
    }
    return NULL;
}

char **buildah_command(const struct buildah *b, const char *command)
{
    /* cgroupfs: systemd would take the process IDs of buildah's own namespace for those of the
     * machine. */
    const char *const argv[] = {
        b->program, "--root",           b->root,    "--runroot", b->run, "--storage-driver",
        "overlay",  "--cgroup-manager", "cgroupfs", command,     NULL};
    return strv_dup(argv);
}

char *buildah_runtime_root(const struct buildah *b)
{
    return path_join(b->run, BUILDER_RUNTIME);
}

static void keep_last_line(void *ctx, const char *line)
{
    char **last = ctx;
    if (!*line)
        return;
    free(*last);
    *last = xstrdup(line);
}

/* One of its quick commands: of what it says the last line tells why it failed. */
static int run(const struct buildah *b, char **argv, image_cancel cancel, struct err *err)
{
    char *last AUTOFREE = xstrdup("it says nothing");
    struct stream_command c = {.argv = (const char *const *)argv,
                               .env = (const char *const *)b->env,
                               .line = keep_last_line,
                               .ctx = &last,
                               .cancel = cancel};
    if (stream_run(&c, err) < 0)
        return -1;
    if (WIFEXITED(c.status) && WEXITSTATUS(c.status) == 0)
        return 0;
    return err_set(err, ERR_IO, "buildah: %.500s", last);
}

/* A list of the storage: an array of objects. *list NULL: there is none yet. */
static int read_list(const struct buildah *b, const char *name, json_t **list, struct err *err)
{
    char *path AUTOFREE = path_join(b->root, name);
    char *text AUTOFREE = NULL;
    size_t n;
    *list = NULL;
    if (!fs_exists(path))
        return 0;
    if (fs_read(path, STORAGE_MAX, &text, &n, err) < 0)
        return -1;
    *list = json_loadb(text, n, 0, NULL);
    if (!json_is_array(*list))
        return err_set(err, ERR_CORRUPT, "%s cannot be read", path);
    return 0;
}

static const json_t *find(const json_t *list, const char *id)
{
    size_t i;
    json_t *item;
    json_array_foreach ((json_t *)list, i, item)
        if (streq(jstr(item, "id", ""), id))
            return item;
    return NULL;
}

/* ---- what the dead left */

static void remove_containers(const struct buildah *b)
{
    json_t *containers AUTOJSON = NULL;
    if (read_list(b, "overlay-containers/containers.json", &containers, NULL) < 0 ||
        !json_array_size(containers))
        return;
    char **argv AUTOSTRV = buildah_command(b, "rm");
    strv_push(&argv, "--all");
    run(b, argv, NULL, NULL);
}

/* Where nobody else uses the storage. What cannot be cleared away now is tried again by the next. */
static void clear_away(const struct buildah *b)
{
    if (!builder_alone(b->lock))
        return;
    builder_remove_dead_uses(b->store);
    remove_containers(b);
}

/* Temporary files of buildah's lie in the work folder, which is swept when we are killed; but where
 * the store lies so deep that a socket there would have too long a name. */
static char **environment(const char *tmp)
{
    char *value AUTOFREE = xasprintf("TMPDIR=%s", tmp);
    char **env = NULL;
    bool fits = strlen(tmp) + SOCKET_BELOW_TMP < sizeof(((struct sockaddr_un *)0)->sun_path);
    for (char **e = environ; *e; e++)
        if (!fits || !starts_with(*e, "TMPDIR="))
            strv_push(&env, *e);
    if (fits)
        strv_push(&env, value);
    return env;
}

/* What buildah finds out about the kernel it files there too: one folder for all uses. */
static int make_run(const struct buildah *b, struct err *err)
{
    char *shared AUTOFREE = xasprintf("%s/buildah/overlay", b->store->paths.run);
    char *link AUTOFREE = path_join(b->run, "overlay");
    if (fs_mkdir_p(shared, 0700, err) < 0 || fs_mkdir_p(b->run, 0700, err) < 0)
        return -1;
    return symlink(shared, link) < 0 ? err_sys(err, errno, "link %s", link) : 0;
}

static int take_lock(struct buildah *b, struct err *err)
{
    b->lock = builder_lock(b->store, err);
    if (b->lock < 0)
        return -1;
    clear_away(b);
    return builder_share(b->lock, err);
}

int buildah_open(struct image_store *store, image_cancel cancel, struct buildah *b, struct err *err)
{
    *b = (struct buildah){.store = store, .cancel = cancel, .work = WORK_INIT, .lock = -1};
    b->program = find_program("buildah");
    if (!b->program)
        return err_set(err, ERR_UNAVAILABLE,
                       "building needs buildah, which is not installed: apt-get install buildah");
    if (work_begin(store, &b->work, err) < 0)
        return -1;
    char *uses AUTOFREE = builder_uses(store);
    b->root = builder_root(store);
    b->run = path_join(uses, path_base(b->work.dir));
    b->env = environment(b->work.dir);
    return make_run(b, err) < 0 ? -1 : take_lock(b, err);
}

void buildah_release(struct buildah *b)
{
    if (b->lock >= 0)
        clear_away(b); /* a build that was broken off has left its containers */
    if (b->run)
        builder_remove_use(b->run);
    fd_close_ptr(&b->lock);
    work_end(&b->work);
    free(b->program);
    free(b->root);
    free(b->run);
    strv_free(b->env);
}

/* The image as the builder gets it. buildah refuses images whose config has no history of their
 * layers (the specification lets it be missing): those get one, and so another ID there. */
struct handover {
    const struct image *image;
    char id[72];
    char *config, *manifest; /* texts, NULL: those of the store */
    char manifest_digest[72];
};

static void handover_release(struct handover *h)
{
    free(h->config);
    free(h->manifest);
}

static bool history_agrees(const struct image *image)
{
    size_t layers = 0;
    for (size_t i = 0; i < image->history_n; i++)
        layers += !image->history[i].empty_layer;
    return layers == image->layers_n;
}

static int handover_init(struct image_store *store, const struct image *image, struct handover *h,
                         struct err *err)
{
    *h = (struct handover){.image = image};
    snprintf(h->id, sizeof(h->id), "%s", image->id);
    snprintf(h->manifest_digest, sizeof(h->manifest_digest), "%s", image->digest);
    if (history_agrees(image))
        return 0;
    json_t *stored AUTOJSON = NULL;
    if (image_config_json(store, image, &stored, err) < 0)
        return -1;
    json_t *config AUTOJSON = json_copy(stored), *history = json_array();
    for (size_t i = 0; i < image->layers_n; i++)
        json_array_append_new(history, json_pack("{s:s}", "created_by", "unknown"));
    json_object_set_new(config, "history", history);
    h->config = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
    digest_of(h->config, strlen(h->config), h->id);
    struct layer_descriptor *layers AUTOFREE = xcalloc(image->layers_n + 1, sizeof(*layers));
    for (size_t i = 0; i < image->layers_n; i++)
        layers[i] = (struct layer_descriptor){image->layers[i].digest, image->layers[i].media_type,
                                              image->layers[i].size};
    h->manifest = manifest_text(h->id, strlen(h->config), layers, image->layers_n);
    digest_of(h->manifest, strlen(h->manifest), h->manifest_digest);
    return 0;
}

/* A blob of the view: the store's own, or a text of the handover. */
static int view_blob(struct work *work, const char *blobs, const char *digest, const char *text,
                     struct err *err)
{
    char *path AUTOFREE = path_join(blobs, digest + 7);
    char *target AUTOFREE = layout_blob(work->store, digest);
    if (text)
        return fs_write_atomic(path, text, strlen(text), 0644, false, err);
    if (symlink(target, path) < 0 && errno != EEXIST) /* an image may have a layer twice */
        return err_sys(err, errno, "link %s", path);
    return 0;
}

/* An OCI layout of the one image, over the blobs of the store: its path has no colon and nobody
 * rewrites its index meanwhile. */
static int make_view(struct work *work, const struct handover *h, char **path, struct err *err)
{
    char *dir AUTOFREE = work_path(work, "view");
    char *blobs AUTOFREE = path_join(dir, "blobs/sha256");
    char *index_path AUTOFREE = path_join(dir, "index.json");
    char *marker AUTOFREE = path_join(dir, "oci-layout");
    char *manifest AUTOFREE = path_join(blobs, h->manifest_digest + 7);
    if (fs_mkdir_p(blobs, 0700, err) < 0 ||
        view_blob(work, blobs, h->manifest_digest, h->manifest, err) < 0 ||
        view_blob(work, blobs, h->id, h->config, err) < 0)
        return -1;
    for (size_t i = 0; i < h->image->layers_n; i++)
        if (view_blob(work, blobs, h->image->layers[i].digest, NULL, err) < 0)
            return -1;
    struct stat st;
    json_t *m AUTOJSON = NULL;
    if (json_read(manifest, &m, err) < 0)
        return -1;
    if (stat(manifest, &st) < 0)
        return err_sys(err, errno, "stat %s", manifest);
    json_t *index AUTOJSON = json_pack("{s:i,s:[{s:s,s:s,s:I,s:{s:s}}]}", "schemaVersion", 2,
                                       "manifests", "mediaType", manifest_media_type(m), "digest",
                                       h->manifest_digest, "size", (json_int_t)st.st_size,
                                       "annotations", ANNOTATION_NAME, "image");
    static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    if (json_write(index_path, index, false, err) < 0 ||
        fs_write_atomic(marker, version, sizeof(version) - 1, 0644, false, err) < 0)
        return -1;
    *path = STEAL(dir);
    return 0;
}

static int pull_view(struct buildah *b, const struct handover *h, struct err *err)
{
    char *view AUTOFREE = NULL;
    if (assembly_pin(&b->work, h->image, err) < 0 || make_view(&b->work, h, &view, err) < 0)
        return -1;
    char **argv AUTOSTRV = buildah_command(b, "pull");
    char *source AUTOFREE = xasprintf("oci:%s:image", view);
    strv_push(&argv, "--quiet");
    strv_push(&argv, source);
    return run(b, argv, b->cancel, err);
}

static int take_locked(struct buildah *b, const struct handover *h, struct err *err)
{
    json_t *images AUTOJSON = NULL;
    if (read_list(b, "overlay-images/images.json", &images, err) < 0)
        return -1;
    return find(images, h->id + 7) ? 0 : pull_view(b, h, err);
}

int buildah_take(struct buildah *b, const struct image *image, char id[65], struct err *err)
{
    struct stop stop = {b->cancel, NULL};
    char digest[72];
    /* Not the image's own digest: that one is locked while its layers are unpacked. */
    digest_dependent(image->id, digest);
    int lock = -1;
    struct handover h;
    if (handover_init(b->store, image, &h, err) < 0 ||
        layout_lock_digest(b->store, digest, &stop, &lock, err) < 0) {
        handover_release(&h);
        return -1;
    }
    int rc = take_locked(b, &h, err);
    layout_unlock_digest(b->store, digest, lock);
    memcpy(id, h.id + 7, 65);
    handover_release(&h);
    return rc < 0 ? err_wrap(err, "hand it to the builder") : 0;
}

/* It is filed under the base64 of its digest. */
int buildah_config(const struct buildah *b, const char *id, char **text, struct err *err)
{
    unsigned char encoded[128];
    EVP_EncodeBlock(encoded, (const unsigned char *)id, (int)strlen(id));
    char *path AUTOFREE = xasprintf("%s/overlay-images/%s/=%s", b->root, id + 7,
                                    (const char *)encoded);
    size_t n;
    char digest[72];
    if (fs_read(path, CONFIG_MAX, text, &n, err) < 0)
        return -1;
    if (!streq(digest_of(*text, n, digest), id))
        return err_set(err, ERR_CORRUPT, "%s has another digest than its name says", path);
    return 0;
}

/* One layer on its way out. */
struct give {
    struct buildah *b;
    char **ids; /* of buildah's layers, bottom to top */
};

static int give_layer(void *ctx, unsigned worker, size_t layer, struct layer_sink *sink,
                      struct err *err)
{
    struct give *g = ctx;
    (void)worker;
    char *split AUTOFREE = xasprintf("%s/overlay-layers/%s.tar-split.gz", g->b->root,
                                     g->ids[layer]);
    char *diff AUTOFREE = xasprintf("%s/overlay/%s/diff", g->b->root, g->ids[layer]);
    return tarsplit_join(split, diff, sink, err);
}

/* The chain of layers from the top one down; sizes and IDs into image and give. */
static int find_layers(struct give *g, const json_t *layers, const char *top, struct image *image,
                       struct err *err)
{
    const char *id = top;
    g->ids = xcalloc(image->layers_n + 1, sizeof(*g->ids));
    for (size_t i = image->layers_n; i-- > 0;) {
        const json_t *layer = find(layers, id);
        struct image_layer *l = &image->layers[i];
        if (!layer || !streq(jstr(layer, "diff-digest", ""), l->diff_id))
            return err_set(err, ERR_CORRUPT, "buildah's storage has no layer %.19s", l->diff_id);
        g->ids[i] = xstrdup(id);
        l->size = jint(layer, "diff-size", -1);
        id = jstr(layer, "parent", "");
    }
    return 0;
}

/* An image with the diff IDs of the config, whose blobs are plain tars: digest and diff ID agree. */
static int plain_image(const char *id, const json_t *config, struct image **image, struct err *err)
{
    json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids"), *item;
    json_t *layers = json_array();
    size_t i;
    json_array_foreach (ids, i, item)
        json_array_append_new(layers, json_pack("{s:s,s:O,s:i}", "mediaType", MEDIA_OCI_LAYER,
                                                "digest", item, "size", 0));
    json_t *manifest AUTOJSON = json_pack("{s:{s:s},s:o}", "config", "digest", id, "layers",
                                          layers);
    return image_decode(manifest, config, image, err);
}

/* A layer that came with another image keeps its blob, compressed as it may be. */
static void use_known_blobs(struct image_store *store, struct image *image)
{
    struct image_list list;
    if (image_store_list(store, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < list.n; i++)
        for (size_t k = 0; k < list.v[i]->layers_n && k < image->layers_n; k++) {
            const struct image_layer *have = &list.v[i]->layers[k];
            struct image_layer *want = &image->layers[k];
            if (!streq(have->diff_id, want->diff_id) || streq(have->digest, want->digest) ||
                !layout_has_blob(store, have->digest, have->size))
                continue;
            free(want->digest);
            free(want->media_type);
            want->digest = xstrdup(have->digest);
            want->media_type = xstrdup(have->media_type);
            want->size = have->size;
        }
    image_list_release(&list);
}

static int give(struct give *g, const char *id, const char *config_text, struct image **image,
                struct manifest_descriptor *manifest, struct err *err)
{
    struct buildah *b = g->b;
    struct work *work = &b->work;
    char own_id[72];
    json_t *images AUTOJSON = NULL, *layers AUTOJSON = NULL, *config AUTOJSON = NULL;
    if (read_list(b, "overlay-images/images.json", &images, err) < 0 ||
        read_list(b, "overlay-layers/layers.json", &layers, err) < 0)
        return -1;
    config = json_loads(config_text, 0, NULL);
    digest_of(config_text, strlen(config_text), own_id);
    if (plain_image(own_id, config, image, err) < 0)
        return -1;
    const char *top = jstr(find(images, id + 7), "layer", "");
    if (find_layers(g, layers, top, *image, err) < 0)
        return -1;
    use_known_blobs(b->store, *image);
    if (assembly_pin(work, *image, err) < 0)
        return -1;
    struct assembly a = {.work = work,
                         .image = id,
                         .cancel = b->cancel,
                         .layers = *image,
                         .fetch = give_layer,
                         .fetch_ctx = g};
    if (assembly_run(&a, err) < 0)
        return -1;
    size_t n = (*image)->layers_n;
    struct layer_descriptor *descriptors AUTOFREE = xcalloc(n, sizeof(*descriptors));
    for (size_t i = 0; i < n; i++)
        descriptors[i] = (struct layer_descriptor){
            (*image)->layers[i].digest, (*image)->layers[i].media_type, (*image)->layers[i].size};
    return publish_manifest(work, config_text, descriptors, n, own_id, manifest, err);
}

int buildah_give(struct buildah *b, const char *id, const char *config,
                 struct manifest_descriptor *manifest, struct err *err)
{
    struct give g = {.b = b};
    struct image *image = NULL;
    int rc = give(&g, id, config, &image, manifest, err);
    strv_free(g.ids);
    image_free(image);
    return rc < 0 ? err_wrap(err, "take the image from the builder") : 0;
}
