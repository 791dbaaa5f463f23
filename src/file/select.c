#include "file/select.h"

#include <fnmatch.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"

static bool is_active(const struct node *service, const struct map *active)
{
    const struct node *profiles = node_get(service, "profiles");
    if (!node_is(profiles, NODE_SEQUENCE) || !profiles->count || map_get(active, "*"))
        return true;
    for (size_t i = 0; i < profiles->count; i++)
        if (node_str(profiles->items[i]) && map_get(active, profiles->items[i]->string))
            return true;
    return false;
}

void select_profiles(struct arena *a, struct node *root, const struct document_list *profiles,
                     const char *const *names, struct node **disabled)
{
    struct node *services = node_get(root, "services");
    *disabled = node_new(a, NODE_MAPPING, root->mark);
    if (!node_is(services, NODE_MAPPING))
        return;
    struct map active AUTOMAP = MAP_INIT;
    for (size_t i = 0; i < profiles->n; i++)
        map_set(&active, profiles->v[i], &active);
    for (; names && *names; names++) {
        const struct node *service = node_get(services, *names);
        const struct node *own = node_get(service, "profiles");
        if (!service || is_active(service, &active))
            continue;
        for (size_t i = 0; i < own->count; i++)
            map_set(&active, own->items[i]->string, &active);
    }
    struct node *enabled = node_new(a, NODE_MAPPING, services->mark);
    node_reserve(a, enabled, services->count);
    for (size_t i = 0; i < services->count; i++) {
        const struct node_pair *pair = &services->pairs[i];
        node_set(a, is_active(pair->value, &active) ? enabled : *disabled, pair->key,
                 pair->key_mark, pair->value);
    }
    node_put(a, root, "services", enabled);
}

/* Marks the service and what it needs; a chain may be as long as the project, so no recursion. */
static void mark_needed(const struct node *services, size_t start, bool dependencies, bool *needed)
{
    VEC(size_t) todo = {0};
    vec_push(&todo, start);
    while (todo.n) {
        size_t i = todo.v[--todo.n];
        if (needed[i])
            continue;
        needed[i] = true;
        const struct node *all = node_get(services->pairs[i].value, "depends_on");
        for (size_t k = 0; dependencies && node_is(all, NODE_MAPPING) && k < all->count; k++) {
            const struct node_pair *next = node_pair(services, all->pairs[k].key);
            if (next)
                vec_push(&todo, (size_t)(next - services->pairs));
        }
    }
    vec_release(&todo);
}

void select_services(const struct pass *p, struct node *root, const char *const *names,
                     bool dependencies, struct node *disabled)
{
    struct node *services = node_get(root, "services");
    if (!node_is(services, NODE_MAPPING) || !names || !*names)
        return;
    bool *needed = arena_array(p->arena, bool, services->count);
    for (; *names; names++) {
        bool found = false;
        struct closest near = {.word = *names};
        for (size_t i = 0; i < services->count; i++) {
            closest_try(&near, services->pairs[i].key);
            if (fnmatch(*names, services->pairs[i].key, FNM_PATHNAME))
                continue;
            found = true;
            mark_needed(services, i, dependencies, needed);
        }
        if (found)
            continue;
        diag_error(p->diag, NULL, "no such service: %s", *names);
        diag_suggest(p->diag, near.best);
    }
    struct node *kept = node_new(p->arena, NODE_MAPPING, services->mark);
    for (size_t i = 0; i < services->count; i++) {
        const struct node_pair *pair = &services->pairs[i];
        node_set(p->arena, needed[i] ? kept : disabled, pair->key, pair->key_mark, pair->value);
    }
    for (size_t i = 0; i < kept->count; i++) {
        struct node *all = node_get(kept->pairs[i].value, "depends_on");
        for (size_t k = 0; node_is(all, NODE_MAPPING) && k < all->count;) {
            if (node_pair(kept, all->pairs[k].key))
                k++;
            else
                node_del_at(all, k);
        }
        if (node_is(all, NODE_MAPPING) && !all->count)
            node_del(kept->pairs[i].value, "depends_on");
    }
    node_put(p->arena, root, "services", kept);
}

static void use_sources(const struct node *list, const char *type, struct map *used)
{
    for (size_t i = 0; node_is(list, NODE_SEQUENCE) && i < list->count; i++) {
        const char *own = node_get_str(list->items[i], "type");
        const char *source = node_get_str(list->items[i], "source");
        if (source && (!type || (own && streq(own, type))))
            map_set(used, source, used);
    }
}

static void use_keys(const struct node *map, struct map *used)
{
    for (size_t i = 0; node_is(map, NODE_MAPPING) && i < map->count; i++)
        map_set(used, map->pairs[i].key, used);
}

enum section { NETWORKS, VOLUMES, SECRETS, CONFIGS, MODELS, SECTIONS };

void select_resources(struct arena *a, struct node *root)
{
    static const char *const names[SECTIONS] = {"networks", "volumes", "secrets", "configs",
                                                "models"};
    struct map used[SECTIONS] = {0};
    const struct node *services = node_get(root, "services");
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        const struct node *s = services->pairs[i].value;
        use_keys(node_get(s, "networks"), &used[NETWORKS]);
        use_sources(node_get(s, "volumes"), "volume", &used[VOLUMES]);
        use_sources(node_get(s, "secrets"), NULL, &used[SECRETS]);
        use_sources(node_get(node_get(s, "build"), "secrets"), NULL, &used[SECRETS]);
        use_sources(node_get(s, "configs"), NULL, &used[CONFIGS]);
        use_keys(node_get(s, "models"), &used[MODELS]);
    }
    for (size_t k = 0; k < SECTIONS; k++) {
        const struct node *section = node_get(root, names[k]);
        if (node_is(section, NODE_MAPPING)) {
            struct node *kept = node_new(a, NODE_MAPPING, section->mark);
            for (size_t i = 0; i < section->count; i++) {
                const struct node_pair *pair = &section->pairs[i];
                if (map_get(&used[k], pair->key))
                    node_set(a, kept, pair->key, pair->key_mark, pair->value);
            }
            if (kept->count)
                node_put(a, root, names[k], kept);
            else
                node_del(root, names[k]);
        }
        map_release(&used[k]);
    }
}
