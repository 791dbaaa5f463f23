#include "model/node_json.h"

#include <math.h>

#include "base/mem.h"

json_t *node_to_json(const struct node *n)
{
    switch (n->kind) {
    case NODE_NULL:
        return json_null();
    case NODE_BOOL:
        return json_boolean(n->boolean);
    case NODE_INT:
        return json_integer(n->integer);
    case NODE_FLOAT:
        return isfinite(node_number(n)) ? json_real(node_number(n)) : json_null();
    case NODE_STRING:
        return json_text(n->string);
    case NODE_SEQUENCE: {
        json_t *a = json_array();
        for (size_t i = 0; i < n->count; i++)
            json_array_append_new(a, node_to_json(n->items[i]));
        return a;
    }
    case NODE_MAPPING: {
        json_t *o = json_object();
        for (size_t i = 0; i < n->count; i++)
            jput(o, n->pairs[i].key, node_to_json(n->pairs[i].value));
        return o;
    }
    }
    return NULL;
}

static struct node *from_container(struct arena *a, const json_t *j)
{
    const struct mark nowhere = {0};
    if (json_is_array(j)) {
        struct node *seq = node_new(a, NODE_SEQUENCE, nowhere);
        for (size_t i = 0; i < json_array_size(j); i++)
            node_append(a, seq, node_from_json(a, json_array_get(j, i)));
        return seq;
    }
    struct node *map = node_new(a, NODE_MAPPING, nowhere);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)j, key, value) {
        node_put(a, map, arena_strdup(a, key), node_from_json(a, value));
    }
    return map;
}

struct node *node_from_json(struct arena *a, const json_t *j)
{
    const struct mark nowhere = {0};
    switch (json_typeof(j)) {
    case JSON_STRING:
        return node_new_string(a, arena_strdup(a, json_string_value(j)), nowhere);
    case JSON_INTEGER:
        return node_new_int(a, json_integer_value(j), nowhere);
    case JSON_REAL: {
        struct node *n = node_new(a, NODE_FLOAT, nowhere);
        n->number = json_real_value(j);
        return n;
    }
    case JSON_TRUE:
    case JSON_FALSE:
        return node_new_bool(a, json_is_true(j), nowhere);
    case JSON_OBJECT:
    case JSON_ARRAY:
        return from_container(a, j);
    case JSON_NULL:
        break;
    }
    return node_new(a, NODE_NULL, nowhere);
}
