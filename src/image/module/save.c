/* Images as an archive: an OCI layout that also has Docker's manifest.json, as `docker save` writes
 * it since version 25; `docker load`, podman and skopeo read it. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "image/layout.h"
#include "image/module/calls.h"
#include "image/module/tarwrite.h"

enum { CHUNK = 256 << 10 };

struct save {
    struct image_store *store;
    const struct save_request *request;
    struct work work;
    struct archive *archive;
    struct map written; /* members */
    json_t *index, *docker;
    char *buffer;
};

/* "Write error" alone says little. */
static int fail(struct archive *a, struct err *err)
{
    const char *what = archive_error_string(a);
    return archive_errno(a) > 0 ? err_sys(err, archive_errno(a), "%s", what)
                                : err_set(err, ERR_IO, "%s", what);
}

static int put_header(struct save *s, const char *name, int64_t size, struct err *err)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, size);
    archive_entry_set_mtime(e, 0, 0);
    int rc = archive_write_header(s->archive, e);
    archive_entry_free(e);
    return rc < ARCHIVE_WARN ? fail(s->archive, err) : 0;
}

static int put_text(struct save *s, const char *name, const char *text, struct err *err)
{
    size_t n = strlen(text);
    if (put_header(s, name, (int64_t)n, err) < 0)
        return -1;
    return archive_write_data(s->archive, text, n) < 0 ? fail(s->archive, err) : 0;
}

static int put_json(struct save *s, const char *name, const json_t *j, struct err *err)
{
    char *text AUTOFREE = json_dumps(j, JSON_COMPACT);
    return put_text(s, name, text, err);
}

static int put_blob(struct save *s, const char *digest, struct err *err)
{
    char *name AUTOFREE = xasprintf("blobs/sha256/%s", digest + 7);
    if (map_get(&s->written, name))
        return 0;
    map_set(&s->written, name, s);
    char *path AUTOFREE = layout_blob(s->store, digest);
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "blob %s", digest);
    if (put_header(s, name, st.st_size, err) < 0)
        return -1;
    for (;;) {
        if (s->request->cancel && atomic_load(s->request->cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        ssize_t n = read(fd, s->buffer, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s", path);
        if (n == 0)
            return 0;
        if (archive_write_data(s->archive, s->buffer, (size_t)n) < 0)
            return fail(s->archive, err);
    }
}

static int pin(struct save *s, const struct image *image, struct err *err)
{
    char **pins AUTOSTRV = NULL;
    strv_push(&pins, image->id);
    strv_push(&pins, image->digest);
    for (size_t i = 0; i < image->layers_n; i++)
        strv_push(&pins, image->layers[i].digest);
    return work_pin(&s->work, (const char *const *)pins, err);
}

/* The tags of the image's entry in manifest.json, which is made at its first name. */
static json_t *docker_entry(struct save *s, const struct image *image)
{
    char *config AUTOFREE = xasprintf("blobs/sha256/%s", image->id + 7);
    json_t *entry, *layers = json_array(), *tags = json_array();
    size_t k;
    json_array_foreach (s->docker, k, entry)
        if (streq(jstr(entry, "Config", ""), config)) {
            json_decref(layers);
            json_decref(tags);
            return json_object_get(entry, "RepoTags");
        }
    for (size_t i = 0; i < image->layers_n; i++) {
        char *name AUTOFREE = xasprintf("blobs/sha256/%s", image->layers[i].digest + 7);
        json_array_append_new(layers, json_string(name));
    }
    json_array_append_new(s->docker, json_pack("{s:s,s:o,s:o}", "Config", config, "RepoTags", tags,
                                               "Layers", layers));
    return tags;
}

static int put_image(struct save *s, const struct image *image, const char *const *tags,
                     struct err *err)
{
    json_t *manifest AUTOJSON = NULL;
    char *path AUTOFREE = layout_blob(s->store, image->digest);
    struct stat st;
    json_t *repo_tags = docker_entry(s, image);
    for (size_t i = 0; i < image->layers_n; i++)
        if (put_blob(s, image->layers[i].digest, err) < 0)
            return -1;
    if (put_blob(s, image->id, err) < 0 || put_blob(s, image->digest, err) < 0 ||
        image_manifest_json(s->store, image, &manifest, err) < 0)
        return -1;
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    for (size_t i = 0; i == 0 || tags[i]; i++) {
        json_t *entry = json_pack("{s:s,s:s,s:I}", "mediaType", manifest_media_type(manifest),
                                  "digest", image->digest, "size", (json_int_t)st.st_size);
        json_array_append_new(s->index, entry);
        if (!tags[i])
            break;
        json_object_set_new(entry, "annotations",
                            json_pack("{s:s,s:s}", "io.containerd.image.name", tags[i],
                                      ANNOTATION_NAME, strrchr(tags[i], ':') + 1));
        char *familiar AUTOFREE = reference_shorten(tags[i]);
        json_array_append_new(repo_tags, json_string(familiar));
    }
    return 0;
}

/* By name that name is saved, by ID the image without one, as Docker does. */
static int save_one(struct save *s, const char *text, struct err *err)
{
    struct image *image;
    if (image_find(s->store, text, NULL, &image, err) < 0)
        return -1;
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    char *name AUTOFREE = reference_parse(text, &ref, NULL) == 0 ? reference_name(&ref) : NULL;
    const char *tags[] = {NULL, NULL};
    for (size_t i = 0; name && image->names[i]; i++)
        if (streq(image->names[i], name) && !ref.digest)
            tags[0] = name;
    int rc = pin(s, image, err);
    if (rc == 0)
        rc = put_image(s, image, tags, err);
    image_free(image);
    return rc < 0 ? err_wrap(err, "image %s", text) : 0;
}

static int run(struct save *s, struct err *err)
{
    if (put_text(s, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", err) < 0)
        return -1;
    for (size_t i = 0; s->request->references[i]; i++)
        if (save_one(s, s->request->references[i], err) < 0)
            return -1;
    json_t *index AUTOJSON = json_pack("{s:i,s:s,s:O}", "schemaVersion", 2, "mediaType",
                                       MEDIA_OCI_INDEX, "manifests", s->index);
    if (put_json(s, "index.json", index, err) < 0)
        return -1;
    if (!s->request->oci && put_json(s, "manifest.json", s->docker, err) < 0)
        return -1;
    return archive_write_close(s->archive) == ARCHIVE_OK ? 0 : fail(s->archive, err);
}

int call_save(struct image_store *store, const struct save_request *q, struct err *err)
{
    struct save s = {.store = store, .request = q, .work = WORK_INIT};
    if (work_begin(store, &s.work, err) < 0)
        return err_wrap(err, "save");
    s.index = json_array();
    s.docker = json_array();
    s.buffer = xmalloc(CHUNK);
    s.archive = archive_write_new();
    archive_write_set_format_pax_restricted(s.archive);
    int rc = archive_write_open_fd(s.archive, q->fd) == ARCHIVE_OK ? run(&s, err)
                                                                   : fail(s.archive, err);
    if (rc < 0)
        archive_write_fail(s.archive);
    archive_write_free(s.archive);
    json_decref(s.index);
    json_decref(s.docker);
    map_release(&s.written);
    free(s.buffer);
    work_end(&s.work);
    return rc < 0 ? err_wrap(err, "save") : 0;
}

static int write_fd(void *ctx, const void *data, size_t n)
{
    return fd_write_all(*(int *)ctx, data, n);
}

int call_export(struct image_store *store, const char *dir, int fd, image_cancel cancel,
                struct err *err)
{
    (void)store;
    struct stop stop = {cancel, NULL};
    struct tar_output output = {write_fd, &fd};
    struct err why AUTOERR = ERR_INIT;
    if (tar_write(dir, false, &stop, &output, &why) == 0)
        return 0;
    if (!why.msg)
        err_sys(&why, errno, "write the archive");
    err_move(err, &why);
    return err_wrap(err, "export %s", dir);
}
