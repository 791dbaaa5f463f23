#include "model/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"

const char *read_text(struct arena *a, const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return node_given(n) ? node_text(a, n) : NULL;
}

bool read_bool(const struct node *map, const char *key, bool fallback)
{
    const struct node *n = node_get(map, key);
    if (node_is(n, NODE_STRING))
        return streq(n->string, "true");
    return node_is(n, NODE_BOOL) ? n->boolean : fallback;
}

int read_tristate(const struct node *map, const char *key)
{
    return node_given(node_get(map, key)) ? read_bool(map, key, false) : UNSET;
}

double read_number(const struct node *map, const char *key, double fallback)
{
    const struct node *n = node_get(map, key);
    if (node_is(n, NODE_INT))
        return (double)n->integer;
    if (node_is(n, NODE_FLOAT))
        return n->number;
    return node_is(n, NODE_STRING) ? strtod(n->string, NULL) : fallback;
}

int64_t read_int(const struct node *map, const char *key, int64_t fallback)
{
    const struct node *n = node_get(map, key);
    if (node_is(n, NODE_INT))
        return n->integer;
    if (node_is(n, NODE_FLOAT))
        return (int64_t)n->number;
    return node_is(n, NODE_STRING) && n->string[0] ? strtoll(n->string, NULL, 10) : fallback;
}

int64_t read_size(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    int64_t bytes;
    if (node_is(n, NODE_STRING))
        return size_parse(n->string, &bytes) ? bytes : read_int(map, key, UNSET);
    return read_int(map, key, UNSET);
}

int64_t read_duration(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    int64_t ns;
    return node_is(n, NODE_STRING) && duration_parse(n->string, &ns) ? ns : UNSET;
}

struct strings read_strings(struct arena *a, const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    struct strings out = {0};
    if (!node_given(n) || node_is(n, NODE_MAPPING))
        return out;
    size_t most = node_is(n, NODE_SEQUENCE) ? n->seq.n : 1;
    out.v = arena_array(a, const char *, most + 1);
    if (!node_is(n, NODE_SEQUENCE)) {
        out.v[out.n++] = node_text(a, n);
        return out;
    }
    for (size_t i = 0; i < n->seq.n; i++) {
        const char *text = node_text(a, n->seq.v[i]);
        if (text)
            out.v[out.n++] = text;
    }
    return out;
}

struct key_values read_pairs(struct arena *a, const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    struct key_values out = {0};
    if (node_is(n, NODE_MAPPING)) {
        out.v = arena_array(a, struct key_value, n->map.n);
        for (size_t i = 0; i < n->map.n; i++)
            out.v[out.n++] = (struct key_value){
                n->map.v[i].key,
                node_given(n->map.v[i].value) ? node_text(a, n->map.v[i].value) : NULL};
    } else if (node_is(n, NODE_SEQUENCE)) {
        out.v = arena_array(a, struct key_value, n->seq.n);
        for (size_t i = 0; i < n->seq.n; i++) {
            const char *text = node_text(a, n->seq.v[i]);
            if (!text)
                continue;
            const char *eq = strchr(text, '=');
            out.v[out.n++] = (struct key_value){
                eq ? arena_strndup(a, text, (size_t)(eq - text)) : text, eq ? eq + 1 : NULL};
        }
    }
    return out;
}
