#include "file/merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "file/fields.h"
#include "file/history.h"
#include "file/origin.h"
#include "file/volume_spec.h"

/* What the table says of two values that meet. */
struct rule {
    enum field_merge merge;
    const struct object *object; /* of their members, NULL: unknown keys */
    bool named;                  /* the members are names, and object is theirs */
};

static struct rule rule_of(const struct field *f)
{
    if (!f)
        return (struct rule){.object = NULL};
    return (struct rule){
        .merge = (enum field_merge)f->merge,
        .object = f->object,
        .named = f->type == TYPE_OBJECT_MAP,
    };
}

static struct node *merge_values(const struct pass *p, struct node *base, struct node *over,
                                 struct rule rule, const struct place *at);

static struct node *merge_mappings(const struct pass *p, struct node *base, struct node *over,
                                   struct rule rule, const struct place *at)
{
    for (size_t i = 0; i < over->count; i++) {
        struct node_pair *o = &over->pairs[i];
        struct node_pair *b = node_pair(base, o->key);
        if (!b) {
            node_set(p->arena, base, o->key, o->key_mark, o->value);
            continue;
        }
        struct place here = {.up = at, .key = o->key};
        struct rule below = rule.named    ? (struct rule){.object = rule.object}
                            : rule.object ? rule_of(field_of(rule.object, o))
                                          : (struct rule){.object = NULL};
        struct node *merged = merge_values(p, b->value, o->value, below, &here);
        if (merged == o->value)
            b->key_mark = o->key_mark;
        b->value = merged;
    }
    if (over->faulty)
        base->faulty = true;
    return base;
}

static struct node *mismatch(const struct pass *p, struct node *base, struct node *over,
                             const struct place *at)
{
    pass_error(p, at, &over->mark, "%s: a %s cannot override a %s", place_inner_path(p->arena, at),
               node_kind_name(over), node_kind_name(base));
    if (base->mark.file)
        diag_note(p->diag, &base->mark, "the %s is here", node_kind_name(base));
    base->faulty = true;
    return base;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp((*(struct node *const *)a)->string, (*(struct node *const *)b)->string);
}

static void append_pair(struct arena *a, struct node *seq, const char *key,
                        const struct node *value)
{
    const char *text = value->kind == NODE_NULL ? NULL : node_text(a, value);
    const char *s = text ? arena_printf(a, "%s=%s", key, text) : key;
    node_append(a, seq, node_new_string(a, s, value->mark));
}

/* A mapping as a sorted sequence of "key=value", a string as a sequence of one. */
static struct node *merge_to_sequence(struct arena *a, struct node *n)
{
    if (n->kind == NODE_SEQUENCE)
        return n;
    struct node *seq = node_new(a, NODE_SEQUENCE, n->mark);
    seq->faulty = n->faulty;
    if (n->kind == NODE_STRING)
        node_append(a, seq, n);
    if (n->kind != NODE_MAPPING)
        return seq;
    for (size_t i = 0; i < n->count; i++) {
        struct node *value = n->pairs[i].value;
        if (value->kind == NODE_SEQUENCE)
            for (size_t j = 0; j < value->count; j++)
                append_pair(a, seq, n->pairs[i].key, value->items[j]);
        else
            append_pair(a, seq, n->pairs[i].key, value);
    }
    if (seq->count)
        qsort(seq->items, seq->count, sizeof(*seq->items), compare_texts);
    return seq;
}

static struct node *merge_sequences(const struct pass *p, struct node *base, struct node *over,
                                    bool distinct)
{
    base = merge_to_sequence(p->arena, base);
    over = merge_to_sequence(p->arena, over);
    size_t before = base->count;
    for (size_t i = 0; i < over->count; i++) {
        bool seen = false;
        for (size_t j = 0; distinct && j < before && !seen; j++)
            seen = node_equal(base->items[j], over->items[i]);
        if (!seen)
            node_append(p->arena, base, over->items[i]);
    }
    base->faulty |= over->faulty;
    return base;
}

/* A list of names as a mapping; started: each with the default condition of a dependency. */
static struct node *names_to_mapping(struct arena *a, struct node *n, bool started)
{
    if (n->kind != NODE_SEQUENCE)
        return n;
    struct node *map = node_new(a, NODE_MAPPING, n->mark);
    for (size_t i = 0; i < n->count; i++) {
        const struct node *item = n->items[i];
        if (item->kind != NODE_STRING)
            return n;
        struct node *value = node_new(a, started ? NODE_MAPPING : NODE_NULL, item->mark);
        if (started) {
            node_put(a, value, "condition", node_new_string(a, "service_started", item->mark));
            node_put(a, value, "required", node_new_bool(a, true, item->mark));
        }
        node_put(a, map, item->string, value);
    }
    return map;
}

static struct node *build_to_mapping(struct arena *a, struct node *n)
{
    if (n->kind != NODE_STRING)
        return n;
    struct node *map = node_new(a, NODE_MAPPING, n->mark);
    node_put(a, map, "context", n);
    return map;
}

static struct node *merge_logging(const struct pass *p, struct node *base, struct node *over,
                                  struct rule rule, const struct place *at)
{
    const char *before = node_get_str(base, "driver"), *after = node_get_str(over, "driver");
    if (!before || !after || streq(before, after))
        return merge_mappings(p, base, over, rule, at);
    return over;
}

static bool same_subnet(const struct node *a, const struct node *b)
{
    const char *x = node_get_str(a, "subnet"), *y = node_get_str(b, "subnet");
    return x && y ? streq(x, y) : !x && !y;
}

static size_t find_pool(const struct node *pools, const struct node *pool)
{
    size_t i = 0;
    while (i < pools->count && !same_subnet(pools->items[i], pool))
        i++;
    return i;
}

/* Pools of the same subnet are merged. Exactly as in the reference, also where that surprises: a
 * pool of the base is lost where the overriding file has pools but not that one, and with several
 * pools in the base one that was added already is merged once more. */
static struct node *merge_pools(const struct pass *p, struct node *base, struct node *over,
                                const struct place *at)
{
    if (base->kind != NODE_SEQUENCE || over->kind != NODE_SEQUENCE)
        return mismatch(p, base, over, at);
    struct node *pools = node_new(p->arena, NODE_SEQUENCE, over->mark);
    for (size_t i = 0; i < base->count; i++) {
        struct node *b = base->items[i];
        for (size_t j = 0; j < over->count; j++) {
            struct node *o = over->items[j];
            if (b->kind != NODE_MAPPING || o->kind != NODE_MAPPING)
                return mismatch(p, base, over, at);
            if (!same_subnet(b, o) && find_pool(pools, o) == pools->count) {
                node_append(p->arena, pools, o);
                continue;
            }
            merge_mappings(p, b, o, (struct rule){0}, at);
            size_t same = find_pool(pools, b);
            if (same < pools->count)
                pools->items[same] = b;
            else
                node_append(p->arena, pools, b);
        }
    }
    return pools;
}

/* Each limit as a whole. */
static struct node *merge_ulimits(const struct pass *p, struct node *base, struct node *over)
{
    for (size_t i = 0; i < over->count; i++) {
        const struct node_pair *o = &over->pairs[i];
        node_set(p->arena, base, o->key, o->key_mark, o->value);
    }
    return base;
}

static struct node *merge_both_mappings(const struct pass *p, struct node *base, struct node *over,
                                        struct rule rule, const struct place *at)
{
    if (base->kind == NODE_NULL)
        return over;
    if (over->kind == NODE_NULL)
        return base;
    if (base->kind != NODE_MAPPING || over->kind != NODE_MAPPING)
        return mismatch(p, base, over, at);
    if (rule.merge == MERGE_LOGGING)
        return merge_logging(p, base, over, rule, at);
    if (rule.merge == MERGE_ULIMITS)
        return merge_ulimits(p, base, over);
    return merge_mappings(p, base, over, rule, at);
}

static struct node *merge_plain(const struct pass *p, struct node *base, struct node *over,
                                struct rule rule, const struct place *at)
{
    if (over->kind == NODE_NULL)
        return base;
    if (base->kind == NODE_MAPPING) {
        if (over->kind != NODE_MAPPING)
            return mismatch(p, base, over, at);
        return merge_mappings(p, base, over, rule, at);
    }
    if (base->kind == NODE_SEQUENCE) {
        if (over->kind != NODE_SEQUENCE)
            return mismatch(p, base, over, at);
        for (size_t i = 0; i < over->count; i++)
            node_append(p->arena, base, over->items[i]);
        base->faulty |= over->faulty;
        return base;
    }
    return over;
}

static struct node *merge_values(const struct pass *p, struct node *base, struct node *over,
                                 struct rule rule, const struct place *at)
{
    struct arena *a = p->arena;
    switch (rule.merge) {
    case MERGE_PLAIN:
        return merge_plain(p, base, over, rule, at);
    case MERGE_REPLACE:
        return over;
    case MERGE_SEQUENCE:
    case MERGE_HOSTS:
        return merge_sequences(p, base, over, rule.merge == MERGE_HOSTS);
    case MERGE_BUILD:
        return merge_both_mappings(p, build_to_mapping(a, base), build_to_mapping(a, over), rule,
                                   at);
    case MERGE_DEPENDS_ON:
        return merge_both_mappings(p, names_to_mapping(a, base, true),
                                   names_to_mapping(a, over, true), rule, at);
    case MERGE_NAMES:
        return merge_both_mappings(p, names_to_mapping(a, base, false),
                                   names_to_mapping(a, over, false), rule, at);
    case MERGE_LOGGING:
    case MERGE_ULIMITS:
        return merge_both_mappings(p, base, over, rule, at);
    case MERGE_IPAM_CONFIG:
        return merge_pools(p, base, over, at);
    }
    return over;
}

struct node *merge_documents(const struct pass *p, struct node *base, struct node *over)
{
    return merge_mappings(p, base, over, (struct rule){.object = &root_object}, NULL);
}

struct node *merge_services(const struct pass *p, const char *name, struct node *base,
                            struct node *over)
{
    struct place services = {.key = "services"}, at = {.up = &services, .key = name};
    return merge_mappings(p, base, over, (struct rule){.object = &service_object}, &at);
}

static bool put_text(struct strbuf *out, const char *s)
{
    if (s)
        strbuf_addstr(out, s);
    return s;
}

/* A number and the same number in quotes differ, as in the reference. */
static void put_port_number(const struct pass *p, struct strbuf *out, const struct node *n)
{
    const char *text = n ? node_text(p->arena, n) : NULL;
    strbuf_addf(out, ":%d%s", n ? (int)n->kind : -1, text ? text : "");
}

static bool put_port(const struct pass *p, struct strbuf *out, const struct node *n)
{
    if (n->kind == NODE_INT)
        return put_text(out, node_text(p->arena, n));
    const char *host = node_get_str(n, "host_ip"), *protocol = node_get_str(n, "protocol");
    if (!node_get(n, "target"))
        return false;
    strbuf_addstr(out, host ? host : "0.0.0.0");
    put_port_number(p, out, node_get(n, "published"));
    put_port_number(p, out, node_get(n, "target"));
    strbuf_addf(out, "/%s", protocol ? protocol : "tcp");
    return true;
}

/* Writes what makes an element itself; false where it has no such thing (the schema says why). */
static bool put_unique_key(const struct pass *p, enum field_unique rule, const struct node *n,
                           struct strbuf *out)
{
    const char *s = node_str(n), *target = node_get_str(n, "target");
    switch (rule) {
    case UNIQUE_NONE:
        return false;
    case UNIQUE_KEY:
        if (s)
            strbuf_add(out, s, strcspn(s, "="));
        return s;
    case UNIQUE_DEVICE:
        if (s && strchr(s, ':')) {
            s = strchr(s, ':') + 1;
            strbuf_add(out, s, strcspn(s, ":"));
            return true;
        }
        return put_text(out, s ? s : target);
    case UNIQUE_VOLUME:
        return put_text(out, s ? volume_spec_target(p->arena, s) : target);
    case UNIQUE_CONFIG:
    case UNIQUE_SECRET: {
        const char *source = s ? s : node_get_str(n, "source");
        if (target || !source)
            return put_text(out, target);
        strbuf_addf(out, "%s/%s", rule == UNIQUE_SECRET ? "/run/secrets" : "", source);
        return true;
    }
    case UNIQUE_EXPOSE:
        return n->kind == NODE_INT ? put_text(out, node_text(p->arena, n)) : put_text(out, s);
    case UNIQUE_PORT:
        return s ? put_text(out, s) : put_port(p, out, n);
    case UNIQUE_ENV_FILE:
        return put_text(out, s ? s : node_get_str(n, "path"));
    }
    return false;
}

static void make_unique(const struct pass *p, struct node *seq, enum field_unique rule)
{
    if (seq->count < 2)
        return;
    struct map seen AUTOMAP = MAP_INIT; /* key -> 1 + place in the result */
    struct strbuf key AUTOBUF = STRBUF_INIT;
    size_t kept = 0;
    for (size_t i = 0; i < seq->count; i++) {
        strbuf_setlen(&key, 0);
        bool keyed = put_unique_key(p, rule, seq->items[i], &key);
        size_t before = keyed ? (size_t)(uintptr_t)map_get(&seen, key.buf) : 0;
        if (before) {
            history_replaced(p->origins ? p->origins->history : NULL, &seq->items[i]->mark,
                             &seq->items[before - 1]->mark);
            seq->items[before - 1] = seq->items[i];
            continue;
        }
        seq->items[kept++] = seq->items[i];
        if (keyed)
            map_set(&seen, key.buf, (void *)(uintptr_t)kept);
    }
    seq->count = (uint32_t)kept;
}

static void unique_members(const struct pass *p, struct node *map, const struct object *object,
                           bool named)
{
    for (size_t i = 0; i < map->count; i++) {
        struct node_pair *pair = &map->pairs[i];
        const struct field *f = named ? NULL : field_of(object, pair);
        if (pair->value->kind == NODE_MAPPING && (named || (f && f->object)))
            unique_members(p, pair->value, named ? object : f->object,
                           f && f->type == TYPE_OBJECT_MAP);
        else if (pair->value->kind == NODE_SEQUENCE && f && f->unique != UNIQUE_NONE)
            make_unique(p, pair->value, (enum field_unique)f->unique);
    }
}

void merge_unique(const struct pass *p, struct node *root)
{
    unique_members(p, root, &root_object, false);
}

static void reset_path(struct node *n, const struct node_path *path, size_t depth)
{
    if (!node_is(n, NODE_MAPPING))
        return;
    if (depth + 1 == path->n)
        node_del(n, path->keys[depth]);
    else
        reset_path(node_get(n, path->keys[depth]), path, depth + 1);
}

void merge_reset(struct node *root, const struct node_path *paths, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (paths[i].n)
            reset_path(root, &paths[i], 0);
}
