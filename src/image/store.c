#include "image/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/layout.h"

enum { INDEX_DEPTH = 4 }; /* indexes in indexes */

char *entry_name(const json_t *entry)
{
    const char *name = jstr(json_object_get(entry, "annotations"), ANNOTATION_NAME, NULL);
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    return name && reference_parse(name, &ref, NULL) == 0 ? reference_name(&ref) : NULL;
}

/* Where each layer lies unpacked: by diff ID, or by its chain where it needs those below. */
static void find_layers(struct image_store *store, struct image *image)
{
    char chain[72], dependent[72];
    bool all = true;
    size_t bottom = 0; /* of what can be seen */
    int64_t unpacked = 0, blobs = 0;
    for (size_t i = 0; i < image->layers_n; i++) {
        struct image_layer *layer = &image->layers[i];
        digest_chain(i ? chain : NULL, layer->diff_id, chain);
        blobs += layer->size;
        const char *key = layer->diff_id;
        if (!layout_has_layer(store, key)) {
            key = digest_dependent(chain, dependent);
            if (!layout_has_layer(store, key))
                key = NULL;
        }
        all = all && key;
        if (!key)
            continue;
        char *dir AUTOFREE = layout_layer(store, key);
        layer->dir = path_join(dir, "fs");
        bool opaque = false;
        layer->unpacked = layout_layer_size(store, key, &opaque);
        if (opaque)
            bottom = i;
        unpacked += layer->unpacked;
    }
    image->size = all ? unpacked : blobs;
    if (!all)
        return;
    image->layer_dirs = xcalloc(image->layers_n + 1, sizeof(*image->layer_dirs));
    for (size_t i = bottom; i < image->layers_n; i++)
        image->layer_dirs[i - bottom] = xstrdup(image->layers[i].dir);
    layout_stack_unique(image->layer_dirs);
}

static int read_image(struct image_store *store, const char *digest, const json_t *manifest,
                      struct image **out, struct err *err)
{
    json_t *config AUTOJSON = NULL;
    const char *id = jstr(json_object_get(manifest, "config"), "digest", "");
    if (layout_read_json(store, id, CONFIG_MAX, &config, err) < 0)
        return -1;
    struct image *image;
    if (image_decode(manifest, config, &image, err) < 0)
        return -1;
    image->digest = xstrdup(digest);
    find_layers(store, image);
    *out = image;
    return 0;
}

static int platform_missing(const struct image_platform *platform, struct err *err)
{
    char text[96];
    return err_set(err, ERR_NOT_FOUND, "it is not there for platform %s",
                   image_platform_format(platform, text));
}

static bool image_serves(const struct image *image, const struct image_platform *platform)
{
    struct image_platform offer;
    snprintf(offer.os, sizeof(offer.os), "%s", image->os);
    snprintf(offer.architecture, sizeof(offer.architecture), "%s", image->architecture);
    snprintf(offer.variant, sizeof(offer.variant), "%s", image->variant ? image->variant : "");
    return image_platform_match(platform, &offer) > 0;
}

static const json_t *first_here(struct image_store *store, const json_t *index)
{
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(index, "manifests"), i, entry) {
        const char *digest = jstr(entry, "digest", "");
        if (digest_valid(digest) && layout_has_blob(store, digest, -1))
            return entry;
    }
    return NULL;
}

/* Depth: an index may hold indexes (OCI image-spec image-index.md), but not for ever. */
static int resolve_image(struct image_store *store, const char *digest,
                         const struct image_platform *platform, int depth, struct image **out,
                         struct err *err)
{
    json_t *manifest AUTOJSON = NULL;
    if (layout_read_json(store, digest, MANIFEST_MAX, &manifest, err) < 0)
        return -1;
    const char *type = manifest_media_type(manifest);
    if (!type || !media_is_index(type))
        return read_image(store, digest, manifest, out, err);
    if (depth == 0)
        return err_set(err, ERR_CORRUPT, "index %s is nested too deeply", digest);
    struct image_platform own;
    bool any = !platform; /* this machine's where there is one */
    if (any) {
        image_platform_parse(NULL, &own, NULL);
        platform = &own;
    }
    const json_t *chosen = index_choose(manifest, platform);
    if (!chosen && any)
        chosen = first_here(store, manifest);
    if (!chosen)
        return platform_missing(platform, err);
    if (resolve_image(store, jstr(chosen, "digest", ""), any ? NULL : platform, depth - 1, out,
                      err) < 0)
        return -1;
    free((*out)->index_digest);
    (*out)->index_digest = xstrdup(digest);
    return 0;
}

int entry_image(struct image_store *store, const json_t *entry,
                const struct image_platform *platform, struct image **out, struct err *err)
{
    struct image *image;
    if (resolve_image(store, jstr(entry, "digest", ""), platform, INDEX_DEPTH, &image, err) < 0)
        return -1;
    if (platform && !image_serves(image, platform)) {
        image_free(image);
        return platform_missing(platform, err);
    }
    const json_t *annotations = json_object_get(entry, "annotations");
    const char *index = jstr(annotations, ANNOTATION_INDEX, NULL);
    if (index && !image->index_digest)
        image->index_digest = xstrdup(index);
    image->pulled = image_time(jstr(annotations, ANNOTATION_PULLED, NULL));
    *out = image;
    return 0;
}

static void list_images(struct image_store *store, const char *digest, int depth,
                        struct image_list *images)
{
    json_t *manifest AUTOJSON = NULL, *child;
    if (!digest_valid(digest) || !layout_has_blob(store, digest, -1) ||
        layout_read_json(store, digest, MANIFEST_MAX, &manifest, NULL) < 0)
        return;
    const char *type = manifest_media_type(manifest);
    struct image *image;
    size_t i;
    if (type && media_is_index(type)) {
        json_array_foreach (json_object_get(manifest, "manifests"), i, child)
            if (depth > 0)
                list_images(store, jstr(child, "digest", ""), depth - 1, images);
    } else if (read_image(store, digest, manifest, &image, NULL) == 0) {
        images->v = xrealloc(images->v, (images->n + 1) * sizeof(*images->v));
        images->v[images->n++] = image;
    }
}

void entry_list(struct image_store *store, const json_t *entry, struct image_list *images)
{
    list_images(store, jstr(entry, "digest", ""), INDEX_DEPTH, images);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All names of the image: those of every entry with the same manifest digest. */
static void collect_names(const json_t *entries, struct image *image)
{
    size_t i;
    json_t *entry;
    json_array_foreach ((json_t *)entries, i, entry) {
        const char *digest = jstr(entry, "digest", "");
        if (!streq(digest, image->digest) &&
            !(image->index_digest && streq(digest, image->index_digest)))
            continue;
        char *name AUTOFREE = entry_name(entry);
        bool known = !name;
        for (size_t k = 0; name && image->names[k]; k++)
            known = known || streq(image->names[k], name);
        if (!known)
            strv_push(&image->names, name);
    }
    qsort(image->names, strv_len((const char *const *)image->names), sizeof(char *),
          compare_strings);
}

/* The entry that a reference means: by name, or by digest within its repository. */
static const json_t *find_by_reference(const json_t *entries, const struct reference *ref)
{
    char *want AUTOFREE = reference_name(ref);
    char *repository AUTOFREE = reference_repository(ref);
    const json_t *by_digest = NULL;
    size_t i;
    json_t *entry;
    json_array_foreach ((json_t *)entries, i, entry) {
        char *name AUTOFREE = entry_name(entry);
        if (!name)
            continue;
        if (streq(name, want))
            return entry;
        size_t n = strlen(repository);
        if (!ref->digest || strncmp(name, repository, n) != 0 || !strchr(":@", name[n]))
            continue;
        const json_t *annotations = json_object_get(entry, "annotations");
        if (streq(jstr(entry, "digest", ""), ref->digest) ||
            streq(jstr(annotations, ANNOTATION_INDEX, ""), ref->digest))
            by_digest = entry;
    }
    return by_digest;
}

/* Looks through the config digests; *found stays NULL where none begins with the prefix. */
static int find_by_id(struct image_store *store, const json_t *entries, const char *prefix,
                      const struct image_platform *platform, struct image **found, struct err *err)
{
    const char *hex = starts_with(prefix, "sha256:") ? prefix + 7 : prefix;
    size_t i;
    json_t *entry;
    *found = NULL;
    json_array_foreach ((json_t *)entries, i, entry) {
        struct image *image;
        if (entry_image(store, entry, platform, &image, NULL) < 0)
            continue; /* a damaged image hides no other one */
        bool match = starts_with(image->id + 7, hex) ||
                     (strlen(hex) == 64 && streq(image->digest + 7, hex));
        if (!match || (*found && streq((*found)->id, image->id))) {
            image_free(image);
            continue;
        }
        if (*found) {
            image_free(image);
            image_free(*found);
            *found = NULL;
            return err_set(err, ERR_CONFLICT, "%s is the beginning of several image IDs", prefix);
        }
        *found = image;
    }
    return 0;
}

int image_find(struct image_store *store, const char *name, const char *platform_text,
               struct image **out, struct err *err)
{
    struct image_platform platform, *want = NULL;
    if (platform_text && *platform_text) {
        if (image_platform_parse(platform_text, &platform, err) < 0)
            return -1;
        want = &platform;
    }
    json_t *index AUTOJSON = NULL;
    if (layout_index(store, &index, err) < 0)
        return -1;
    const json_t *entries = json_object_get(index, "manifests");
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    struct err parse_error AUTOERR = ERR_INIT;
    bool is_name = reference_parse(name, &ref, &parse_error) == 0;
    const json_t *entry = is_name ? find_by_reference(entries, &ref) : NULL;
    struct image *image = NULL;
    if (entry) {
        if (entry_image(store, entry, want, &image, err) < 0)
            return err_wrap(err, "image %s", name);
    } else if (reference_is_id(name)) {
        if (find_by_id(store, entries, name, want, &image, err) < 0)
            return -1;
    } else if (!is_name) {
        err_move(err, &parse_error);
        return -1;
    }
    if (!image)
        return err_set(err, ERR_NOT_FOUND, "No such image: %s", name);
    collect_names(entries, image);
    *out = image;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct image *x = *(struct image *const *)a, *y = *(struct image *const *)b;
    if (x->created != y->created)
        return x->created < y->created ? 1 : -1;
    return strcmp(x->id, y->id);
}

static struct image *list_by_id(const struct image_list *list, const char *id)
{
    for (size_t i = 0; i < list->n; i++)
        if (streq(list->v[i]->id, id))
            return list->v[i];
    return NULL;
}

int image_store_list(struct image_store *store, struct image_list *list, struct err *err)
{
    *list = (struct image_list){0};
    json_t *index AUTOJSON = NULL;
    if (layout_index(store, &index, err) < 0)
        return -1;
    json_t *entries = json_object_get(index, "manifests"), *entry;
    list->v = xcalloc(json_array_size(entries), sizeof(*list->v));
    size_t i;
    json_array_foreach (entries, i, entry) {
        struct image *image;
        if (entry_image(store, entry, NULL, &image, NULL) < 0)
            continue;
        struct image *known = list_by_id(list, image->id);
        collect_names(entries, known ? known : image);
        if (known) {
            /* The same config under another manifest: its names count too. */
            if (!streq(known->digest, image->digest)) {
                collect_names(entries, image);
                for (size_t k = 0; image->names[k]; k++)
                    strv_push(&known->names, image->names[k]);
            }
            image_free(image);
        } else {
            list->v[list->n++] = image;
        }
    }
    qsort(list->v, list->n, sizeof(struct image *), newest_first);
    return 0;
}

void image_list_release(struct image_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        image_free(list->v[i]);
    free(list->v);
    *list = (struct image_list){0};
}

int image_config_json(struct image_store *store, const struct image *image, json_t **config,
                      struct err *err)
{
    return layout_read_json(store, image->id, CONFIG_MAX, config, err);
}

int image_manifest_json(struct image_store *store, const struct image *image, json_t **manifest,
                        struct err *err)
{
    return layout_read_json(store, image->digest, MANIFEST_MAX, manifest, err);
}

/* Takes the name from entry i; false where the entry is then a second nameless one of its digest.
 */
static bool drop_name(json_t *entries, size_t i)
{
    json_t *entry = json_array_get(entries, i), *other;
    json_object_del(json_object_get(entry, "annotations"), ANNOTATION_NAME);
    size_t k;
    json_array_foreach (entries, k, other)
        if (k != i && streq(jstr(other, "digest", ""), jstr(entry, "digest", "")))
            return false;
    return true;
}

void index_set(json_t *index, const char *media_type, const char *digest, int64_t size,
               const char *name, const json_t *extra)
{
    json_t *entries = json_object_get(index, "manifests");
    for (size_t i = json_array_size(entries); i-- > 0;) {
        json_t *entry = json_array_get(entries, i);
        char *has AUTOFREE = entry_name(entry);
        bool same = streq(jstr(entry, "digest", ""), digest);
        if (name && has && streq(has, name) && !same) {
            if (!drop_name(entries, i))
                json_array_remove(entries, i);
        } else if (same && (!has || (name && streq(has, name)))) {
            json_array_remove(entries, i); /* replaced below */
        } else if (same && !name) {
            return; /* it is here under a name: that is enough */
        }
    }
    json_t *annotations = extra ? json_copy((json_t *)extra) : json_object();
    jset_str(annotations, ANNOTATION_NAME, name);
    json_t *entry = json_pack("{s:s,s:s,s:I}", "mediaType", media_type, "digest", digest, "size",
                              (json_int_t)size);
    if (json_object_size(annotations))
        json_object_set(entry, "annotations", annotations);
    json_decref(annotations);
    json_array_append_new(entries, entry);
}

/* The index entry that an image was read from. */
static const json_t *entry_of(const json_t *entries, const struct image *image)
{
    size_t i;
    json_t *entry;
    json_array_foreach ((json_t *)entries, i, entry) {
        const char *digest = jstr(entry, "digest", "");
        if (streq(digest, image->digest) ||
            (image->index_digest && streq(digest, image->index_digest)))
            return entry;
    }
    return NULL;
}

int image_tag(struct image_store *store, const char *source, const char *target, struct err *err)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (reference_parse(target, &ref, err) < 0)
        return -1;
    if (ref.digest)
        return err_set(err, ERR_INVALID, "cannot tag %s: a name with a digest cannot be given",
                       target);
    int lock AUTOCLOSE = -1;
    struct image *image;
    if (layout_lock(store, false, &lock, err) < 0 ||
        image_find(store, source, NULL, &image, err) < 0)
        return -1;
    json_t *shared AUTOJSON = NULL;
    int rc = layout_index(store, &shared, err);
    json_t *index AUTOJSON = rc == 0 ? json_deep_copy(shared) : NULL;
    const json_t *entry = entry_of(json_object_get(index, "manifests"), image);
    image_free(image);
    if (!entry)
        return rc < 0 ? -1 : err_set(err, ERR_NOT_FOUND, "No such image: %s", source);
    char *name AUTOFREE = reference_name(&ref);
    json_t *extra AUTOJSON = json_deep_copy(json_object_get(entry, "annotations"));
    if (!extra)
        extra = json_object();
    char *type AUTOFREE = xstrdup(jstr(entry, "mediaType", MEDIA_OCI_MANIFEST));
    char *digest AUTOFREE = xstrdup(jstr(entry, "digest", ""));
    index_set(index, type, digest, jint(entry, "size", 0), name, extra);
    return layout_index_write(store, index, err);
}
