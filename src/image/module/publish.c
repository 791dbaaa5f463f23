#include "image/module/publish.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "image/module/inflate.h"
#include "image/module/settle.h"

int publish_blob(struct work *work, const void *data, size_t n, char digest[72], struct err *err)
{
    digest_of(data, n, digest);
    const char *pins[] = {digest, NULL};
    if (work_pin(work, pins, err) < 0)
        return -1;
    if (layout_has_blob(work->store, digest, (int64_t)n))
        return 0;
    char *tmp AUTOFREE = work_path(work, "blob");
    char *path AUTOFREE = layout_blob(work->store, digest);
    if (fs_write_atomic(tmp, data, n, 0644, true, err) < 0)
        return -1;
    return rename(tmp, path) < 0 ? err_sys(err, errno, "rename to %s", path) : 0;
}

char *manifest_text(const char *config_digest, size_t config_size,
                    const struct layer_descriptor *layers, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:I}", "mediaType", layers[i].media_type,
                                              "digest", layers[i].digest, "size",
                                              (json_int_t)layers[i].size));
    json_t *manifest AUTOJSON = json_pack("{s:i,s:s,s:{s:s,s:s,s:I},s:o}", "schemaVersion", 2,
                                          "mediaType", MEDIA_OCI_MANIFEST, "config", "mediaType",
                                          MEDIA_OCI_CONFIG, "digest", config_digest, "size",
                                          (json_int_t)config_size, "layers", list);
    return json_dumps(manifest, JSON_COMPACT);
}

/* Whether the name stands for another manifest than this one now. */
static bool name_moves(const json_t *index, const char *name, const char *digest)
{
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(index, "manifests"), i, entry) {
        char *has AUTOFREE = entry_name(entry);
        if (has && streq(has, name))
            return !streq(jstr(entry, "digest", ""), digest);
    }
    return true;
}

int publish_entry(struct image_store *store, const char *media_type, const char *digest,
                  int64_t size, const char *const *names, const char *index_digest, bool pulled,
                  bool *changed, struct err *err)
{
    int lock AUTOCLOSE = -1;
    json_t *shared AUTOJSON = NULL;
    if (layout_lock(store, false, &lock, err) < 0 || layout_index(store, &shared, err) < 0)
        return -1;
    json_t *index AUTOJSON = json_deep_copy(shared);
    json_t *extra AUTOJSON = json_object();
    jset_str(extra, ANNOTATION_INDEX, index_digest);
    if (pulled) {
        char now[40];
        jset_str(extra, ANNOTATION_PULLED, time_format(time_now(), now));
    }
    if (changed)
        *changed = !names || !names[0] || name_moves(index, names[0], digest);
    if (!names || !names[0])
        index_set(index, media_type, digest, size, NULL, extra);
    for (size_t i = 0; names && names[i]; i++)
        index_set(index, media_type, digest, size, names[i], extra);
    if (layout_index_write(store, index, err) < 0)
        return -1;
    settle_layers(store);
    return 0;
}

int publish_manifest(struct work *work, const char *config, const struct layer_descriptor *layers,
                     size_t n, char id[72], struct manifest_descriptor *manifest, struct err *err)
{
    if (publish_blob(work, config, strlen(config), id, err) < 0)
        return -1;
    char *text AUTOFREE = manifest_text(id, strlen(config), layers, n);
    manifest->size = (int64_t)strlen(text);
    return publish_blob(work, text, strlen(text), manifest->digest, err);
}

int publish_image(struct work *work, const char *config, const struct layer_descriptor *layers,
                  size_t n, const char *const *names, char id[72], struct err *err)
{
    struct manifest_descriptor m;
    if (publish_manifest(work, config, layers, n, id, &m, err) < 0)
        return -1;
    return publish_entry(work->store, MEDIA_OCI_MANIFEST, m.digest, m.size, names, NULL, false,
                         NULL, err);
}

int publish_index(struct work *work, json_t *manifests, const char *const *names, struct err *err)
{
    char digest[72];
    json_t *index AUTOJSON = json_pack("{s:i,s:s,s:O}", "schemaVersion", 2, "mediaType",
                                       MEDIA_OCI_INDEX, "manifests", manifests);
    char *text AUTOFREE = json_dumps(index, JSON_COMPACT);
    size_t n = strlen(text);
    if (publish_blob(work, text, n, digest, err) < 0)
        return -1;
    return publish_entry(work->store, MEDIA_OCI_INDEX, digest, (int64_t)n, names, NULL, false, NULL,
                         err);
}

const char *layer_media_type(int compression)
{
    switch ((enum compression)compression) {
    case COMPRESSION_GZIP:
        return MEDIA_OCI_LAYER_GZIP;
    case COMPRESSION_ZSTD:
        return MEDIA_OCI_LAYER_ZSTD;
    case COMPRESSION_NONE:
    case COMPRESSION_OTHER:
        break;
    }
    return MEDIA_OCI_LAYER;
}
