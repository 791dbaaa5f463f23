#include "file/history.h"

#include "base/mem.h"

struct history *history_new(struct arena *a)
{
    return arena_new_of(a, struct history);
}

void history_release(struct history *h)
{
    if (!h)
        return;
    vec_release(&h->layers);
    vec_release(&h->replaced);
    vec_release(&h->merges);
}

void history_document(struct history *h, struct arena *a, struct history_layer layer)
{
    if (!h)
        return;
    layer.root = node_clone(a, layer.doc->root);
    vec_push(&h->layers, layer);
}

void history_replaced(struct history *h, const struct mark *winner, const struct mark *loser)
{
    if (h)
        vec_push(&h->replaced, (struct history_replaced){.winner = *winner, .loser = *loser});
}

void history_merge(struct history *h, struct yaml_merge merge)
{
    if (h)
        vec_push(&h->merges, merge);
}

void history_variables(struct history *h, struct arena *a, const char *service, const char *key,
                       const struct mark *by, const char *file, const struct env *vars)
{
    if (!h)
        return;
    const struct mark at = {.file = file, .line = 1, .col = 1};
    struct node *root = node_new(a, NODE_MAPPING, at), *services = node_new(a, NODE_MAPPING, at);
    struct node *one = node_new(a, NODE_MAPPING, at), *values = node_new(a, NODE_MAPPING, at);
    map_foreach (&vars->vars, it) {
        const struct env_value *v = it->value;
        if (v->origin.file && streq(v->origin.file, file))
            node_put(a, values, arena_strdup(a, it->key), node_new_string(a, v->value, v->origin));
    }
    node_put(a, one, key, values);
    node_put(a, services, service, one);
    node_put(a, root, "services", services);
    vec_push(&h->layers, (struct history_layer){
                             .root = root,
                             .path = file,
                             .how = streq(key, "labels") ? "label file" : "env file",
                             .by = *by,
                         });
}
