/* Removing images, and sweeping what no image needs any more. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/layout.h"
#include "image/store.h"

static void mark(struct map *live, const char *digest)
{
    map_set(live, digest, live);
}

static void mark_layers(struct map *live, const json_t *manifest, const json_t *config)
{
    json_t *layers = json_object_get(manifest, "layers"), *item;
    json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    char chain[72] = "", dependent[72];
    size_t i;
    json_array_foreach (layers, i, item)
        mark(live, jstr(item, "digest", ""));
    json_array_foreach (ids, i, item) {
        const char *id = json_string_value(item);
        if (!id || !digest_valid(id))
            continue;
        mark(live, id);
        digest_chain(i ? chain : NULL, id, chain);
        mark(live, digest_dependent(chain, dependent));
    }
}

/* False: something cannot be read, so that what it needs is not known. */
static bool mark_manifest(struct image_store *store, struct map *live, const char *digest,
                          int depth)
{
    mark(live, digest);
    json_t *manifest AUTOJSON = NULL;
    if (depth == 0 || layout_read_json(store, digest, MANIFEST_MAX, &manifest, NULL) < 0)
        return false;
    const char *type = manifest_media_type(manifest);
    bool whole = true;
    if (type && media_is_index(type)) {
        json_t *item;
        size_t i;
        json_array_foreach (json_object_get(manifest, "manifests"), i, item) {
            const char *child = jstr(item, "digest", "");
            /* Of an index only the platforms that were wanted are here. */
            if (digest_valid(child) && layout_has_blob(store, child, -1))
                whole = mark_manifest(store, live, child, depth - 1) && whole;
        }
        return whole;
    }
    const char *id = jstr(json_object_get(manifest, "config"), "digest", "");
    mark(live, id);
    json_t *config AUTOJSON = NULL;
    whole = layout_read_json(store, id, CONFIG_MAX, &config, NULL) == 0;
    mark_layers(live, manifest, config);
    return whole;
}

static bool mark_index(struct image_store *store, struct map *live, const json_t *index)
{
    bool whole = true;
    json_t *entry;
    size_t i;
    json_array_foreach (json_object_get(index, "manifests"), i, entry)
        whole = mark_manifest(store, live, jstr(entry, "digest", ""), 5) && whole;
    return whole;
}

/* Moves what is not live out of the store; the work folder is deleted later, without the lock. */
static int sweep_folder(struct work *work, const char *folder, const struct map *live,
                        int64_t *freed, struct err *err)
{
    struct image_store *store = work->store;
    char *dir AUTOFREE = path_join(store->dir, folder);
    DIR *d = opendir(dir);
    if (!d)
        return err_sys(err, errno, "open %s", dir);
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(d))) {
        char digest[7 + NAME_MAX + 1];
        snprintf(digest, sizeof(digest), "sha256:%s", e->d_name);
        if (e->d_name[0] == '.' || map_get(live, digest))
            continue;
        char *path AUTOFREE = path_join(dir, e->d_name);
        char *grave AUTOFREE = work_path(work, "dead");
        struct stat st;
        if (stat(path, &st) < 0)
            continue;
        *freed += S_ISDIR(st.st_mode) ? layout_layer_size(store, digest, NULL) : st.st_size;
        if (rename(path, grave) < 0 && errno != ENOENT)
            rc = err_sys(err, errno, "remove %s", path);
    }
    closedir(d);
    return rc;
}

/* Store locked. */
static int sweep(struct work *work, const json_t *index, int64_t *freed, struct err *err)
{
    struct map live AUTOMAP = MAP_INIT;
    /* Where an image is damaged nothing is swept: its layers may be in use. image_check() mends. */
    if (!mark_index(work->store, &live, index))
        return 0;
    if (work_collect(work->store, &live, err) < 0)
        return -1;
    if (sweep_folder(work, "layers", &live, freed, err) < 0)
        return -1;
    return sweep_folder(work, "blobs/sha256", &live, freed, err);
}

int layout_sweep_locked(struct work *work, const json_t *index, struct err *err)
{
    int64_t freed = 0;
    return sweep(work, index, &freed, err);
}

int layout_sweep(struct image_store *store, struct err *err)
{
    struct work work AUTOWORK = WORK_INIT;
    int lock AUTOCLOSE = -1;
    json_t *index AUTOJSON = NULL;
    int64_t freed = 0;
    if (work_begin(store, &work, err) < 0 || layout_lock(store, false, &lock, err) < 0 ||
        layout_index(store, &index, err) < 0)
        return -1;
    return sweep(&work, index, &freed, err);
}

static bool contains(const char *const *list, const char *s)
{
    for (; list && *list; list++)
        if (streq(*list, s))
            return true;
    return false;
}

/* Two manifests may have one config, say one with plain and one with packed layers. */
static bool entry_of_image(struct image_store *store, const json_t *entry,
                           const struct image *image)
{
    const char *digest = jstr(entry, "digest", "");
    struct image *other;
    if (streq(digest, image->digest))
        return true;
    if (entry_image(store, entry, NULL, &other, NULL) < 0)
        return false;
    bool same = streq(other->id, image->id);
    image_free(other);
    return same;
}

/* Takes all names (keep: leaves one nameless entry, so that nothing of the image is swept). */
static void drop_entries(struct image_store *store, json_t *index, const struct image *image,
                         bool keep)
{
    json_t *entries = json_object_get(index, "manifests");
    for (size_t i = json_array_size(entries); i-- > 0;) {
        json_t *entry = json_array_get(entries, i);
        if (!entry_of_image(store, entry, image))
            continue;
        if (keep)
            json_object_del(json_object_get(entry, "annotations"), ANNOTATION_NAME);
        else
            json_array_remove(entries, i);
        keep = false;
    }
}

static void drop_name(json_t *index, const char *name)
{
    json_t *entries = json_object_get(index, "manifests");
    for (size_t i = json_array_size(entries); i-- > 0;) {
        char *has AUTOFREE = entry_name(json_array_get(entries, i));
        if (has && streq(has, name))
            json_array_remove(entries, i);
    }
}

/* Whether the text names the image by one of its names, which is then returned. */
static const char *named_by(const struct image *image, const char *text, char **buffer)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (reference_parse(text, &ref, NULL) < 0)
        return NULL;
    *buffer = reference_name(&ref);
    return contains((const char *const *)image->names, *buffer) ? *buffer : NULL;
}

static int remove_from_index(struct image_store *store, json_t *index, const struct image *image,
                             const char *text, bool used, bool force, struct image_change *change,
                             struct err *err)
{
    size_t names = strv_len((const char *const *)image->names);
    char *buffer AUTOFREE = NULL;
    const char *name = named_by(image, text, &buffer);
    if (name && names > 1) {
        drop_name(index, name);
        strv_push(&change->untagged, name);
        return 0;
    }
    if (!name && names > 1 && !force)
        return err_set(err, ERR_CONFLICT,
                       "image %s has %zu names: remove them one by one, or force it", text, names);
    if (used && !force)
        return err_set(err, ERR_CONFLICT, "image %s is used by a container", text);
    drop_entries(store, index, image, used);
    for (size_t i = 0; image->names[i]; i++)
        strv_push(&change->untagged, image->names[i]);
    if (!used)
        strv_push(&change->deleted, image->id);
    return 0;
}

int image_remove(struct image_store *store, const char *name, const char *const *in_use, bool force,
                 struct image_change *change, struct err *err)
{
    *change = (struct image_change){0};
    struct work work AUTOWORK = WORK_INIT;
    int lock AUTOCLOSE = -1;
    json_t *shared AUTOJSON = NULL;
    struct image *image;
    if (work_begin(store, &work, err) < 0 || layout_lock(store, false, &lock, err) < 0 ||
        layout_index(store, &shared, err) < 0 || image_find(store, name, NULL, &image, err) < 0)
        return -1;
    json_t *index AUTOJSON = json_deep_copy(shared);
    struct image_list list;
    int rc = image_store_list(store, &list, err);
    /* The list knows the names under all manifests of the image. */
    for (size_t i = 0; rc == 0 && i < list.n; i++)
        if (streq(list.v[i]->id, image->id))
            rc = remove_from_index(store, index, list.v[i], name, contains(in_use, image->id),
                                   force, change, err);
    image_list_release(&list);
    image_free(image);
    if (rc == 0)
        rc = layout_index_write(store, index, err);
    if (rc == 0)
        rc = sweep(&work, index, &change->freed, err);
    if (rc < 0)
        image_change_release(change);
    return rc;
}

void image_change_release(struct image_change *change)
{
    strv_free(change->untagged);
    strv_free(change->deleted);
    *change = (struct image_change){0};
}

int image_prune(struct image_store *store, const char *const *in_use, bool all,
                struct image_change *change, struct err *err)
{
    *change = (struct image_change){0};
    struct work work AUTOWORK = WORK_INIT;
    int lock AUTOCLOSE = -1;
    json_t *shared AUTOJSON = NULL;
    struct image_list list;
    if (work_begin(store, &work, err) < 0 || layout_lock(store, false, &lock, err) < 0 ||
        layout_index(store, &shared, err) < 0 || image_store_list(store, &list, err) < 0)
        return -1;
    json_t *index AUTOJSON = json_deep_copy(shared);
    for (size_t i = 0; i < list.n; i++) {
        struct image *image = list.v[i];
        if (contains(in_use, image->id) || (image->names[0] && !all))
            continue;
        drop_entries(store, index, image, false);
        for (size_t k = 0; image->names[k]; k++)
            strv_push(&change->untagged, image->names[k]);
        strv_push(&change->deleted, image->id);
    }
    image_list_release(&list);
    int rc = change->deleted ? layout_index_write(store, index, err) : 0;
    if (rc == 0)
        rc = sweep(&work, index, &change->freed, err);
    if (rc < 0)
        image_change_release(change);
    return rc;
}
