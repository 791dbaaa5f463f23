#include "file/validate.h"

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
               (isfinite(n->number) && n->number == floor(n->number) ? SCHEMA_INTEGER : 0);
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
    for (size_t i = 0; i < n->map.n;) {
        struct node_pair *pair = &n->map.v[i];
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
        *v = n->number;
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
        bool equal = a->map.n == b->map.n;
        for (size_t i = 0; equal && i < a->map.n; i++) {
            const struct node *other = node_get(b, a->map.v[i].key);
            equal = other && equal_values(a->map.v[i].value, other);
        }
        return equal;
    }
    if (both && a->kind == NODE_SEQUENCE) {
        bool equal = a->seq.n == b->seq.n;
        for (size_t i = 0; equal && i < a->seq.n; i++)
            equal = equal_values(a->seq.v[i], b->seq.v[i]);
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

/* Lists of strings may be long: those are compared by a map. */
static bool all_strings(const struct node *n)
{
    for (size_t i = 0; i < n->seq.n; i++)
        if (n->seq.v[i]->kind != NODE_STRING)
            return false;
    return true;
}

static void check_unique(const struct pass *p, struct node *n, const struct place *at)
{
    struct map seen AUTOMAP = MAP_INIT;
    bool by_map = all_strings(n);
    for (size_t i = 0; i < n->seq.n; i++) {
        struct node *item = n->seq.v[i];
        const struct node *same = by_map ? map_set(&seen, item->string, item) : NULL;
        for (size_t j = 0; !by_map && j < i && !same; j++)
            if (equal_values(item, n->seq.v[j]))
                same = n->seq.v[j];
        if (!same)
            continue;
        report_twice(p, item, same, at);
        n->faulty = true;
    }
}

static bool check_array(const struct pass *p, const struct schema *s, struct node *n,
                        const struct place *at)
{
    size_t kept = 0;
    for (size_t i = 0; s->items && i < n->seq.n; i++) {
        struct place here = {.up = at, .index = i};
        struct node *item = n->seq.v[i];
        bool keep = check(p, s->items, item, &here);
        n->faulty |= !keep || item->faulty;
        if (keep)
            n->seq.v[kept++] = item;
    }
    if (s->items)
        n->seq.n = kept;
    if (s->unique && n->seq.n > 1)
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
    double v = n->kind == NODE_INT ? (double)n->integer : n->number;
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
    s = schema_follow(s);
    unsigned types = types_of(n);
    for (size_t i = 0; i < s->one_of_n; i++) {
        const struct schema *alternative = schema_follow(s->one_of[i]);
        if (types_allowed(alternative) & types)
            return check(p, alternative, n, at);
    }
    if (s->one_of_n || (s->types && !(s->types & types)))
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
