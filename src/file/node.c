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

/* Lies in front of the items or pairs of a node. Behind pairs with room for INDEX_FROM of them lies
 * an index, open addressing; slots hold pair number + 1. */
struct node_room {
    uint32_t cap;
    uint32_t slots; /* power of two, 0: there is no index, or it is stale */
};

static struct node_room *room_of(const struct node *n)
{
    return n->pairs ? (struct node_room *)n->pairs - 1 : NULL;
}

static uint32_t *slots_of(const struct node *map)
{
    return (uint32_t *)(map->pairs + room_of(map)->cap);
}

static uint32_t slots_for(size_t pairs)
{
    uint32_t slots = 64;
    if (pairs < INDEX_FROM)
        return 0;
    while (slots < pairs * 2)
        slots *= 2;
    return slots;
}

static uint32_t hash_key(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static void index_insert(struct node *map, size_t i)
{
    uint32_t *slots = slots_of(map), mask = room_of(map)->slots - 1;
    uint32_t at = hash_key(map->pairs[i].key) & mask;
    while (slots[at])
        at = (at + 1) & mask;
    slots[at] = (uint32_t)i + 1;
}

static void index_build(struct node *map)
{
    struct node_room *room = room_of(map);
    room->slots = slots_for(room->cap);
    memset(slots_of(map), 0, room->slots * sizeof(uint32_t));
    for (size_t i = 0; i < map->count; i++)
        index_insert(map, i);
}

struct node_pair *node_pair(const struct node *n, const char *key)
{
    if (!node_is(n, NODE_MAPPING))
        return NULL;
    const struct node_room *room = room_of(n);
    if (room && room->slots) {
        const uint32_t *slots = slots_of(n);
        for (uint32_t at = hash_key(key) & (room->slots - 1); slots[at];
             at = (at + 1) & (room->slots - 1))
            if (streq(n->pairs[slots[at] - 1].key, key))
                return &n->pairs[slots[at] - 1];
        return NULL;
    }
    for (size_t i = 0; i < n->count; i++)
        if (n->pairs[i].key[0] == key[0] && streq(n->pairs[i].key, key))
            return &n->pairs[i];
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

double node_number(const struct node *n)
{
    return n->tag == TAG_UINT64 ? (double)n->whole : n->number;
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

static uint32_t cap_of(const struct node *n)
{
    const struct node_room *room = room_of(n);
    return room ? room->cap : 0;
}

void node_reserve(struct arena *a, struct node *n, size_t members)
{
    if (members <= cap_of(n))
        return;
    bool map = n->kind == NODE_MAPPING;
    size_t each = map ? sizeof(struct node_pair) : sizeof(struct node *);
    size_t index = map ? slots_for(members) * sizeof(uint32_t) : 0;
    struct node_room *room = arena_alloc(a, sizeof(*room) + members * each + index);
    room->cap = (uint32_t)members;
    if (n->count)
        memcpy(room + 1, n->items, n->count * each);
    n->items = (struct node **)(room + 1);
    if (index)
        index_build(n);
}

/* A pair whose key is not there yet. */
static void add_pair(struct arena *a, struct node *map, struct node_pair pair)
{
    if (map->count == cap_of(map))
        node_reserve(a, map, more_than(map->count));
    map->pairs[map->count++] = pair;
    if (room_of(map)->slots)
        index_insert(map, map->count - 1);
    else if (map->count >= INDEX_FROM)
        index_build(map);
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
    add_pair(a, map, (struct node_pair){.key = key, .key_mark = key_mark, .value = value});
}

void node_put(struct arena *a, struct node *map, const char *key, struct node *value)
{
    node_set(a, map, key, value->mark, value);
}

void node_del_at(struct node *map, size_t i)
{
    memmove(map->pairs + i, map->pairs + i + 1, (map->count - i - 1) * sizeof(*map->pairs));
    map->count--;
    node_moved(map);
}

void node_moved(struct node *map)
{
    struct node_room *room = room_of(map);
    if (room)
        room->slots = 0;
}

bool node_del(struct node *map, const char *key)
{
    const struct node_pair *p = node_pair(map, key);
    if (!p)
        return false;
    node_del_at(map, (size_t)(p - map->pairs));
    return true;
}

void node_append(struct arena *a, struct node *seq, struct node *value)
{
    if (seq->count == cap_of(seq))
        node_reserve(a, seq, more_than(seq->count));
    seq->items[seq->count++] = value;
}

struct node *node_clone(struct arena *a, const struct node *n)
{
    struct node *copy = arena_new_of(a, struct node);
    *copy = *n;
    if (n->kind != NODE_SEQUENCE && n->kind != NODE_MAPPING)
        return copy;
    copy->items = NULL;
    copy->count = 0;
    node_reserve(a, copy, n->count);
    for (size_t i = 0; i < n->count; i++)
        if (n->kind == NODE_SEQUENCE)
            node_append(a, copy, node_clone(a, n->items[i]));
        else
            add_pair(a, copy,
                     (struct node_pair){.key = n->pairs[i].key,
                                        .key_mark = n->pairs[i].key_mark,
                                        .value = node_clone(a, n->pairs[i].value)});
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
        return node_number(a) == node_number(b);
    case NODE_STRING:
        return streq(a->string, b->string);
    case NODE_SEQUENCE:
        if (a->count != b->count)
            return false;
        for (size_t i = 0; i < a->count; i++)
            if (!node_equal(a->items[i], b->items[i]))
                return false;
        return true;
    case NODE_MAPPING:
        if (a->count != b->count)
            return false;
        for (size_t i = 0; i < a->count; i++) {
            const struct node *other = node_get(b, a->pairs[i].key);
            if (!other || !node_equal(a->pairs[i].value, other))
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
    if (map->count < 2)
        return;
    qsort(map->pairs, map->count, sizeof(*map->pairs), compare_pairs);
    if (room_of(map)->slots)
        index_build(map);
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
