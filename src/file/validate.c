#include "file/validate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "file/scalar.h"

/* Validators return whether the node may stay where it is. */
static bool check(const struct pass *p, const struct schema *s, struct node *n,
                  const struct place *at);

static unsigned types_of(const struct node *n)
{
    switch (n->kind) {
    case NODE_NULL:
        return SCHEMA_NULL;
    case NODE_BOOL:
        return SCHEMA_BOOLEAN;
    case NODE_INT:
        return SCHEMA_INTEGER | SCHEMA_NUMBER;
    case NODE_FLOAT:
        return SCHEMA_NUMBER |
               (isfinite(node_number(n)) && node_number(n) == floor(node_number(n)) ? SCHEMA_INTEGER
                                                                                    : 0);
    case NODE_STRING:
        return n->tag == TAG_TIMESTAMP ? 0 : SCHEMA_STRING;
    case NODE_SEQUENCE:
        return SCHEMA_ARRAY;
    case NODE_MAPPING:
        return SCHEMA_OBJECT;
    }
    return 0;
}

static unsigned types_allowed(const struct schema *s)
{
    unsigned types = s->types;
    for (size_t i = 0; i < s->one_of_n; i++)
        types |= types_allowed(schema_follow(s->one_of[i]));
    return types;
}

static bool is_allowed(const struct schema *s, unsigned types)
{
    return (!s->types && !s->one_of_n) || (types_allowed(s) & types);
}

/* Of what s offers, that for a value such as n; s itself where there is none. */
static const struct schema *alternative_for(const struct schema *s, const struct node *n)
{
    s = schema_follow(s);
    for (size_t i = 0; i < s->one_of_n; i++) {
        const struct schema *alternative = schema_follow(s->one_of[i]);
        if (types_allowed(alternative) & types_of(n))
            return alternative_for(alternative, n);
    }
    return s;
}

/* "a string, a number or a mapping" */
static void put_types(struct strbuf *out, unsigned types)
{
    static const char *const names[] = {"null",     "a boolean", "an integer", "a number",
                                        "a string", "a list",    "a mapping"};
    if (types & SCHEMA_NUMBER)
        types &= ~(unsigned)SCHEMA_INTEGER;
    unsigned left = (unsigned)__builtin_popcount(types);
    for (unsigned i = ARRAY_SIZE(names); i-- > 0;) {
        if (!(types & 1u << i))
            continue;
        left--;
        strbuf_addf(out, "%s%s", names[i], left > 1 ? ", " : left == 1 ? " or " : "");
    }
}

static const char *article(const struct node *n)
{
    return n->kind == NODE_NULL ? "" : n->kind == NODE_INT ? "an " : "a ";
}

static const char *prefix(const struct pass *p, const struct place *at)
{
    const char *path = place_inner_path(p->arena, at);
    return *path ? arena_printf(p->arena, "%s: ", path) : "";
}

static bool wrong_type(const struct pass *p, const struct schema *s, const struct node *n,
                       const struct place *at)
{
    struct strbuf want AUTOBUF = STRBUF_INIT;
    unsigned types = types_allowed(s);
    put_types(&want, types);
    if (n->kind == NODE_STRING && n->tag == TAG_TIMESTAMP)
        pass_error(p, at, &n->mark, "%swant %s, not a date: put it in quotes", prefix(p, at),
                   want.buf);
    else if ((types & SCHEMA_STRING) && (types_of(n) & (SCHEMA_NUMBER | SCHEMA_BOOLEAN)))
        pass_error(p, at, &n->mark, "%swant %s, not %s%s: put it in quotes", prefix(p, at),
                   want.buf, article(n), node_kind_name(n));
    else
        pass_error(p, at, &n->mark, "%swant %s, not %s%s", prefix(p, at), want.buf, article(n),
                   n->kind == NODE_NULL ? "nothing" : node_kind_name(n));
    return false;
}

static void unknown_key(const struct pass *p, const struct schema *s, const struct node_pair *pair,
                        const struct place *at)
{
    struct closest near = {.word = pair->key};
    map_foreach (&s->properties, it)
        closest_try(&near, it->key);
    if (s->properties.live) {
        pass_error(p, at, &pair->key_mark, "%sunknown key \"%s\"", prefix(p, at), pair->key);
        diag_suggest(p->diag, near.best);
        return;
    }
    pass_error(p, at, &pair->key_mark,
               "%sinvalid name \"%s\": want letters, digits, \".\", \"_\" and \"-\"", prefix(p, at),
               pair->key);
}

static void check_members(const struct pass *p, const struct schema *s, struct node *n,
                          const struct place *at)
{
    for (size_t i = 0; i < n->count;) {
        struct node_pair *pair = &n->pairs[i];
        const struct schema *member = schema_property(s, pair->key);
        struct place here = {.up = at, .key = pair->key};
        bool keep = true;
        if (!member && s->closed) {
            unknown_key(p, s, pair, at);
            keep = false;
        } else if (member) {
            keep = check(p, member, pair->value, &here);
        }
        if (keep) {
            n->faulty |= pair->value->faulty;
            i++;
        } else {
            n->faulty = true;
            node_del_at(n, i);
        }
    }
}

static bool check_object(const struct pass *p, const struct schema *s, struct node *n,
                         const struct place *at)
{
    bool complete = true;
    for (const char **key = s->required; key && *key; key++) {
        if (node_pair(n, *key))
            continue;
        pass_error(p, at, &n->mark, "%smissing key \"%s\"", prefix(p, at), *key);
        complete = false;
    }
    check_members(p, s, n, at);
    return complete;
}

static bool number_of(const struct node *n, double *v)
{
    if (n->kind == NODE_INT)
        *v = (double)n->integer;
    else if (n->kind == NODE_FLOAT)
        *v = node_number(n);
    else if (n->kind != NODE_STRING || !scalar_parse_float(n->string, v))
        return false;
    return true;
}

/* As the reference compares an element to one before it: a number is also equal to a string that
 * says it, but not the other way round. */
static bool equal_values(const struct node *a, const struct node *b)
{
    double x, y;
    bool both = a->kind == b->kind;
    if (both && a->kind == NODE_MAPPING) {
        bool equal = a->count == b->count;
        for (size_t i = 0; equal && i < a->count; i++) {
            const struct node *other = node_get(b, a->pairs[i].key);
            equal = other && equal_values(a->pairs[i].value, other);
        }
        return equal;
    }
    if (both && a->kind == NODE_SEQUENCE) {
        bool equal = a->count == b->count;
        for (size_t i = 0; equal && i < a->count; i++)
            equal = equal_values(a->items[i], b->items[i]);
        return equal;
    }
    if (!both && a->kind != NODE_STRING && number_of(a, &x) && number_of(b, &y))
        return x == y;
    return node_equal(a, b);
}

static void report_twice(const struct pass *p, const struct node *item, const struct node *same,
                         const struct place *at)
{
    const char *text = node_text(p->arena, item);
    const char *path = prefix(p, at);
    if (text && item->kind == NODE_STRING)
        pass_error(p, at, &item->mark, "%s\"%s\" is listed twice", path, text);
    else
        pass_error(p, at, &item->mark, "%s%s is listed twice", path, text ? text : "the same");
    diag_note(p->diag, &same->mark, "first listed here");
}

static uint64_t hash_text(const char *s)
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

/* The same for values that are equal. */
static uint64_t hash_value(const struct node *n)
{
    double v;
    char text[32];
    uint64_t h = n->kind;
    if (number_of(n, &v)) {
        snprintf(text, sizeof(text), "%.17g", v + 0.0); /* -0 is 0 */
        return hash_text(text);
    }
    if (n->kind == NODE_STRING)
        return hash_text(n->string);
    for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++) /* in any order */
        h += (hash_text(n->pairs[i].key) | 1) * hash_value(n->pairs[i].value);
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++)
        h = h * 1099511628211u + hash_value(n->items[i]);
    return h;
}

/* Lists may be long: an element is compared to those of its hash only. */
static void check_unique(const struct pass *p, struct node *n, const struct place *at)
{
    struct map last AUTOMAP = MAP_INIT; /* hash -> 1 + index */
    size_t *before AUTOFREE = xcalloc(n->count, sizeof(*before));
    for (size_t i = 0; i < n->count; i++) {
        struct node *item = n->items[i];
        char key[20];
        snprintf(key, sizeof(key), "%" PRIx64, hash_value(item));
        size_t same = (size_t)map_get(&last, key);
        before[i] = same;
        while (same && !equal_values(item, n->items[same - 1]))
            same = before[same - 1];
        if (!same) {
            map_set(&last, key, (void *)(i + 1));
            continue;
        }
        report_twice(p, item, n->items[same - 1], at);
        n->faulty = true;
    }
}

static bool check_array(const struct pass *p, const struct schema *s, struct node *n,
                        const struct place *at)
{
    size_t kept = 0;
    for (size_t i = 0; s->items && i < n->count; i++) {
        struct place here = {.up = at, .index = i};
        struct node *item = n->items[i];
        bool keep = check(p, s->items, item, &here);
        n->faulty |= !keep || item->faulty;
        if (keep)
            n->items[kept++] = item;
    }
    if (s->items)
        n->count = kept;
    if (s->unique && n->count > 1)
        check_unique(p, n, at);
    return true;
}

static bool check_string(const struct pass *p, const struct schema *s, const struct node *n,
                         const struct place *at)
{
    if (s->values) {
        struct strbuf list AUTOBUF = STRBUF_INIT;
        struct closest near = {.word = n->string};
        for (const char **v = s->values; *v; v++) {
            if (streq(*v, n->string))
                return true;
            strbuf_addf(&list, "%s\"%s\"", v == s->values ? "" : ", ", *v);
            closest_try(&near, *v);
        }
        pass_error(p, at, &n->mark, "%sinvalid value \"%s\": want %s%s", prefix(p, at), n->string,
                   s->values[1] ? "one of " : "", list.buf);
        diag_suggest(p->diag, near.best);
        return false;
    }
    if (s->pattern && !schema_matches(s->pattern, n->string)) {
        pass_error(p, at, &n->mark, "%sinvalid value \"%s\": want %s", prefix(p, at), n->string,
                   s->want ? s->want : s->pattern->text);
        return false;
    }
    return true;
}

static bool check_number(const struct pass *p, const struct schema *s, const struct node *n,
                         const struct place *at)
{
    double v = n->kind == NODE_INT ? (double)n->integer : node_number(n);
    if (s->has_min && v < s->min)
        pass_error(p, at, &n->mark, "%smust be at least %g", prefix(p, at), s->min);
    else if (s->has_max && v > s->max)
        pass_error(p, at, &n->mark, "%smust be at most %g", prefix(p, at), s->max);
    else
        return true;
    return false;
}

static bool check(const struct pass *p, const struct schema *s, struct node *n,
                  const struct place *at)
{
    if (n->faulty && n->kind != NODE_MAPPING && n->kind != NODE_SEQUENCE)
        return false; /* reported */
    s = alternative_for(s, n);
    unsigned types = types_of(n);
    if (!is_allowed(s, types))
        return wrong_type(p, s, n, at);
    if (types & SCHEMA_OBJECT)
        return check_object(p, s, n, at);
    if (types & SCHEMA_ARRAY)
        return check_array(p, s, n, at);
    if (types & SCHEMA_STRING)
        return check_string(p, s, n, at);
    if (types & SCHEMA_NUMBER)
        return check_number(p, s, n, at);
    return true;
}

void validate_document(const struct pass *p, const struct schema_set *schema, struct node *root)
{
    check_object(p, schema_root(schema), root, NULL);
}

/* What of a value must have the right type for its short form to be read and its repetitions to be
 * found. */
enum { SHAPE_SELF = 1 << 0, SHAPE_ITEMS = 1 << 1, SHAPE_MEMBERS = 1 << 2 };

static unsigned shape_of(const struct field *f)
{
    switch ((enum field_canonical)f->canonical) {
    case CANONICAL_BUILD:
    case CANONICAL_EXTENDS:
    case CANONICAL_ENV_FILE:
    case CANONICAL_GPUS:
        return SHAPE_SELF;
    case CANONICAL_PORTS:
        return SHAPE_SELF | SHAPE_ITEMS;
    case CANONICAL_DEPENDS_ON:
        return SHAPE_SELF | SHAPE_ITEMS | SHAPE_MEMBERS;
    case CANONICAL_ULIMITS:
    case CANONICAL_EXTERNAL:
        return SHAPE_MEMBERS;
    case CANONICAL_NAMES:
    case CANONICAL_VOLUMES:
    case CANONICAL_DEVICES:
    case CANONICAL_FILE_MOUNTS:
        return SHAPE_ITEMS;
    case CANONICAL_NONE:
    case CANONICAL_TEXT:
    case CANONICAL_KEY_VALUE:
    case CANONICAL_LIST:
    case CANONICAL_SSH:
        break;
    }
    return f->unique == UNIQUE_NONE ? 0 : SHAPE_ITEMS;
}

static bool check_type(const struct pass *p, const struct schema *s, const struct node *n,
                       const struct place *at)
{
    s = alternative_for(s, n);
    return n->faulty || is_allowed(s, types_of(n)) || wrong_type(p, s, n, at);
}

/* An element in its long form has what makes it itself. */
static bool check_key(const struct pass *p, const struct field *f, const struct node *item,
                      const struct place *at)
{
    const char *key = f->unique == UNIQUE_ENV_FILE ? "path"
                      : f->unique == UNIQUE_PORT || f->unique == UNIQUE_VOLUME ||
                              f->unique == UNIQUE_DEVICE
                          ? "target"
                          : NULL;
    if (!key || item->kind != NODE_MAPPING || node_given(node_get(item, key)))
        return true;
    pass_error(p, at, &item->mark, "%smissing key \"%s\"", prefix(p, at), key);
    return false;
}

static bool check_shape(const struct pass *p, const struct schema *s, struct node *n,
                        const struct field *f, const struct place *at)
{
    unsigned shape = shape_of(f);
    if ((shape & SHAPE_SELF) && !check_type(p, s, n, at))
        return false;
    s = alternative_for(s, n);
    size_t kept = 0;
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++) {
        struct node *item = n->items[i];
        struct place here = {.up = at, .index = i};
        bool typed = !(shape & SHAPE_ITEMS) || !s->items || check_type(p, s->items, item, &here);
        if (typed && check_key(p, f, item, &here))
            n->items[kept++] = item;
    }
    if (n->kind == NODE_SEQUENCE)
        n->count = (uint32_t)kept;
    for (size_t i = 0; (shape & SHAPE_MEMBERS) && n->kind == NODE_MAPPING && i < n->count;) {
        struct place here = {.up = at, .key = n->pairs[i].key};
        const struct schema *member = schema_property(s, here.key);
        struct node *value = n->pairs[i].value;
        bool empty = f->canonical == CANONICAL_EXTERNAL && value->kind == NODE_NULL;
        if (!member || empty || check_type(p, member, value, &here))
            i++;
        else
            node_del_at(n, i);
    }
    return true;
}

static void check_shapes(const struct pass *p, const struct schema *s, struct node *map,
                         const struct object *object, bool named, const struct place *at)
{
    s = alternative_for(s, map);
    for (size_t i = 0; i < map->count;) {
        struct node_pair *pair = &map->pairs[i];
        const struct field *f = named ? NULL : field_of(object, pair);
        const struct schema *member = schema_property(s, pair->key);
        struct place here = {.up = at, .key = pair->key};
        if (f && member && !check_shape(p, member, pair->value, f, &here)) {
            node_del_at(map, i);
            continue;
        }
        const struct object *below = named ? object : f ? f->object : NULL;
        if (member && below && pair->value->kind == NODE_MAPPING)
            check_shapes(p, member, pair->value, below, f && f->type == TYPE_OBJECT_MAP, &here);
        i++;
    }
}

void validate_extended(const struct pass *p, const struct schema_set *schema, struct node *root)
{
    check_shapes(p, schema_root(schema), root, &root_object, false, NULL);
}
