#include "model/decode.h"

#include <string.h>

#include "base/mem.h"
#include "model/decode_service.h"
#include "model/node_json.h"
#include "model/reader.h"

/* The mapping KEY of the document; n: its size. */
static const struct node_pair *section(const struct node *doc, const char *key, size_t *n)
{
    const struct node *m = node_get(doc, key);
    *n = node_is(m, NODE_MAPPING) ? m->map.n : 0;
    return *n ? m->map.v : NULL;
}

/* external: true, or the older mapping with a name. */
static bool is_external(const struct node *n)
{
    const struct node *external = node_get(n, "external");
    return node_is(external, NODE_MAPPING) || read_bool(n, "external", false);
}

static void decode_services(struct project *p)
{
    const struct node_pair *v = section(p->document, "services", &p->services_n);
    p->services = arena_array(p->arena, struct service, p->services_n);
    for (size_t i = 0; i < p->services_n; i++)
        decode_service(p->arena, v[i].key, v[i].value, v[i].key_mark, &p->services[i]);
}

static void decode_pools(struct arena *a, const struct node *ipam, struct network *n)
{
    const struct node *config = node_get(ipam, "config");
    n->pools_n = node_is(config, NODE_SEQUENCE) ? config->seq.n : 0;
    n->pools = arena_array(a, struct ipam_pool, n->pools_n);
    for (size_t i = 0; i < n->pools_n; i++)
        n->pools[i] = (struct ipam_pool){
            .subnet = node_get_str(config->seq.v[i], "subnet"),
            .ip_range = node_get_str(config->seq.v[i], "ip_range"),
            .gateway = node_get_str(config->seq.v[i], "gateway"),
            .aux_addresses = read_pairs(a, config->seq.v[i], "aux_addresses"),
        };
}

/* NAME of a network, volume, secret or config on the machine. */
static const char *name_on_machine(const struct project *p, const struct node_pair *pair)
{
    const char *name = node_get_str(pair->value, "name");
    return name ? name : arena_printf(p->arena, "%s_%s", p->name, pair->key);
}

static void decode_networks(struct project *p)
{
    const struct node_pair *v = section(p->document, "networks", &p->networks_n);
    p->networks = arena_array(p->arena, struct network, p->networks_n);
    for (size_t i = 0; i < p->networks_n; i++) {
        const struct node *n = v[i].value, *ipam = node_get(n, "ipam");
        p->networks[i] = (struct network){
            .key = v[i].key,
            .name = name_on_machine(p, &v[i]),
            .mark = v[i].key_mark,
            .node = n,
            .driver = node_get_str(n, "driver"),
            .driver_opts = read_pairs(p->arena, n, "driver_opts"),
            .labels = read_pairs(p->arena, n, "labels"),
            .ipam_driver = node_get_str(ipam, "driver"),
            .external = is_external(n),
            .internal = read_bool(n, "internal", false),
            .attachable = read_bool(n, "attachable", false),
            .enable_ipv4 = read_tristate(n, "enable_ipv4"),
            .enable_ipv6 = read_tristate(n, "enable_ipv6"),
        };
        decode_pools(p->arena, ipam, &p->networks[i]);
    }
}

static void decode_volumes(struct project *p)
{
    const struct node_pair *v = section(p->document, "volumes", &p->volumes_n);
    p->volumes = arena_array(p->arena, struct volume, p->volumes_n);
    for (size_t i = 0; i < p->volumes_n; i++)
        p->volumes[i] = (struct volume){
            .key = v[i].key,
            .name = name_on_machine(p, &v[i]),
            .mark = v[i].key_mark,
            .node = v[i].value,
            .driver = node_get_str(v[i].value, "driver"),
            .driver_opts = read_pairs(p->arena, v[i].value, "driver_opts"),
            .labels = read_pairs(p->arena, v[i].value, "labels"),
            .external = is_external(v[i].value),
        };
}

static struct file_object *decode_files(struct project *p, const char *key, size_t *n)
{
    const struct node_pair *v = section(p->document, key, n);
    struct file_object *out = arena_array(p->arena, struct file_object, *n);
    for (size_t i = 0; i < *n; i++)
        out[i] = (struct file_object){
            .key = v[i].key,
            .name = name_on_machine(p, &v[i]),
            .mark = v[i].key_mark,
            .file = node_get_str(v[i].value, "file"),
            .environment = node_get_str(v[i].value, "environment"),
            .content = node_get_str(v[i].value, "content"),
            .external = is_external(v[i].value),
        };
    return out;
}

int project_decode(struct arena *take_arena, struct node *doc, struct project **out,
                   struct err *err)
{
    const char *name = node_get_str(doc, "name");
    if (!name || !name[0]) {
        arena_free(take_arena);
        return err_set(err, ERR_INVALID, "project name must not be empty");
    }
    struct project *p = arena_new_of(take_arena, struct project);
    p->arena = take_arena;
    p->document = doc;
    p->name = name;
    decode_services(p);
    decode_networks(p);
    decode_volumes(p);
    p->secrets = decode_files(p, "secrets", &p->secrets_n);
    p->configs = decode_files(p, "configs", &p->configs_n);
    *out = p;
    return 0;
}

static json_t *strings_to_json(const struct strings *s)
{
    json_t *a = json_array();
    for (size_t i = 0; i < s->n; i++)
        json_array_append_new(a, json_string(s->v[i]));
    return a;
}

static struct strings strings_from_json(struct arena *a, const json_t *j)
{
    struct strings out = {.v = arena_array(a, const char *, json_array_size(j) + 1)};
    for (size_t i = 0; i < json_array_size(j); i++)
        if (json_is_string(json_array_get(j, i)))
            out.v[out.n++] = arena_strdup(a, json_string_value(json_array_get(j, i)));
    return out;
}

json_t *project_to_json(const struct project *p)
{
    json_t *o = json_object();
    json_object_set_new(o, "document", node_to_json(p->document));
    jset_str(o, "working_dir", p->working_dir);
    json_object_set_new(o, "files", strings_to_json(&p->files));
    json_object_set_new(o, "env_files", strings_to_json(&p->env_files));
    json_object_set_new(o, "disabled", strings_to_json(&p->disabled));
    return o;
}

int project_from_json(const json_t *j, struct project **out, struct err *err)
{
    const json_t *document = json_object_get(j, "document");
    if (!json_is_object(document))
        return err_set(err, ERR_INVALID, "malformed project: no document");
    struct arena *a = arena_new();
    struct project *p;
    if (project_decode(a, node_from_json(a, document), &p, err) < 0)
        return -1;
    p->working_dir = arena_strdup(a, jstr(j, "working_dir", "/"));
    p->files = strings_from_json(a, json_object_get(j, "files"));
    p->env_files = strings_from_json(a, json_object_get(j, "env_files"));
    p->disabled = strings_from_json(a, json_object_get(j, "disabled"));
    *out = p;
    return 0;
}
