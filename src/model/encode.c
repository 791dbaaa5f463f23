#include "model/encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "file/fields.h"
#include "model/sink.h"

enum { PIECE = 16 << 10 }; /* bytes, for those who take pieces */

struct entry {
    const char *key;
    const struct field *field; /* NULL: an extension or a name */
    const struct node *value;
};

struct entries {
    struct entry *v;
    size_t n, cap;
};

static void put_any(struct sink *s, const struct node *n, bool extension);
static void put_object(struct sink *s, const struct node *n, const struct object *object,
                       unsigned hidden);

static int compare_bytes(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static int compare_yaml(const void *a, const void *b)
{
    return yaml_key_compare(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static void sort_entries(const struct sink *s, struct entry *v, size_t n)
{
    if (n > 1)
        qsort(v, n, sizeof(*v), s->json ? compare_bytes : compare_yaml);
}

static struct entries entries_of(const struct sink *s, const struct node *map)
{
    struct entries e = {0};
    for (size_t i = 0; i < map->count; i++)
        if (!streq(map->pairs[i].key, "x-#value")) /* see FIELD_INTERNAL */
            vec_push(&e, (struct entry){.key = map->pairs[i].key, .value = map->pairs[i].value});
    sort_entries(s, e.v, e.n);
    return e;
}

static void hand_over(struct sink *s, size_t at_least)
{
    if (!s->take || s->out->len < at_least)
        return;
    s->take(s->out->buf, s->out->len);
    strbuf_setlen(s->out, 0);
    s->taken = true;
}

static void put_text(struct sink *s, const char *text)
{
    struct node n = {.kind = NODE_STRING, .string = text};
    s->scalar(s, &n);
}

static void put_any_mapping(struct sink *s, const struct node *n, bool extension)
{
    struct entries e = entries_of(s, n);
    s->mapping(s, e.n);
    vec_foreach (&e, it) {
        hand_over(s, PIECE);
        s->key(s, it->key);
        put_any(s, it->value, extension);
    }
    if (e.n)
        s->end(s);
    vec_release(&e);
}

/* extension: inside of x-*, where the reference's JSON shows an empty list as null. */
static void put_any(struct sink *s, const struct node *n, bool extension)
{
    if (n->kind == NODE_MAPPING) {
        put_any_mapping(s, n, extension);
    } else if (n->kind == NODE_SEQUENCE && extension && s->json && !n->count) {
        s->scalar(s, &(struct node){.kind = NODE_NULL});
    } else if (n->kind == NODE_SEQUENCE) {
        s->sequence(s, n->count);
        for (size_t i = 0; i < n->count; i++) {
            s->item(s);
            put_any(s, n->items[i], extension);
        }
        if (n->count)
            s->end(s);
    } else {
        s->scalar(s, n);
    }
}

static void put_ulimit(struct sink *s, const struct node *n)
{
    static const char *const keys[] = {"soft", "hard"};
    if (n->kind == NODE_INT && n->integer) {
        s->scalar(s, n);
        return;
    }
    static const struct node zero = {.kind = NODE_INT};
    const struct node *values[ARRAY_SIZE(keys)];
    size_t shown = 0;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        values[i] = node_get(n, keys[i]);
        if (!values[i] || (s->json && !values[i]->integer))
            values[i] = s->json ? NULL : &zero;
        shown += values[i] != NULL;
    }
    s->mapping(s, shown);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (values[i]) {
            s->key(s, keys[i]);
            s->scalar(s, values[i]);
        }
    if (shown)
        s->end(s);
}

static void put_ssh(struct sink *s, const struct node *n)
{
    s->sequence(s, n->count);
    for (size_t i = 0; i < n->count; i++) {
        const char *path = node_str(n->pairs[i].value);
        char *text AUTOFREE = xasprintf("%s%s%s", n->pairs[i].key, path ? "=" : "",
                                        path ? path : "");
        s->item(s);
        put_text(s, text);
    }
    if (n->count)
        s->end(s);
}

/* Each member is an object or a limit of the field's kind. */
static void put_named(struct sink *s, const struct node *n, const struct field *f)
{
    struct entries e = entries_of(s, n);
    s->mapping(s, e.n);
    vec_foreach (&e, it) {
        hand_over(s, PIECE);
        s->key(s, it->key);
        if (f->type == TYPE_ULIMITS)
            put_ulimit(s, it->value);
        else if (it->value->kind == NODE_MAPPING)
            put_object(s, it->value, f->object, 0);
        else
            s->scalar(s, it->value);
    }
    if (e.n)
        s->end(s);
    vec_release(&e);
}

static void put_env_file(struct sink *s, const struct node *n, const struct object *object)
{
    if (node_get_bool(n, "required", true)) {
        put_text(s, node_get_str(n, "path"));
        return;
    }
    if (s->json) {
        put_object(s, n, object, 0);
        return;
    }
    s->mapping(s, 2);
    s->key(s, "path");
    put_text(s, node_get_str(n, "path"));
    s->key(s, "required");
    s->scalar(s, node_get(n, "required"));
    s->end(s);
}

static void put_object_list(struct sink *s, const struct node *n, const struct field *f)
{
    bool env_files = streq(f->name, "env_file");
    s->sequence(s, n->count);
    for (size_t i = 0; i < n->count; i++) {
        s->item(s);
        if (env_files)
            put_env_file(s, n->items[i], f->object);
        else
            put_object(s, n->items[i], f->object, 0);
    }
    if (n->count)
        s->end(s);
}

static void put_zero(struct sink *s, const struct field *f)
{
    struct node zero = {.kind = NODE_INT};
    if ((f->flags & FIELD_JSON_NULL) && s->json)
        zero.kind = NODE_NULL;
    else if (f->type == TYPE_BOOL)
        zero.kind = NODE_BOOL;
    else if (f->type == TYPE_STRING || f->type == TYPE_BYTES) {
        zero.kind = NODE_STRING;
        zero.string = f->type == TYPE_BYTES ? "0" : "";
    } else if (f->object) {
        zero.kind = NODE_MAPPING;
        if (f->type == TYPE_OBJECT) {
            put_object(s, &zero, f->object, 0);
            return;
        }
    }
    put_any(s, &zero, false);
}

static void put_field(struct sink *s, const struct node *n, const struct field *f)
{
    if (!n)
        put_zero(s, f);
    else if (f->type == TYPE_OBJECT && n->kind == NODE_MAPPING)
        put_object(s, n, f->object, 0);
    else if (f->type == TYPE_OBJECT_LIST && n->kind == NODE_SEQUENCE)
        put_object_list(s, n, f);
    else if ((f->type == TYPE_OBJECT_MAP || f->type == TYPE_ULIMITS) && n->kind == NODE_MAPPING)
        put_named(s, n, f);
    else if (f->type == TYPE_SSH && n->kind == NODE_MAPPING)
        put_ssh(s, n);
    else
        put_any(s, n, false);
}

/* Whether a field without a value is shown. */
static bool shows_absence(const struct sink *s, const struct field *f)
{
    return f->flags & (FIELD_ALWAYS | (s->json ? FIELD_JSON_NULL | FIELD_BY_VALUE : 0));
}

/* hidden: fields with one of these flags are left out. */
static void put_object(struct sink *s, const struct node *n, const struct object *object,
                       unsigned hidden)
{
    const struct node **values AUTOFREE = xcalloc(object->n, sizeof(struct node *));
    struct entries e = {0};
    bool root = object == &root_object;
    hidden |= FIELD_INTERNAL | (s->json ? FIELD_YAML_ONLY : 0);
    size_t extensions = 0;
    for (size_t i = 0; i < n->count; i++) {
        const struct field *f = field_of(object, &n->pairs[i]);
        if (f)
            values[f - object->fields] = n->pairs[i].value;
    }
    for (size_t i = 0; i < object->n; i++) {
        const struct field *f = &object->fields[i];
        if (!(f->flags & hidden) && (values[i] || shows_absence(s, f)))
            vec_push(&e, (struct entry){.key = f->name, .field = f, .value = values[i]});
    }
    size_t known = e.n;
    for (size_t i = 0; i < n->count && (!s->json || root); i++) {
        if (!starts_with(n->pairs[i].key, "x-") || field_of(object, &n->pairs[i]))
            continue;
        vec_push(&e, (struct entry){.key = n->pairs[i].key, .value = n->pairs[i].value});
        extensions++;
    }
    /* Go prints a struct in its order and a map, which JSON's top level is, by name. */
    if (s->json && root)
        sort_entries(s, e.v, e.n);
    else
        sort_entries(s, e.v ? e.v + known : NULL, extensions);
    s->mapping(s, e.n);
    vec_foreach (&e, it) {
        char name[64];
        if (it->field && (it->field->flags & FIELD_JSON_CAPITAL) && s->json) {
            strcpy(name, it->key);
            name[0] = (char)(name[0] - 'a' + 'A');
            s->key(s, name);
        } else {
            s->key(s, it->key);
        }
        if (it->field)
            put_field(s, it->value, it->field);
        else
            put_any(s, it->value, true);
    }
    if (e.n)
        s->end(s);
    vec_release(&e);
}

static void put_root(struct sink *s, const struct node *root)
{
    if (s->flags & ENCODE_UNTYPED)
        put_any(s, root, true);
    else
        put_object(s, root, &root_object, 0);
}

void encode_yaml(const struct node *root, unsigned flags, struct strbuf *out)
{
    struct yaml_sink *s AUTOFREE = xcalloc(1, sizeof(*s));
    yaml_sink_init(s, out, flags);
    put_root(&s->sink, root);
    strbuf_addch(out, '\n');
}

void encode_yaml_to(const struct node *root, unsigned flags, encode_take *take)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    struct yaml_sink *s AUTOFREE = xcalloc(1, sizeof(*s));
    yaml_sink_init(s, &out, flags);
    s->sink.take = take;
    put_root(&s->sink, root);
    strbuf_addch(&out, '\n');
    hand_over(&s->sink, 1);
}

int encode_json(const struct node *root, unsigned flags, struct strbuf *out, struct err *err)
{
    struct json_sink *s AUTOFREE = xcalloc(1, sizeof(*s));
    json_sink_init(s, out, flags);
    put_root(&s->sink, root);
    if (s->sink.failed)
        return err_set(err, ERR_INVALID, "JSON has no infinities and no not-a-number");
    return 0;
}

static bool has_infinity(const struct node *n)
{
    bool container = n->kind == NODE_SEQUENCE || n->kind == NODE_MAPPING;
    for (size_t i = 0; container && i < n->count; i++)
        if (has_infinity(n->kind == NODE_MAPPING ? n->pairs[i].value : n->items[i]))
            return true;
    return n->kind == NODE_FLOAT && !isfinite(node_number(n));
}

int encode_json_to(const struct node *root, unsigned flags, encode_take *take, struct err *err)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    /* It may be in what is not shown: only then the text is made to see. */
    if (has_infinity(root) && encode_json(root, flags, &out, err) < 0)
        return -1;
    strbuf_setlen(&out, 0);
    struct json_sink *s AUTOFREE = xcalloc(1, sizeof(*s));
    json_sink_init(s, &out, flags);
    s->sink.take = take;
    put_root(&s->sink, root);
    strbuf_addch(&out, '\n');
    hand_over(&s->sink, 1);
    return 0;
}

int encode_service(const struct node *service, struct strbuf *out, struct err *err)
{
    struct json_sink *s AUTOFREE = xcalloc(1, sizeof(*s));
    json_sink_init(s, out, ENCODE_COMPACT | ENCODE_KEEP_DOLLAR);
    put_object(&s->sink, service, &service_object, 0);
    if (s->sink.failed)
        return err_set(err, ERR_INVALID, "JSON has no infinities and no not-a-number");
    return 0;
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_keys(char ***lines, const struct node *map)
{
    for (size_t i = 0; node_is(map, NODE_MAPPING) && i < map->count; i++)
        strv_push(lines, map->pairs[i].key);
}

static void add_images(char ***lines, const struct document *doc)
{
    const struct node *services = node_get(doc->root, "services");
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        const char *image = node_get_str(services->pairs[i].value, "image");
        char *implied AUTOFREE = xasprintf("%s-%s", doc->name, services->pairs[i].key);
        strv_push(lines, image ? image : implied);
    }
}

static void add_profiles(char ***lines, const struct node *services)
{
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        const struct node *profiles = node_get(services->pairs[i].value, "profiles");
        for (size_t k = 0; node_is(profiles, NODE_SEQUENCE) && k < profiles->count; k++)
            strv_push(lines, profiles->items[k]->string);
    }
}

/* The models themselves, not the names that services know them by. */
static void add_models(char ***lines, const struct node *models)
{
    for (size_t i = 0; node_is(models, NODE_MAPPING) && i < models->count; i++) {
        const char *model = node_get_str(models->pairs[i].value, "model");
        if (model)
            strv_push(lines, model);
    }
}

void encode_list(const struct document *doc, enum config_list what, struct strbuf *out)
{
    static const char *const sections[] = {
        [LIST_SERVICES] = "services",
        [LIST_VOLUMES] = "volumes",
        [LIST_NETWORKS] = "networks",
    };
    char **lines AUTOSTRV = NULL;
    if (what == LIST_IMAGES) {
        add_images(&lines, doc);
    } else if (what == LIST_MODELS) {
        add_models(&lines, node_get(doc->root, "models"));
    } else if (what == LIST_PROFILES) {
        add_profiles(&lines, node_get(doc->root, "services"));
        add_profiles(&lines, doc->disabled);
    } else {
        add_keys(&lines, node_get(doc->root, sections[what]));
    }
    size_t n = lines ? strv_len((const char *const *)lines) : 0;
    if (n)
        qsort(lines, n, sizeof(*lines), compare_lines);
    for (size_t i = 0; i < n; i++)
        if (what != LIST_PROFILES || !i || !streq(lines[i], lines[i - 1]))
            strbuf_addf(out, "%s\n", lines[i]);
}
