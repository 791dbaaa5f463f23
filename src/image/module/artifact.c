/* Artifacts: image-spec v1.1, "Guidelines for Artifact Usage". */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "image/decode.h"
#include "image/layout.h"
#include "image/module/calls.h"
#include "image/module/hash.h"
#include "image/module/registry.h"

#define MEDIA_EMPTY "application/vnd.oci.empty.v1+json"

enum { FILES_MAX = 256 };

struct transfer {
    struct reference ref;
    struct stop stop;
    atomic_bool failed; /* never: one thread */
    struct registry *registry;
    struct registry_client *client;
};

static int begin(struct transfer *t, const char *reference, bool push, const char *auth_file,
                 image_cancel cancel, struct err *err)
{
    t->stop = (struct stop){cancel, &t->failed};
    if (reference_parse(reference, &t->ref, err) < 0)
        return -1;
    t->registry = registry_new(&t->ref, auth_file, push, &t->stop, err);
    if (!t->registry)
        return -1;
    t->client = registry_client_new(t->registry);
    return 0;
}

static void end(struct transfer *t)
{
    if (t->registry) {
        registry_client_free(t->client);
        registry_free(t->registry);
    }
    reference_release(&t->ref);
}

static char *digest_text(const char *data, size_t n, char out[72])
{
    struct hash h;
    hash_init(&h);
    hash_update(&h, data, n);
    return hash_digest(&h, out);
}

/* ---- push */

static json_t *descriptor(const char *media_type, const char *data, size_t n)
{
    char digest[72];
    return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
                     digest_text(data, n, digest), "size", (json_int_t)n);
}

/* Blobs are sent from files. */
static int put_bytes(struct transfer *t, const char *data, size_t n, struct err *err)
{
    char digest[72], path[40];
    bool has;
    digest_text(data, n, digest);
    if (registry_has_blob(t->client, digest, &has, err) < 0 || has)
        return has ? 0 : -1;
    int fd AUTOCLOSE = memfd_create("blob", MFD_CLOEXEC);
    if (fd < 0 || fd_write_all(fd, data, n) < 0)
        return err_sys(err, errno, "a file in memory");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return registry_put_blob(t->client, digest, path, (int64_t)n, NULL, NULL, err);
}

/* OCI 1.1 has a type for artifacts; before it the type of the config told what they are. */
static json_t *make_manifest(const struct artifact_push_request *q, bool oci_1_1)
{
    char created[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_t *config = descriptor(oci_1_1 ? MEDIA_EMPTY : q->old_config_type, "{}", 2);
    json_object_set_new(config, "data", json_string("e30="));
    json_t *layers = json_array();
    for (size_t i = 0; i < q->files_n; i++) {
        const struct artifact_file *f = &q->files[i];
        json_t *layer = descriptor(f->media_type, f->data, f->n);
        json_object_set(layer, "annotations", f->annotations);
        json_array_append_new(layers, layer);
    }
    json_t *m = json_pack("{s:i, s:s}", "schemaVersion", 2, "mediaType", MEDIA_OCI_MANIFEST);
    if (oci_1_1)
        jset_str(m, "artifactType", q->type);
    json_object_set_new(m, "config", config);
    json_object_set_new(m, "layers", layers);
    json_object_set_new(m, "annotations",
                        json_pack("{s:s}", "org.opencontainers.image.created", created));
    return m;
}

/* *out: the descriptor of the manifest. tag NULL: under its digest alone. */
static int put_manifest(struct transfer *t, const char *tag, const char *media_type,
                        const json_t *manifest, json_t **out, struct err *err)
{
    char *text AUTOFREE = json_dumps(manifest, JSON_COMPACT);
    *out = descriptor(media_type, text, strlen(text));
    const char *type = jstr(manifest, "artifactType", NULL);
    jset_str(*out, "artifactType", type);
    int rc = registry_put_manifest(t->client, tag ? tag : jstr(*out, "digest", ""), media_type,
                                   text, strlen(text), err);
    if (rc < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return rc;
}

static int push_manifest(struct transfer *t, const struct artifact_push_request *q, json_t **out,
                         struct err *err)
{
    struct err why AUTOERR = ERR_INIT;
    const char *tag = q->images ? NULL : t->ref.tag;
    if (!streq(q->oci_version, "1.0")) {
        json_t *manifest AUTOJSON = make_manifest(q, true);
        if (put_manifest(t, tag, MEDIA_OCI_MANIFEST, manifest, out, &why) == 0)
            return 0;
        if (*q->oci_version || why.kind != ERR_UNAVAILABLE) {
            err_move(err, &why);
            return -1;
        }
    }
    json_t *manifest AUTOJSON = make_manifest(q, false);
    if (put_manifest(t, tag, MEDIA_OCI_MANIFEST, manifest, out, err) == 0)
        return 0;
    if (why.msg && err) { /* what the registry said of the better form tells more */
        err_release(err);
        *err = (struct err)ERR_INIT;
        err_move(err, &why);
    }
    return -1;
}

static int push_one(struct image_store *store, const struct artifact_push_request *q,
                    const char *name, json_t *list, struct err *err)
{
    struct image *image;
    json_t *manifest AUTOJSON = NULL;
    const struct push_request push = {
        .reference = name, .into = q->reference, .auth_file = q->auth_file, .cancel = q->cancel};
    if (image_find(store, name, NULL, &image, err) < 0)
        return -1;
    int rc = call_push(store, &push, NULL, err);
    if (rc == 0)
        rc = image_manifest_json(store, image, &manifest, err);
    if (rc == 0) {
        char *path AUTOFREE = layout_blob(store, image->digest);
        struct stat st;
        json_int_t size = stat(path, &st) == 0 ? (json_int_t)st.st_size : 0;
        json_t *d = json_pack("{s:s, s:s, s:I}", "mediaType", manifest_media_type(manifest),
                              "digest", image->digest, "size", size);
        json_t *platform = json_object();
        jset_str(platform, "architecture", image->architecture);
        jset_str(platform, "os", image->os);
        json_object_set_new(d, "platform", platform);
        json_array_append_new(list, d);
    }
    image_free(image);
    return rc;
}

/* The whole application: an index of the artifact and the images. */
static int push_index(struct transfer *t, struct image_store *store,
                      const struct artifact_push_request *q, json_t *artifact, struct err *err)
{
    json_t *list = json_array(), *out = NULL;
    json_t *index AUTOJSON = json_pack("{s:i, s:s, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType",
                                       MEDIA_OCI_INDEX, "artifactType", q->type, "manifests", list,
                                       "subject", artifact);
    json_object_set(index, "annotations", q->index_annotations);
    json_t *first = json_copy(artifact);
    jset_str(first, "artifactType", q->type);
    json_array_append_new(list, first);
    for (const char *const *name = q->images; *name; name++)
        if (push_one(store, q, *name, list, err) < 0)
            return -1;
    int rc = put_manifest(t, t->ref.tag, MEDIA_OCI_INDEX, index, &out, err);
    json_decref(out);
    return rc;
}

int call_artifact_push(struct image_store *store, const struct artifact_push_request *q,
                       struct err *err)
{
    struct transfer t = {.ref = REFERENCE_INIT};
    json_t *pushed AUTOJSON = NULL;
    int rc = begin(&t, q->reference, true, q->auth_file, q->cancel, err);
    if (rc == 0 && t.ref.digest)
        rc = err_set(err, ERR_INVALID, "a digest cannot be pushed, only a tag");
    if (rc == 0)
        rc = put_bytes(&t, "{}", 2, err);
    for (size_t i = 0; i < q->files_n && rc == 0; i++)
        rc = put_bytes(&t, q->files[i].data, q->files[i].n, err);
    if (rc == 0)
        rc = push_manifest(&t, q, &pushed, err);
    if (rc == 0 && q->images)
        rc = push_index(&t, store, q, pushed, err);
    end(&t);
    return rc;
}

/* ---- pull */

/* An index stands for the first artifact of the type that it names. */
static int enter_index(struct transfer *t, const struct artifact_pull_request *q,
                       struct manifest *m, struct err *err)
{
    const json_t *list = json_object_get(m->json, "manifests"), *found = NULL;
    size_t i;
    json_t *one;
    if (!json_is_array(list))
        return 0;
    json_array_foreach (list, i, one)
        if (!found && streq(jstr(one, "artifactType", ""), q->type))
            found = one;
    if (!found)
        found = json_object_get(m->json, "subject");
    const char *digest = jstr(found, "digest", "");
    if (!digest_valid(digest))
        return err_set(err, ERR_INVALID, "it is an index without an artifact of type %s", q->type);
    struct manifest inner = {0};
    if (registry_manifest(t->client, digest, &inner, err) < 0)
        return -1;
    memcpy(inner.digest, m->digest, sizeof(inner.digest));
    manifest_release(m);
    *m = inner;
    return 0;
}

static int check_type(const struct artifact_pull_request *q, const json_t *manifest,
                      struct err *err)
{
    const char *type = jstr(manifest, "artifactType", "");
    const char *config = jstr(json_object_get(manifest, "config"), "mediaType", "");
    if (*type ? streq(type, q->type) : streq(config, q->old_config_type))
        return 0;
    return err_set(err, ERR_INVALID, "it is no artifact of type %s, but %s", q->type,
                   *type     ? type
                   : *config ? config
                             : "of none");
}

static int pull_files(struct transfer *t, const json_t *layers, struct artifact *out,
                      struct err *err)
{
    size_t n = json_array_size(layers);
    if (n > FILES_MAX)
        return err_set(err, ERR_INVALID, "it has %zu files, more than %d", n, FILES_MAX);
    out->files = xcalloc(n + 1, sizeof(*out->files));
    for (size_t i = 0; i < n; i++) {
        const json_t *layer = json_array_get(layers, i);
        const char *digest = jstr(layer, "digest", "");
        struct artifact_file *f = &out->files[out->files_n];
        if (!digest_valid(digest))
            return err_set(err, ERR_CORRUPT, "a layer without a digest");
        json_int_t size = jint(layer, "size", -1);
        if (registry_blob_text(t->client, digest, size, &f->data, err) < 0)
            return -1;
        f->n = (size_t)size;
        f->media_type = xstrdup(jstr(layer, "mediaType", ""));
        f->annotations = json_incref(json_object_get(layer, "annotations"));
        out->files_n++;
    }
    return 0;
}

int call_artifact_pull(const struct artifact_pull_request *q, struct artifact *out, struct err *err)
{
    struct transfer t = {.ref = REFERENCE_INIT};
    struct manifest m = {0};
    *out = (struct artifact){0};
    int rc = begin(&t, q->reference, false, q->auth_file, q->cancel, err);
    if (rc == 0)
        rc = registry_manifest(t.client, t.ref.digest ? t.ref.digest : t.ref.tag, &m, err);
    if (rc == 0) {
        rc = enter_index(&t, q, &m, err);
        if (rc == 0)
            rc = check_type(q, m.json, err);
        memcpy(out->digest, m.digest, sizeof(out->digest));
        if (rc == 0 && !(q->have && q->have(q->ctx, out->digest)))
            rc = pull_files(&t, json_object_get(m.json, "layers"), out, err);
        manifest_release(&m);
    }
    end(&t);
    if (rc < 0)
        artifact_release(out);
    return rc;
}
