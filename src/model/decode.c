#include "model/decode.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/decode_service.h"

static void decode_networks(struct project *p, const struct node *map)
{
    struct arena *a = p->arena;
    p->networks_n = node_is(map, NODE_MAPPING) ? map->count : 0;
    p->networks = arena_array(a, struct network, p->networks_n);
    for (size_t i = 0; i < p->networks_n; i++) {
        const struct node_pair *pair = &map->pairs[i];
        const struct node *n = pair->value, *ipam = node_get(n, "ipam");
        const struct node *pools = node_get(ipam, "config");
        const char *name = decode_string(n, "name");
        struct network *net = &p->networks[i];
        *net = (struct network){
            .key = pair->key,
            .name = name ? name : pair->key,
            .mark = pair->key_mark,
            .node = n,
            .driver = decode_string(n, "driver"),
            .driver_opts = decode_pairs(a, node_get(n, "driver_opts")),
            .labels = decode_pairs(a, node_get(n, "labels")),
            .ipam_driver = decode_string(ipam, "driver"),
            .external = node_get_bool(n, "external", false),
            .internal = node_get_bool(n, "internal", false),
            .attachable = node_get_bool(n, "attachable", false),
            .enable_ipv4 = decode_flag(n, "enable_ipv4"),
            .enable_ipv6 = decode_flag(n, "enable_ipv6"),
        };
        net->pools_n = node_is(pools, NODE_SEQUENCE) ? pools->count : 0;
        net->pools = arena_array(a, struct ipam_pool, net->pools_n);
        for (size_t k = 0; k < net->pools_n; k++)
            net->pools[k] = (struct ipam_pool){
                .subnet = decode_string(pools->items[k], "subnet"),
                .ip_range = decode_string(pools->items[k], "ip_range"),
                .gateway = decode_string(pools->items[k], "gateway"),
                .aux_addresses = decode_pairs(a, node_get(pools->items[k], "aux_addresses")),
            };
    }
}

static void decode_volumes(struct project *p, const struct node *map)
{
    p->volumes_n = node_is(map, NODE_MAPPING) ? map->count : 0;
    p->volumes = arena_array(p->arena, struct volume, p->volumes_n);
    for (size_t i = 0; i < p->volumes_n; i++) {
        const struct node_pair *pair = &map->pairs[i];
        const char *name = decode_string(pair->value, "name");
        p->volumes[i] = (struct volume){
            .key = pair->key,
            .name = name ? name : pair->key,
            .mark = pair->key_mark,
            .node = pair->value,
            .driver = decode_string(pair->value, "driver"),
            .driver_opts = decode_pairs(p->arena, node_get(pair->value, "driver_opts")),
            .labels = decode_pairs(p->arena, node_get(pair->value, "labels")),
            .external = node_get_bool(pair->value, "external", false),
        };
    }
}

static struct file_object *decode_file_objects(struct arena *a, const struct node *map, size_t *n)
{
    *n = node_is(map, NODE_MAPPING) ? map->count : 0;
    struct file_object *v = arena_array(a, struct file_object, *n);
    for (size_t i = 0; i < *n; i++) {
        const struct node_pair *pair = &map->pairs[i];
        const char *name = decode_string(pair->value, "name");
        const char *environment = decode_string(pair->value, "environment");
        v[i] = (struct file_object){
            .key = pair->key,
            .name = name ? name : pair->key,
            .mark = pair->key_mark,
            .file = decode_string(pair->value, "file"),
            .environment = environment,
            .content = decode_string(pair->value, environment ? "x-#value" : "content"),
            .external = node_get_bool(pair->value, "external", false),
        };
    }
    return v;
}

int project_decode(struct arena *take_arena, struct node *doc, struct project **out,
                   struct err *err)
{
    const struct node *services = node_get(doc, "services");
    const char *name = decode_string(doc, "name");
    *out = NULL;
    if (!name) {
        arena_free(take_arena);
        return err_set(err, ERR_INVALID, "the project has no name");
    }
    struct project *p = arena_new_of(take_arena, struct project);
    p->arena = take_arena;
    p->document = doc;
    p->name = name;
    p->working_dir = "/";
    p->separator = "-";
    p->files.v = p->env_files.v = p->disabled.v = arena_array(take_arena, const char *, 1);
    p->services_n = node_is(services, NODE_MAPPING) ? services->count : 0;
    p->services = arena_array(take_arena, struct service, p->services_n);
    for (size_t i = 0; i < p->services_n; i++)
        decode_service(take_arena, &services->pairs[i], &p->services[i]);
    decode_networks(p, node_get(doc, "networks"));
    decode_volumes(p, node_get(doc, "volumes"));
    p->secrets = decode_file_objects(take_arena, node_get(doc, "secrets"), &p->secrets_n);
    p->configs = decode_file_objects(take_arena, node_get(doc, "configs"), &p->configs_n);
    *out = p;
    return 0;
}

static struct strings keys_of(struct arena *a, const struct node *map)
{
    size_t n = node_is(map, NODE_MAPPING) ? map->count : 0;
    struct strings s = {.v = arena_array(a, const char *, n + 1), .n = n};
    for (size_t i = 0; i < n; i++)
        s.v[i] = map->pairs[i].key;
    return s;
}

static struct strings list_of(struct arena *a, const struct document_list *list)
{
    struct strings s = {.v = arena_array(a, const char *, list->n + 1), .n = list->n};
    for (size_t i = 0; i < list->n; i++)
        s.v[i] = list->v[i];
    return s;
}

static struct key_values variables_of(struct arena *a, const struct env *env)
{
    struct key_values out = {.v = arena_array(a, struct key_value, env->vars.live)};
    map_foreach (&env->vars, it)
        out.v[out.n++] = (struct key_value){arena_strdup(a, it->key),
                                            ((const struct env_value *)it->value)->value};
    return out;
}

int project_decode_document(struct document *take_doc, struct project **out, struct err *err)
{
    struct document doc = *take_doc;
    *take_doc = (struct document){0};
    struct key_values environment = variables_of(doc.arena, &doc.env);
    env_release(&doc.env);
    if (project_decode(doc.arena, doc.root, out, err))
        return -1;
    struct project *p = *out;
    p->working_dir = doc.working_dir;
    p->files = list_of(p->arena, &doc.files);
    p->env_files = list_of(p->arena, &doc.env_files);
    p->disabled = keys_of(p->arena, doc.disabled);
    p->environment = environment;
    return 0;
}
