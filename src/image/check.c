/* Looking after the store: what its images name is there, whole and unpacked. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/layout.h"
#include "image/store.h"

struct check {
    struct work *work;
    bool deep, mend;
    void (*report)(void *ctx, const char *line);
    void *ctx;
    size_t findings;
    struct map seen; /* blobs already looked at, value: &bad or &good */
};

static char good, bad;

__attribute__((format(printf, 3, 4))) static void found(struct check *c, const char *image,
                                                        const char *fmt, ...)
{
    struct strbuf line AUTOBUF = STRBUF_INIT;
    strbuf_addf(&line, "%s: ", image);
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(&line, fmt, ap);
    va_end(ap);
    c->findings++;
    if (c->report)
        c->report(c->ctx, line.buf);
}

static int hash_file(const char *path, char out[72])
{
    memcpy(out, "sha256:", 7);
    return SHA256File(path, out + 7) ? 0 : -1;
}

/* A damaged blob is taken away, so that whatever needs it fetches it again. */
static void discard(struct check *c, const char *path)
{
    if (!c->mend)
        return;
    char *grave AUTOFREE = work_path(c->work, "dead");
    if (rename(path, grave) < 0 && errno != ENOENT)
        found(c, path, "cannot be removed: %s", strerror(errno));
}

/* size -1: not known. */
static bool check_blob(struct check *c, const char *image, const char *what, const char *digest,
                       int64_t size)
{
    if (!digest_valid(digest)) {
        found(c, image, "%s: \"%.100s\" is not a digest", what, digest);
        return false;
    }
    void *known = map_get(&c->seen, digest);
    if (known)
        return known == &good;
    char *path AUTOFREE = layout_blob(c->work->store, digest);
    struct stat st;
    char actual[72];
    bool fine = false;
    if (stat(path, &st) < 0) {
        found(c, image, "%s %.19s is missing", what, digest);
    } else if (size >= 0 && st.st_size != size) {
        found(c, image, "%s %.19s has %lld bytes in the place of %lld", what, digest,
              (long long)st.st_size, (long long)size);
        discard(c, path);
    } else if (c->deep && (hash_file(path, actual) < 0 || !streq(actual, digest))) {
        found(c, image, "%s %.19s is damaged: its content has another digest", what, digest);
        discard(c, path);
    } else {
        fine = true;
    }
    map_set(&c->seen, digest, fine ? &good : &bad);
    return fine;
}

/* A layer folder is made whole and renamed; a tree without layer.json was not made by us. */
static void check_layer(struct check *c, const char *image, const struct image_layer *layer)
{
    if (!layer->dir) {
        found(c, image, "layer %.19s is not unpacked", layer->diff_id);
        return;
    }
    char *dir AUTOFREE = path_dir(layer->dir);
    char *description AUTOFREE = path_join(dir, "layer.json");
    if (fs_is_dir(layer->dir) && fs_exists(description))
        return;
    found(c, image, "the unpacked layer %.19s is not whole", layer->diff_id);
    discard(c, dir);
}

static void check_layers(struct check *c, const char *name, const struct image *image)
{
    for (size_t i = 0; i < image->layers_n; i++) {
        check_blob(c, name, "blob", image->layers[i].digest, image->layers[i].size);
        check_layer(c, name, &image->layers[i]);
    }
}

/* False: the image cannot be used any more. */
static bool check_entry(struct check *c, const json_t *entry)
{
    struct image_store *store = c->work->store;
    char *name AUTOFREE = entry_name(entry);
    const char *digest = jstr(entry, "digest", "");
    char *shown AUTOFREE = name ? reference_shorten(name) : xasprintf("%.19s", digest);
    if (!check_blob(c, shown, "manifest", digest, jint(entry, "size", -1)))
        return false;
    struct image *image;
    struct err why AUTOERR = ERR_INIT;
    if (entry_image(store, entry, NULL, &image, &why) < 0) {
        if (why.kind == ERR_NOT_FOUND)
            return true; /* an index of which nothing is here */
        found(c, shown, "%s", why.msg);
        return false;
    }
    bool usable = check_blob(c, shown, "config", image->id, -1);
    image_free(image);
    struct image_list all = {0};
    entry_list(store, entry, &all);
    for (size_t i = 0; i < all.n; i++) {
        check_blob(c, shown, "config", all.v[i]->id, -1);
        check_layers(c, shown, all.v[i]);
    }
    image_list_release(&all);
    return usable;
}

int image_check(struct image_store *store, bool deep, bool mend,
                void (*report)(void *ctx, const char *line), void *ctx, size_t *findings,
                struct err *err)
{
    struct work work AUTOWORK = WORK_INIT;
    int lock AUTOCLOSE = -1;
    json_t *shared AUTOJSON = NULL;
    if (work_begin(store, &work, err) < 0 || layout_lock(store, false, &lock, err) < 0 ||
        layout_index(store, &shared, err) < 0)
        return -1;
    struct check c = {&work, deep, mend, report, ctx, 0, MAP_INIT};
    json_t *index AUTOJSON = json_deep_copy(shared);
    json_t *entries = json_object_get(index, "manifests");
    size_t before = json_array_size(entries);
    for (size_t i = before; i-- > 0;)
        if (!check_entry(&c, json_array_get(entries, i)) && mend)
            json_array_remove(entries, i);
    map_release(&c.seen);
    *findings = c.findings;
    int rc = json_array_size(entries) < before ? layout_index_write(store, index, err) : 0;
    /* What a killed command left and no image needs. */
    return rc == 0 && mend ? layout_sweep_locked(&work, index, err) : rc;
}
