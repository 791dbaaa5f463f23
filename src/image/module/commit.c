/* A container's changes as a new image. */
#include <stdio.h>

#include "base/mem.h"
#include "base/units.h"
#include "image/module/assemble.h"
#include "image/module/calls.h"
#include "image/module/changes.h"
#include "image/module/layer.h"
#include "image/module/publish.h"
#include "image/module/tarwrite.h"

struct commit {
    struct image_store *store;
    const struct commit_request *request;
    struct stop stop;
    struct work work;
    struct image *base;
    char *name;
};

static int to_sink(void *ctx, const void *data, size_t n)
{
    return layer_sink_write(ctx, data, n);
}

static int source(void *ctx, struct layer_sink *sink, struct err *err)
{
    struct commit *c = ctx;
    struct tar_output output = {to_sink, sink};
    return tar_write(c->request->upper, true, &c->stop, &output, err);
}

static json_t *member(json_t *o, const char *key, json_t *(*make)(void))
{
    if (!json_object_get(o, key))
        json_object_set_new(o, key, make());
    return json_object_get(o, key);
}

static int make_config(struct commit *c, const char *diff_id, char **text, struct err *err)
{
    const struct commit_request *q = c->request;
    json_t *old AUTOJSON = NULL;
    if (image_config_json(c->store, c->base, &old, err) < 0)
        return -1;
    json_t *config AUTOJSON = json_deep_copy(old);
    char now[40];
    jset_str(config, "created", time_format(time_now(), now));
    jset_str(config, "author", q->author);
    json_t *rootfs = member(config, "rootfs", json_object);
    json_array_append_new(member(rootfs, "diff_ids", json_array), json_string(diff_id));
    json_t *entry = json_pack("{s:s,s:s}", "created", now, "created_by", "compose commit");
    jset_str(entry, "comment", q->message);
    jset_str(entry, "author", q->author);
    json_array_append_new(member(config, "history", json_array), entry);
    if (changes_apply(member(config, "config", json_object), q->changes, err) < 0)
        return -1;
    *text = json_dumps(config, JSON_COMPACT);
    return *text ? 0 : err_set(err, ERR_INVALID, "the config is not representable as JSON");
}

static int publish(struct commit *c, const struct layer_result *r, char id[72], struct err *err)
{
    size_t n = c->base->layers_n;
    struct layer_descriptor *layers AUTOFREE = xcalloc(n + 1, sizeof(*layers));
    for (size_t i = 0; i < n; i++)
        layers[i] = (struct layer_descriptor){
            c->base->layers[i].digest, c->base->layers[i].media_type, c->base->layers[i].size};
    layers[n] = (struct layer_descriptor){r->digest, layer_media_type(r->compression), r->size};
    char *config AUTOFREE = NULL;
    const char *names[] = {c->name, NULL};
    if (make_config(c, r->diff_id, &config, err) < 0)
        return -1;
    return publish_image(&c->work, config, layers, n + 1, names, id, err);
}

static int run(struct commit *c, char id[72], struct err *err)
{
    if (image_find(c->store, c->request->base, NULL, &c->base, err) < 0 ||
        work_begin(c->store, &c->work, err) < 0 || assembly_pin(&c->work, c->base, err) < 0)
        return -1;
    struct layer_spec spec = {.size = -1, .want_blob = true, .want_tree = true, .stop = &c->stop};
    struct layer_result r;
    if (layer_receive(&c->work, &spec, source, c, &r, err) < 0)
        return -1;
    const char *pins[] = {r.digest, r.diff_id, NULL};
    int rc = work_pin(&c->work, pins, err);
    if (rc == 0)
        rc = layer_commit_blob(c->store, &r, err);
    if (rc == 0)
        rc = layer_commit_tree(c->store, &r, r.diff_id, err);
    if (rc == 0)
        rc = publish(c, &r, id, err);
    layer_result_release(&r);
    return rc;
}

int call_commit(struct image_store *store, const struct commit_request *q, char **id_out,
                struct err *err)
{
    struct commit c = {.store = store, .request = q, .stop = {q->cancel, NULL}, .work = WORK_INIT};
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    char id[72];
    if (q->reference) {
        if (reference_parse(q->reference, &ref, err) < 0)
            return -1;
        c.name = reference_name(&ref);
    }
    int rc = run(&c, id, err);
    bool worked = c.work.dir != NULL;
    work_end(&c.work);
    image_free(c.base);
    free(c.name);
    if (rc < 0) {
        if (worked)
            layout_sweep(store, NULL);
        return err_wrap(err, "commit");
    }
    if (id_out)
        *id_out = xstrdup(id);
    return 0;
}
