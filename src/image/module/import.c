#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"
#include "image/module/calls.h"
#include "image/module/changes.h"
#include "image/module/layer.h"
#include "image/module/publish.h"

struct import {
    const struct import_request *request;
    struct image_platform platform;
    unsigned char first[COMPRESSION_PEEK]; /* read ahead: it tells the compression */
    size_t first_n;
};

static int peek(struct import *im, struct err *err)
{
    while (im->first_n < sizeof(im->first)) {
        ssize_t n = read(im->request->fd, im->first + im->first_n, sizeof(im->first) - im->first_n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read");
        if (n == 0)
            break;
        im->first_n += (size_t)n;
    }
    return im->first_n ? 0 : err_set(err, ERR_INVALID, "it is empty");
}

static int source(void *ctx, struct layer_sink *sink, struct err *err)
{
    struct import *im = ctx;
    if (layer_sink_write(sink, im->first, im->first_n) < 0)
        return -1;
    struct layer_file file = {im->request->fd, im->request->source};
    return layer_source_file(&file, sink, err);
}

static void on_progress(void *ctx, int64_t received)
{
    struct import *im = ctx;
    struct image_progress p = {
        .image = im->request->source, .phase = IMAGE_UNPACKING, .current = received};
    if (im->request->progress)
        im->request->progress(im->request->ctx, &p);
}

static int make_config(const struct import *im, const char *diff_id, char **text, struct err *err)
{
    const struct import_request *q = im->request;
    char now[40];
    time_format(time_now(), now);
    json_t *config = json_object();
    json_t *image AUTOJSON = json_pack("{s:s,s:s,s:s,s:o,s:{s:s,s:[s]},s:[{s:s}]}", "created", now,
                                       "architecture", im->platform.architecture, "os",
                                       im->platform.os, "config", config, "rootfs", "type",
                                       "layers", "diff_ids", diff_id, "history", "created", now);
    if (im->platform.variant[0])
        jset_str(image, "variant", im->platform.variant);
    char *comment AUTOFREE = q->message ? xstrdup(q->message)
                                        : xasprintf("Imported from %s", q->source);
    jset_str(json_array_get(json_object_get(image, "history"), 0), "comment", comment);
    if (changes_apply(config, q->changes, err) < 0)
        return -1;
    *text = json_dumps(image, JSON_COMPACT);
    return *text ? 0 : err_set(err, ERR_INVALID, "the config is not representable as JSON");
}

static int run(struct work *work, struct import *im, const char *const *names, char id[72],
               struct err *err)
{
    struct stop stop = {im->request->cancel, NULL};
    enum compression kind = compression_detect(im->first, im->first_n);
    struct layer_spec spec = {
        .size = -1,
        .want_blob = true,
        .plain_blob = kind == COMPRESSION_OTHER,
        .want_tree = true,
        .stop = &stop,
        .progress = on_progress,
        .progress_ctx = im,
    };
    struct layer_result r;
    if (layer_receive(work, &spec, source, im, &r, err) < 0)
        return -1;
    char *config AUTOFREE = NULL;
    const char *pins[] = {r.digest, r.diff_id, NULL};
    const char *no_layers[] = {NULL};
    char *scratch AUTOFREE = work_path(work, "below");
    int rc = work_pin(work, pins, err);
    if (rc == 0 && r.unpacked.fixups.n) /* there is nothing below: links into it are broken */
        rc = unpack_fixups(r.tree, &r.unpacked, no_layers, scratch, err);
    if (rc == 0)
        rc = layer_commit_blob(work->store, &r, err);
    if (rc == 0)
        rc = layer_commit_tree(work->store, &r, r.diff_id, err);
    if (rc == 0)
        rc = make_config(im, r.diff_id, &config, err);
    struct layer_descriptor layer = {r.digest, layer_media_type(r.compression), r.size};
    if (rc == 0)
        rc = publish_image(work, config, &layer, 1, names, id, err);
    layer_result_release(&r);
    return rc;
}

int call_import(struct image_store *store, const struct import_request *q, char **id_out,
                struct err *err)
{
    struct import im = {.request = q};
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    char *name AUTOFREE = NULL;
    if (q->reference) {
        if (reference_parse(q->reference, &ref, err) < 0)
            return -1;
        name = reference_name(&ref);
    }
    const char *names[] = {name, NULL};
    char id[72];
    struct work work = WORK_INIT;
    json_t *probe AUTOJSON = json_object();
    /* A wrong instruction is told before gigabytes are read. */
    int rc = changes_apply(probe, q->changes, err);
    if (rc == 0)
        rc = image_platform_parse(q->platform, &im.platform, err);
    if (rc == 0)
        rc = peek(&im, err);
    if (rc == 0)
        rc = work_begin(store, &work, err);
    if (rc == 0)
        rc = run(&work, &im, names, id, err);
    bool worked = work.dir != NULL;
    work_end(&work);
    if (rc < 0) {
        if (worked)
            layout_sweep(store, NULL);
        return err_wrap(err, "import %s", q->source);
    }
    if (id_out)
        *id_out = xstrdup(id);
    return 0;
}
