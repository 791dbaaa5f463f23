#include "image/image.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "image/decode.h"

static void config_release(struct image_config *c)
{
    free(c->user);
    strv_free(c->env);
    strv_free(c->entrypoint);
    strv_free(c->cmd);
    free(c->working_dir);
    strv_free(c->volumes);
    strv_free(c->exposed_ports);
    for (size_t i = 0; i < c->labels_n; i++) {
        free(c->labels[i].key);
        free(c->labels[i].value);
    }
    free(c->labels);
    free(c->stop_signal);
    strv_free(c->healthcheck.test);
    strv_free(c->shell);
    strv_free(c->on_build);
}

void image_free(struct image *image)
{
    if (!image)
        return;
    free(image->id);
    free(image->digest);
    free(image->index_digest);
    strv_free(image->names);
    free(image->os);
    free(image->architecture);
    free(image->variant);
    free(image->author);
    config_release(&image->config);
    for (size_t i = 0; i < image->layers_n; i++) {
        free(image->layers[i].digest);
        free(image->layers[i].media_type);
        free(image->layers[i].diff_id);
        free(image->layers[i].dir);
    }
    free(image->layers);
    strv_free(image->layer_dirs);
    for (size_t i = 0; i < image->history_n; i++) {
        free(image->history[i].created_by);
        free(image->history[i].comment);
        free(image->history[i].author);
    }
    free(image->history);
    free(image);
}

const char *image_label(const struct image *image, const char *key)
{
    for (size_t i = 0; i < image->config.labels_n; i++)
        if (streq(image->config.labels[i].key, key))
            return image->config.labels[i].value;
    return NULL;
}

static char *dup_member(const json_t *o, const char *key)
{
    const char *s = jstr(o, key, NULL);
    return s ? xstrdup(s) : NULL;
}

int64_t image_time(const char *text)
{
    /* Reproducible builders write Go's zero time, the year 1, which does not fit. */
    int year = text ? atoi(text) : 0;
    int64_t ns;
    return year >= 1970 && year < 2262 && time_parse(text, &ns) ? ns : 0;
}

static int64_t time_member(const json_t *o, const char *key)
{
    return image_time(jstr(o, key, NULL));
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys of {"80/tcp": {}}, sorted; NULL where there are none. */
static char **keys_member(const json_t *o, const char *key)
{
    json_t *set = json_object_get(o, key), *value;
    size_t n = json_object_size(set), i = 0;
    if (!n)
        return NULL;
    char **keys = xcalloc(n + 1, sizeof(*keys));
    const char *k;
    json_object_foreach (set, k, value)
        keys[i++] = xstrdup(k);
    qsort(keys, n, sizeof(*keys), compare_strings);
    return keys;
}

/* Docker and old builders wrote a lone string where a list belongs. */
static char **list_member(const json_t *o, const char *key)
{
    json_t *j = json_object_get(o, key);
    char **v = NULL;
    if (json_is_string(j))
        strv_push(&v, json_string_value(j));
    else
        v = jarray_to_strv(j);
    return v;
}

static int compare_labels(const void *a, const void *b)
{
    return strcmp(((const struct image_label *)a)->key, ((const struct image_label *)b)->key);
}

static void decode_labels(struct image_config *c, const json_t *o)
{
    json_t *labels = json_object_get(o, "Labels"), *value;
    const char *key;
    c->labels = xcalloc(json_object_size(labels), sizeof(*c->labels));
    json_object_foreach (labels, key, value)
        if (json_is_string(value))
            c->labels[c->labels_n++] = (struct image_label){xstrdup(key),
                                                            xstrdup(json_string_value(value))};
    qsort(c->labels, c->labels_n, sizeof(*c->labels), compare_labels);
}

static void decode_runtime_config(struct image_config *c, const json_t *o)
{
    c->user = dup_member(o, "User");
    c->env = list_member(o, "Env");
    c->entrypoint = list_member(o, "Entrypoint");
    c->cmd = list_member(o, "Cmd");
    c->working_dir = dup_member(o, "WorkingDir");
    c->volumes = keys_member(o, "Volumes");
    c->exposed_ports = keys_member(o, "ExposedPorts");
    decode_labels(c, o);
    c->stop_signal = dup_member(o, "StopSignal");
    c->shell = list_member(o, "Shell");
    c->on_build = list_member(o, "OnBuild");
    const json_t *health = json_object_get(o, "Healthcheck");
    char **test = list_member(health, "Test");
    if (test && !test[0]) {
        strv_free(test);
        test = NULL;
    }
    c->healthcheck = (struct image_healthcheck){
        .test = test,
        .interval = jint(health, "Interval", 0),
        .timeout = jint(health, "Timeout", 0),
        .start_period = jint(health, "StartPeriod", 0),
        .start_interval = jint(health, "StartInterval", 0),
        .retries = jint(health, "Retries", 0),
    };
}

static void decode_history(struct image *image, const json_t *config)
{
    json_t *list = json_object_get(config, "history"), *item;
    size_t i;
    image->history = xcalloc(json_array_size(list), sizeof(*image->history));
    json_array_foreach (list, i, item)
        image->history[image->history_n++] = (struct image_history){
            .created = time_member(item, "created"),
            .created_by = dup_member(item, "created_by"),
            .comment = dup_member(item, "comment"),
            .author = dup_member(item, "author"),
            .empty_layer = jbool(item, "empty_layer", false),
        };
}

static int decode_layers(struct image *image, const json_t *manifest, const json_t *config,
                         struct err *err)
{
    json_t *layers = json_object_get(manifest, "layers"), *layer;
    json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    size_t n = json_array_size(layers), i;
    if (n != json_array_size(ids))
        return err_set(err, ERR_CORRUPT, "the manifest has %zu layers, the config %zu diff IDs", n,
                       json_array_size(ids));
    if (n > IMAGE_LAYERS_MAX)
        return err_set(err, ERR_CORRUPT, "%zu layers, at most %d are possible", n,
                       IMAGE_LAYERS_MAX);
    image->layers = xcalloc(n, sizeof(*image->layers));
    json_array_foreach (layers, i, layer) {
        const char *digest = jstr(layer, "digest", "");
        const char *diff_id = json_string_value(json_array_get(ids, i));
        json_int_t size = jint(layer, "size", -1);
        if (!digest_valid(digest) || !diff_id || !digest_valid(diff_id) || size < 0)
            return err_set(err, ERR_CORRUPT, "layer %zu has no valid digest, diff ID or size",
                           i + 1);
        image->layers[image->layers_n++] = (struct image_layer){
            .digest = xstrdup(digest),
            .media_type = xstrdup(jstr(layer, "mediaType", "")),
            .size = size,
            .diff_id = xstrdup(diff_id),
        };
    }
    return 0;
}

int image_decode(const json_t *manifest, const json_t *config, struct image **out, struct err *err)
{
    struct image *image = xcalloc(1, sizeof(*image));
    const char *id = jstr(json_object_get(manifest, "config"), "digest", "");
    if (!digest_valid(id)) {
        image_free(image);
        return err_set(err, ERR_CORRUPT, "the manifest has no valid config digest");
    }
    if (decode_layers(image, manifest, config, err) < 0) {
        image_free(image);
        return -1;
    }
    image->id = xstrdup(id);
    image->names = xcalloc(1, sizeof(*image->names));
    image->created = time_member(config, "created");
    image->os = xstrdup(jstr(config, "os", "linux"));
    image->architecture = xstrdup(jstr(config, "architecture", ""));
    image->variant = dup_member(config, "variant");
    image->author = dup_member(config, "author");
    decode_runtime_config(&image->config, json_object_get(config, "config"));
    decode_history(image, config);
    *out = image;
    return 0;
}
