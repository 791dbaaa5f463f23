/* `docker save` archives (manifest.json) and OCI archives (index.json). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/module/assemble.h"
#include "image/module/calls.h"
#include "image/module/hash.h"
#include "image/module/inflate.h"
#include "image/module/publish.h"
#include "image/module/spool.h"

struct load {
    const struct load_request *request;
    struct image_platform platform;
    struct work work;
    struct spool spool;
    char **names; /* what was loaded */
};

static int hash_file(const char *path, char digest[72], enum compression *kind, struct err *err)
{
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char *buffer AUTOFREE = xmalloc(1 << 18);
    struct hash h;
    bool first = true;
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    hash_init(&h);
    for (;;) {
        ssize_t n = read(fd, buffer, 1 << 18);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            hash_release(&h);
            return err_sys(err, errno, "read %s", path);
        }
        if (first)
            *kind = compression_detect(buffer, (size_t)n);
        first = false;
        /* A plain layer's digest is its diff ID, which unpacking checks anyway. */
        if (n == 0 || *kind == COMPRESSION_NONE)
            break;
        hash_update(&h, buffer, (size_t)n);
    }
    hash_digest(&h, digest);
    return 0;
}

/* Unpacks the layers, one file each, of an image whose digests are known. */
static int unpack_layers(struct load *l, const struct image *image, const char *const *files,
                         const char *shown, struct err *err)
{
    struct assembly a = {.work = &l->work,
                         .image = shown,
                         .progress = l->request->progress,
                         .ctx = l->request->ctx,
                         .cancel = l->request->cancel,
                         .layers = image,
                         .files = files};
    if (assembly_pin(&l->work, image, err) < 0)
        return -1;
    return assembly_run(&a, err);
}

/* One layer file of a docker archive as the layer of a manifest. */
static int describe_layer(const char *name, const char *path, const char *diff_id, json_t *layers,
                          struct err *err)
{
    char digest[72];
    enum compression kind = COMPRESSION_NONE;
    struct stat st;
    if (hash_file(path, digest, &kind, err) < 0)
        return -1;
    if (kind == COMPRESSION_OTHER)
        return err_set(err, ERR_INVALID, "layer %s is compressed in an unknown way", name);
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    json_array_append_new(layers, json_pack("{s:s,s:s,s:I}", "mediaType", layer_media_type(kind),
                                            "digest", kind == COMPRESSION_NONE ? diff_id : digest,
                                            "size", (json_int_t)st.st_size));
    return 0;
}

static int describe_layers(struct load *l, const json_t *entry, const json_t *config,
                           json_t *layers, const char **files, struct err *err)
{
    json_t *names = json_object_get(entry, "Layers"), *name;
    json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    size_t i;
    if (json_array_size(names) != json_array_size(ids))
        return err_set(err, ERR_CORRUPT, "manifest.json has %zu layers, the config %zu",
                       json_array_size(names), json_array_size(ids));
    json_array_foreach (names, i, name) {
        const char *text = json_is_string(name) ? json_string_value(name) : "";
        const char *diff_id = json_string_value(json_array_get(ids, i));
        files[i] = spool_path(&l->spool, text);
        if (!files[i])
            return err_set(err, ERR_CORRUPT, "layer %s is not in the archive", text);
        if (!diff_id || !digest_valid(diff_id))
            return err_set(err, ERR_CORRUPT, "the config has no valid diff IDs");
        if (describe_layer(text, files[i], diff_id, layers, err) < 0)
            return -1;
    }
    return 0;
}

static int tags_of(const json_t *entry, char ***tags, struct err *err)
{
    json_t *list = json_object_get(entry, "RepoTags"), *item;
    size_t i;
    *tags = xcalloc(1, sizeof(**tags));
    json_array_foreach (list, i, item) {
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        if (reference_parse(json_is_string(item) ? json_string_value(item) : "", &ref, err) < 0)
            return -1;
        char *name AUTOFREE = reference_name(&ref);
        strv_push(tags, name);
    }
    return 0;
}

static void loaded(struct load *l, char *const *tags, const char *id)
{
    for (size_t i = 0; tags && tags[i]; i++)
        strv_push(&l->names, tags[i]);
    if (!tags || !tags[0])
        strv_push(&l->names, id);
}

/* One entry of manifest.json. */
static int load_docker_image(struct load *l, const json_t *entry, struct err *err)
{
    const char *config_name = jstr(entry, "Config", "");
    const char *config_path = spool_path(&l->spool, config_name);
    char *config_text AUTOFREE = NULL;
    char **tags AUTOSTRV = NULL;
    char id[72];
    size_t n;
    if (!config_path)
        return err_set(err, ERR_CORRUPT, "config %s is not in the archive", config_name);
    if (fs_read(config_path, CONFIG_MAX, &config_text, &n, err) < 0 ||
        tags_of(entry, &tags, err) < 0)
        return -1;
    json_t *config AUTOJSON = json_loadb(config_text, n, 0, NULL), *layers AUTOJSON = json_array();
    size_t count = json_array_size(json_object_get(json_object_get(config, "rootfs"), "diff_ids"));
    const char **files AUTOFREE = xcalloc(count + 1, sizeof(*files));
    if (describe_layers(l, entry, config, layers, files, err) < 0)
        return -1;
    digest_of(config_text, n, id);
    json_t *manifest AUTOJSON = json_pack("{s:{s:s},s:O}", "config", "digest", id, "layers",
                                          layers);
    struct image *image;
    if (image_decode(manifest, config, &image, err) < 0)
        return -1;
    const char *shown = tags[0] ? tags[0] : id;
    struct layer_descriptor *d AUTOFREE = xcalloc(count + 1, sizeof(*d));
    for (size_t i = 0; i < image->layers_n; i++)
        d[i] = (struct layer_descriptor){image->layers[i].digest, image->layers[i].media_type,
                                         image->layers[i].size};
    int rc = unpack_layers(l, image, files, shown, err);
    if (rc == 0)
        rc = publish_image(&l->work, config_text, d, image->layers_n, (const char *const *)tags, id,
                           err);
    image_free(image);
    if (rc < 0)
        return err_wrap(err, "image %s", shown);
    loaded(l, tags, id);
    return 0;
}

static int load_docker(struct load *l, const json_t *manifest, struct err *err)
{
    json_t *entry;
    size_t i;
    if (!json_is_array(manifest) || !json_array_size(manifest))
        return err_set(err, ERR_CORRUPT, "manifest.json names no image");
    json_array_foreach ((json_t *)manifest, i, entry)
        if (load_docker_image(l, entry, err) < 0)
            return -1;
    return 0;
}

/* A blob of the layout in the archive, as JSON and as text, with its digest verified. */
static int read_blob(struct load *l, const char *digest, size_t max, char **text, size_t *n,
                     json_t **json, struct err *err)
{
    char actual[72];
    if (!digest_valid(digest))
        return err_set(err, ERR_CORRUPT, "\"%.100s\" is not a digest", digest);
    char *name AUTOFREE = xasprintf("blobs/sha256/%s", digest + 7);
    const char *path = spool_path(&l->spool, name);
    if (!path)
        return err_set(err, ERR_CORRUPT, "blob %s is not in the archive", digest);
    if (fs_read(path, max, text, n, err) < 0)
        return -1;
    if (!streq(digest_of(*text, *n, actual), digest))
        return err_set(err, ERR_CORRUPT, "digest mismatch: blob %s has %s", digest, actual);
    *json = json_loadb(*text, *n, 0, NULL);
    return json_is_object(*json) ? 0 : err_set(err, ERR_CORRUPT, "blob %s is not JSON", digest);
}

static int layer_files(struct load *l, const struct image *image, const char **files,
                       struct err *err)
{
    for (size_t i = 0; i < image->layers_n; i++) {
        const struct image_layer *layer = &image->layers[i];
        char *name AUTOFREE = xasprintf("blobs/sha256/%s", layer->digest + 7);
        files[i] = spool_path(&l->spool, name);
        /* An archive may leave out what its reader has. */
        if (!files[i] && !layout_has_blob(l->work.store, layer->digest, layer->size))
            return err_set(err, ERR_CORRUPT, "layer %s is not in the archive", layer->digest);
    }
    return 0;
}

static int load_oci_manifest(struct load *l, const char *digest, const char *name,
                             const char *index_digest, int depth, struct err *err);

static int load_oci_index(struct load *l, const char *digest, const json_t *index, const char *name,
                          int depth, struct err *err)
{
    char text[96];
    const json_t *chosen = depth ? index_choose(index, &l->platform) : NULL;
    if (!chosen)
        return err_set(err, ERR_NOT_FOUND, "it is not there for platform %s",
                       image_platform_format(&l->platform, text));
    return load_oci_manifest(l, jstr(chosen, "digest", ""), name, digest, depth - 1, err);
}

static int load_oci_manifest(struct load *l, const char *digest, const char *name,
                             const char *index_digest, int depth, struct err *err)
{
    char *text AUTOFREE = NULL, *config_text AUTOFREE = NULL;
    json_t *manifest AUTOJSON = NULL, *config AUTOJSON = NULL;
    size_t n, config_n;
    char id[72], published[72];
    if (read_blob(l, digest, MANIFEST_MAX, &text, &n, &manifest, err) < 0)
        return -1;
    const char *type = manifest_media_type(manifest);
    if (type && media_is_index(type))
        return load_oci_index(l, digest, manifest, name, depth, err);
    const char *config_digest = jstr(json_object_get(manifest, "config"), "digest", "");
    if (read_blob(l, config_digest, CONFIG_MAX, &config_text, &config_n, &config, err) < 0)
        return -1;
    struct image *image;
    if (image_decode(manifest, config, &image, err) < 0)
        return -1;
    const char **files AUTOFREE = xcalloc(image->layers_n + 1, sizeof(*files));
    const char *names[] = {name, NULL};
    int rc = layer_files(l, image, files, err);
    if (rc == 0)
        rc = unpack_layers(l, image, files, name ? name : image->id, err);
    image_free(image);
    if (rc < 0 || publish_blob(&l->work, config_text, config_n, id, err) < 0 ||
        publish_blob(&l->work, text, n, published, err) < 0 ||
        publish_entry(l->work.store, type ? type : MEDIA_OCI_MANIFEST, digest, (int64_t)n, names,
                      index_digest, false, NULL, err) < 0)
        return -1;
    loaded(l, name ? (char *const *)names : NULL, id);
    return 0;
}

/* The name of an entry: containerd writes a full one of its own beside the tag. */
static char *oci_name(const json_t *entry)
{
    const json_t *annotations = json_object_get(entry, "annotations");
    const char *text = jstr(annotations, "io.containerd.image.name", NULL);
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (text && reference_parse(text, &ref, NULL) == 0)
        return reference_name(&ref);
    return entry_name(entry);
}

static int load_oci(struct load *l, const json_t *index, struct err *err)
{
    json_t *list = json_object_get(index, "manifests"), *entry;
    size_t i;
    if (!json_array_size(list))
        return err_set(err, ERR_CORRUPT, "index.json names no image");
    json_array_foreach (list, i, entry) {
        char *name AUTOFREE = oci_name(entry);
        if (load_oci_manifest(l, jstr(entry, "digest", ""), name, NULL, 4, err) < 0)
            return name ? err_wrap(err, "image %s", name) : -1;
    }
    return 0;
}

static int run(struct load *l, struct image_store *store, struct err *err)
{
    const struct load_request *q = l->request;
    json_t *docker AUTOJSON = NULL, *oci AUTOJSON = NULL;
    if (image_platform_parse(q->platform, &l->platform, err) < 0 ||
        work_begin(store, &l->work, err) < 0 ||
        spool_read(&l->work, q->fd, q->cancel, &l->spool, err) < 0 ||
        spool_json(&l->spool, "manifest.json", MANIFEST_MAX, &docker, err) < 0 ||
        spool_json(&l->spool, "index.json", MANIFEST_MAX, &oci, err) < 0)
        return -1;
    if (docker)
        return load_docker(l, docker, err);
    if (oci)
        return load_oci(l, oci, err);
    return err_set(err, ERR_INVALID,
                   "it is no image archive: neither manifest.json nor index.json is in it "
                   "(a root file system is imported, not loaded)");
}

int call_load(struct image_store *store, const struct load_request *q, char ***names,
              struct err *err)
{
    struct load l = {.request = q, .work = WORK_INIT};
    int rc = run(&l, store, err);
    bool worked = l.work.dir != NULL;
    spool_release(&l.spool);
    work_end(&l.work);
    if (rc == 0 && names)
        *names = STEAL(l.names);
    strv_free(l.names);
    if (rc < 0) {
        if (worked)
            layout_sweep(store, NULL);
        return err_wrap(err, "load %s", q->source);
    }
    return 0;
}
