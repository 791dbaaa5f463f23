#include <string.h>

#include "file/loader.h"

static void fill_list(const struct scope *scope, const struct node *list)
{
    struct arena *a = scope->loader->pass.arena;
    for (size_t i = 0; i < list->count; i++) {
        struct node *item = list->items[i];
        const char *value = item->kind == NODE_STRING ? env_get(scope->env, item->string) : NULL;
        if (value)
            list->items[i] = node_new_string(a, arena_printf(a, "%s=%s", item->string, value),
                                             item->mark);
    }
}

static void fill_objects(const struct scope *scope, const struct node *objects, const char *key)
{
    struct arena *a = scope->loader->pass.arena;
    for (size_t i = 0; node_is(objects, NODE_MAPPING) && i < objects->count; i++) {
        struct node *object = objects->pairs[i].value, *from = node_get(object, "environment");
        const char *value = node_str(from) ? env_get(scope->env, from->string) : NULL;
        if (value)
            node_put(a, object, key, node_new_string(a, value, from->mark));
    }
}

void environment_apply(const struct scope *scope, struct node *root)
{
    const struct node *services = node_get(root, "services");
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        const struct node *environment = node_get(services->pairs[i].value, "environment");
        if (node_is(environment, NODE_SEQUENCE))
            fill_list(scope, environment);
    }
    fill_objects(scope, node_get(root, "secrets"), "x-#value");
    fill_objects(scope, node_get(root, "configs"), "x-#value");
}
