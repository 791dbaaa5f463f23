#include "file/node.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

bool mark_equal(const struct mark *a, const struct mark *b)
{
    return a->line == b->line && a->col == b->col && a->file && b->file &&
           (a->file == b->file || streq(a->file, b->file));
}

enum { INDEX_FROM = 16 }; /* below, a linear search is faster */

/* Open addressing over the pairs of a mapping with room for INDEX_FROM of them, in front of which
 * it lies; slots hold pair number + 1. */
struct node_index {
    size_t cap; /* power of two, 0: stale */
    uint32_t *slots;
};

static struct node_index *index_of(const struct node *map)
{
    return map->map.cap >= INDEX_FROM ? (struct node_index *)map->map.v - 1 : NULL;
}

static uint32_t hash_key(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static void index_insert(struct node_index *ix, const char *key, size_t i)
{
    size_t at = hash_key(key) & (ix->cap - 1);
    while (ix->slots[at])
        at = (at + 1) & (ix->cap - 1);
    ix->slots[at] = (uint32_t)i + 1;
}

/* room: how many members to expect. */
static void index_build(struct arena *a, struct node *map, size_t room)
{
    struct node_index *ix = index_of(map);
    ix->cap = 64;
    while (ix->cap < room * 2)
        ix->cap *= 2;
    ix->slots = arena_array(a, uint32_t, ix->cap);
    for (size_t i = 0; i < map->map.n; i++)
        index_insert(ix, map->map.v[i].key, i);
}

struct node_pair *node_pair(const struct node *n, const char *key)
{
    if (!node_is(n, NODE_MAPPING))
        return NULL;
    const struct node_index *ix = index_of(n);
    if (ix && ix->cap) {
        for (size_t at = hash_key(key) & (ix->cap - 1); ix->slots[at];
             at = (at + 1) & (ix->cap - 1))
            if (streq(n->map.v[ix->slots[at] - 1].key, key))
                return &n->map.v[ix->slots[at] - 1];
        return NULL;
    }
    for (size_t i = 0; i < n->map.n; i++)
        if (n->map.v[i].key[0] == key[0] && streq(n->map.v[i].key, key))
            return &n->map.v[i];
    return NULL;
}

struct node *node_get(const struct node *n, const char *key)
{
    const struct node_pair *p = node_pair(n, key);
    return p ? p->value : NULL;
}

const char *node_str(const struct node *n)
{
    return node_is(n, NODE_STRING) ? n->string : NULL;
}

const char *node_get_str(const struct node *n, const char *key)
{
    return node_str(node_get(n, key));
}

bool node_get_bool(const struct node *n, const char *key, bool fallback)
{
    const struct node *v = node_get(n, key);
    return node_is(v, NODE_BOOL) ? v->boolean : fallback;
}

struct node *node_new(struct arena *a, enum node_kind kind, struct mark mark)
{
    struct node *n = arena_new_of(a, struct node);
    n->kind = kind;
    n->mark = mark;
    return n;
}

struct node *node_new_string(struct arena *a, const char *s, struct mark mark)
{
    struct node *n = node_new(a, NODE_STRING, mark);
    n->string = s;
    return n;
}

struct node *node_new_int(struct arena *a, int64_t v, struct mark mark)
{
    struct node *n = node_new(a, NODE_INT, mark);
    n->integer = v;
    return n;
}

struct node *node_new_bool(struct arena *a, bool v, struct mark mark)
{
    struct node *n = node_new(a, NODE_BOOL, mark);
    n->boolean = v;
    return n;
}

/* What was there before is lost in the arena, so that half is better than as much again. */
static size_t more_than(uint32_t cap)
{
    return cap < 4 ? 4 : (size_t)cap + cap / 2;
}

static struct node_pair *new_pairs(struct arena *a, size_t n)
{
    size_t front = n >= INDEX_FROM ? sizeof(struct node_index) : 0;
    char *p = arena_alloc(a, front + n * sizeof(struct node_pair));
    return (struct node_pair *)(p + front);
}

void node_reserve(struct arena *a, struct node *n, size_t members)
{
    if (n->kind == NODE_SEQUENCE && members > n->seq.cap) {
        struct node **v = arena_array(a, struct node *, members);
        if (n->seq.n)
            memcpy(v, n->seq.v, n->seq.n * sizeof(*v));
        n->seq.v = v;
        n->seq.cap = (uint32_t)members;
    } else if (n->kind == NODE_MAPPING && members > n->map.cap) {
        struct node_pair *v = new_pairs(a, members);
        if (n->map.n)
            memcpy(v, n->map.v, n->map.n * sizeof(*v));
        n->map.v = v;
        n->map.cap = (uint32_t)members;
        if (members >= INDEX_FROM)
            index_build(a, n, members);
    }
}

void node_set(struct arena *a, struct node *map, const char *key, struct mark key_mark,
              struct node *value)
{
    struct node_pair *p = node_pair(map, key);
    if (p) {
        p->value = value;
        p->key_mark = key_mark;
        return;
    }
    if (map->map.n == map->map.cap)
        node_reserve(a, map, more_than(map->map.cap));
    map->map.v[map->map.n++] = (struct node_pair){.key = key, .key_mark = key_mark, .value = value};
    struct node_index *ix = index_of(map);
    if (ix && ix->cap)
        index_insert(ix, key, map->map.n - 1);
    else if (map->map.n >= INDEX_FROM)
        index_build(a, map, map->map.cap);
}

void node_put(struct arena *a, struct node *map, const char *key, struct node *value)
{
    node_set(a, map, key, value->mark, value);
}

void node_del_at(struct node *map, size_t i)
{
    memmove(map->map.v + i, map->map.v + i + 1, (map->map.n - i - 1) * sizeof(*map->map.v));
    map->map.n--;
    node_moved(map);
}

void node_moved(struct node *map)
{
    struct node_index *ix = index_of(map);
    if (ix)
        ix->cap = 0;
}

bool node_del(struct node *map, const char *key)
{
    const struct node_pair *p = node_pair(map, key);
    if (!p)
        return false;
    node_del_at(map, (size_t)(p - map->map.v));
    return true;
}

void node_append(struct arena *a, struct node *seq, struct node *value)
{
    if (seq->seq.n == seq->seq.cap)
        node_reserve(a, seq, more_than(seq->seq.cap));
    seq->seq.v[seq->seq.n++] = value;
}

struct node *node_clone(struct arena *a, const struct node *n)
{
    struct node *copy = arena_new_of(a, struct node);
    *copy = *n;
    if (n->kind == NODE_SEQUENCE) {
        copy->seq.cap = n->seq.n;
        copy->seq.v = arena_array(a, struct node *, n->seq.n);
        for (size_t i = 0; i < n->seq.n; i++)
            copy->seq.v[i] = node_clone(a, n->seq.v[i]);
    } else if (n->kind == NODE_MAPPING) {
        copy->map.cap = n->map.n;
        copy->map.v = new_pairs(a, n->map.n);
        for (size_t i = 0; i < n->map.n; i++) {
            copy->map.v[i] = n->map.v[i];
            copy->map.v[i].value = node_clone(a, n->map.v[i].value);
        }
        if (n->map.n >= INDEX_FROM)
            index_build(a, copy, n->map.n);
    }
    return copy;
}

bool node_equal(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case NODE_NULL:
        return true;
    case NODE_BOOL:
        return a->boolean == b->boolean;
    case NODE_INT:
        return a->integer == b->integer;
    case NODE_FLOAT:
        return a->number == b->number;
    case NODE_STRING:
        return streq(a->string, b->string);
    case NODE_SEQUENCE:
        if (a->seq.n != b->seq.n)
            return false;
        for (size_t i = 0; i < a->seq.n; i++)
            if (!node_equal(a->seq.v[i], b->seq.v[i]))
                return false;
        return true;
    case NODE_MAPPING:
        if (a->map.n != b->map.n)
            return false;
        for (size_t i = 0; i < a->map.n; i++) {
            const struct node *other = node_get(b, a->map.v[i].key);
            if (!other || !node_equal(a->map.v[i].value, other))
                return false;
        }
        return true;
    }
    return false;
}

static int compare_pairs(const void *a, const void *b)
{
    return strcmp(((const struct node_pair *)a)->key, ((const struct node_pair *)b)->key);
}

void node_sort(struct node *map)
{
    if (map->map.n < 2)
        return;
    qsort(map->map.v, map->map.n, sizeof(*map->map.v), compare_pairs);
    struct node_index *ix = index_of(map);
    if (ix && ix->cap) {
        memset(ix->slots, 0, ix->cap * sizeof(*ix->slots));
        for (size_t i = 0; i < map->map.n; i++)
            index_insert(ix, map->map.v[i].key, i);
    }
}

const char *node_kind_name(const struct node *n)
{
    switch (n->kind) {
    case NODE_NULL:
        return "null";
    case NODE_BOOL:
        return "boolean";
    case NODE_INT:
        return "integer";
    case NODE_FLOAT:
        return "number";
    case NODE_STRING:
        return n->tag == TAG_TIMESTAMP ? "date" : "string";
    case NODE_SEQUENCE:
        return "list";
    case NODE_MAPPING:
        return "mapping";
    }
    return "?";
}

/* The shortest decimal digits that read back as v, "d.ddde[+-]dd". */
static void shortest(double v, int bits, char out[40])
{
    for (int precision = 0; precision < 17; precision++) {
        snprintf(out, 40, "%.*e", precision, v);
        if (bits == 32 ? strtof(out, NULL) == (float)v : strtod(out, NULL) == v)
            return;
    }
}

void node_format_float(double v, int bits, int exponent_from, char out[40])
{
    if (isnan(v)) {
        strcpy(out, "NaN");
        return;
    }
    if (isinf(v)) {
        strcpy(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    char e[40];
    shortest(v, bits, e);
    const char *exp_at = strchr(e, 'e');
    int exponent = atoi(exp_at + 1);
    if (exponent < -4 || exponent >= exponent_from) {
        strcpy(out, e);
        return;
    }
    int digits = 0; /* significant digits after the first */
    for (const char *p = e; p < exp_at; p++)
        digits += *p >= '0' && *p <= '9';
    int decimals = digits - 1 - exponent;
    snprintf(out, 40, "%.*f", decimals > 0 ? decimals : 0, v);
    if (decimals < 0) {
        /* %.0f prints the exact value; Go pads the shortest digits with zeros. */
        char *d = out + (*out == '-');
        for (size_t i = (size_t)digits; d[i]; i++)
            d[i] = '0';
    }
}

const char *node_text(struct arena *a, const struct node *n)
{
    char buf[40];
    switch (n->kind) {
    case NODE_NULL:
        return "<nil>";
    case NODE_BOOL:
        return n->boolean ? "true" : "false";
    case NODE_INT:
        return arena_printf(a, "%" PRId64, n->integer);
    case NODE_FLOAT:
        if (n->tag == TAG_UINT64)
            return arena_printf(a, "%" PRIu64, n->whole);
        node_format_float(n->number, n->tag == TAG_FLOAT32 ? 32 : 64, 6, buf);
        return arena_strdup(a, buf);
    case NODE_STRING:
        return n->string;
    case NODE_SEQUENCE:
    case NODE_MAPPING:
        break;
    }
    return NULL;
}
