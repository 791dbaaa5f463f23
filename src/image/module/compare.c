/* image_compare(): each layer is unpacked once more, and what it should be laid beside what it is. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/assemble.h"
#include "image/module/calls.h"
#include "image/module/settle.h"
#include "image/module/tree.h"

static char sound, unsound;

struct comparing {
    struct image_store *store;
    struct work *work;
    bool mend;
    void (*report)(void *ctx, const char *line);
    void *ctx;
    struct stop stop;
    struct map
        seen; /* folders of layers -> &sound, or &unsound: what is in it cannot be relied on */
    size_t findings;
};

/* The layer as its blob has it, in the work folder. */
static int unpack_again(struct comparing *c, const struct image *image, size_t layer,
                        struct layer_result *r, struct err *err)
{
    const struct image_layer *l = &image->layers[layer];
    struct layer_spec spec = {
        .digest = l->digest,
        .size = l->size,
        .diff_id = l->diff_id,
        .want_tree = true,
        .stop = &c->stop,
    };
    char *path AUTOFREE = layout_blob(c->store, l->digest);
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    struct layer_file file = {fd, path};
    if (layer_receive(c->work, &spec, layer_source_file, &file, r, err) < 0)
        return -1;
    if (!r->unpacked.fixups.n)
        return 0;
    char **below AUTOSTRV = xcalloc(1, sizeof(*below));
    for (size_t i = 0; i < layer; i++) {
        if (!image->layers[i].dir || map_get(&c->seen, image->layers[i].dir) == &unsound)
            return err_set(err, ERR_CORRUPT, "what it takes from below is not there");
        strv_push(&below, image->layers[i].dir);
    }
    layout_stack_unique(below);
    char *fs AUTOFREE = path_join(r->tree, "fs"), *scratch AUTOFREE = work_path(c->work, "below");
    if (mkdir(scratch, 0700) < 0)
        return err_sys(err, errno, "mkdir %s", scratch);
    return unpack_fixups(fs, &r->unpacked, (const char *const *)below, scratch, err);
}

static void tell(struct comparing *c, const char *name, const struct image_layer *l,
                 const struct tree_compare *t)
{
    const struct difference *first = &t->differences.v[0];
    struct strbuf line AUTOBUF = STRBUF_INIT;
    strbuf_addf(&line, "%s: the unpacked layer %.19s is damaged: /%s %s", name, l->diff_id,
                streq(first->path, ".") ? "" : first->path, first->what);
    if (t->differences.n > 1)
        strbuf_addf(&line, ", and %zu more", t->differences.n - 1);
    c->findings++;
    c->report(c->ctx, line.buf);
}

/* If the machine goes down before all of it is on the disk, the layer does not count. */
static int mend(struct comparing *c, const struct image_layer *l, struct tree_compare *t,
                struct err *err)
{
    char *dir AUTOFREE = path_dir(l->dir), *unsynced AUTOFREE = path_join(dir, "unsynced");
    if (fs_write_atomic(unsynced, c->store->boot, strlen(c->store->boot), 0600, true, err) < 0)
        return -1;
    return tree_mend(t, err);
}

static int compare(struct comparing *c, const char *name, const struct image_layer *l,
                   const struct layer_result *r, struct err *err)
{
    char *fs AUTOFREE = path_join(r->tree, "fs");
    int good AUTOCLOSE = open(fs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int other AUTOCLOSE = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (good < 0 || other < 0)
        return err_sys(err, errno, "open %s", l->dir);
    struct tree_compare t = {.good = good, .other = other, .stop = &c->stop};
    int rc = tree_compare(&t, err);
    if (rc == 0 && t.differences.n) {
        tell(c, name, l, &t);
        rc = c->mend ? mend(c, l, &t, err) : 0;
        if (rc < 0 || !c->mend)
            map_set(&c->seen, l->dir, &unsound);
    }
    tree_compare_release(&t);
    return rc;
}

/* Locked: nobody unpacks it meanwhile. Of one without a sound blob image_check() tells. */
static int compare_layer(struct comparing *c, const char *name, const struct image *image,
                         size_t layer, struct err *err)
{
    const struct image_layer *l = &image->layers[layer];
    if (!l->dir || map_get(&c->seen, l->dir) || !layout_has_blob(c->store, l->digest, l->size))
        return 0;
    int lock = -1;
    if (layout_lock_digest(c->store, l->diff_id, &c->stop, &lock, err) < 0)
        return -1;
    map_set(&c->seen, l->dir, &sound);
    struct layer_result r;
    struct err why AUTOERR = ERR_INIT;
    int rc = unpack_again(c, image, layer, &r, &why);
    if (rc == 0)
        rc = compare(c, name, l, &r, &why);
    layer_result_release(&r);
    layout_unlock_digest(c->store, l->diff_id, lock);
    if (rc == 0 || why.kind == ERR_CORRUPT)
        return 0;
    err_move(err, &why);
    return err_wrap(err, "image %s: layer %.19s", name, l->diff_id);
}

static int compare_entry(struct comparing *c, const json_t *entry, struct err *err)
{
    char *name AUTOFREE = entry_name(entry);
    char *shown AUTOFREE = name ? reference_shorten(name)
                                : xasprintf("%.19s", jstr(entry, "digest", ""));
    struct image_list images = {0};
    int rc = 0;
    entry_list(c->store, entry, &images);
    for (size_t i = 0; i < images.n && rc == 0; i++) {
        rc = assembly_pin(c->work, images.v[i], err);
        /* Bottom first: an upper one may need what lies below. */
        for (size_t k = 0; k < images.v[i]->layers_n && rc == 0; k++)
            rc = compare_layer(c, shown, images.v[i], k, err);
    }
    image_list_release(&images);
    return rc;
}

int call_compare(struct image_store *store, bool mend_it,
                 void (*report)(void *ctx, const char *line), void *ctx, size_t *findings,
                 image_cancel cancel, struct err *err)
{
    struct work work AUTOWORK = WORK_INIT;
    struct comparing c = {.store = store,
                          .work = &work,
                          .mend = mend_it,
                          .report = report,
                          .ctx = ctx,
                          .stop = {cancel, NULL}};
    json_t *index AUTOJSON = NULL, *entry;
    if (work_begin(store, &work, err) < 0 || layout_index(store, &index, err) < 0)
        return -1;
    int rc = 0;
    size_t i;
    json_array_foreach (json_object_get(index, "manifests"), i, entry)
        rc = rc == 0 ? compare_entry(&c, entry, err) : rc;
    map_release(&c.seen);
    if (rc == 0 && mend_it && c.findings)
        settle_layers(store);
    *findings = c.findings;
    return rc;
}
