#include "file/normalize.h"

#include <string.h>
#include <strings.h>

#include "base/fs.h"
#include "base/mem.h"

struct normal {
    struct arena *arena;
    const struct env *env;
    const char *project;
};

static struct node *implied(const struct normal *c, enum node_kind kind, struct mark mark)
{
    struct node *n = node_new(c->arena, kind, mark);
    n->implied = true;
    return n;
}

static struct node *implied_string(const struct normal *c, const char *s, struct mark mark)
{
    struct node *n = node_new_string(c->arena, s, mark);
    n->implied = true;
    return n;
}

static void put_implied(const struct normal *c, struct node *map, const char *key, const char *s)
{
    node_put(c->arena, map, key, implied_string(c, s, map->mark));
}

/* True where the service is on the default network. */
static bool join_default(const struct normal *c, struct node *service)
{
    if (node_pair(service, "provider") || node_pair(service, "network_mode"))
        return false;
    struct node *networks = node_get(service, "networks");
    if (node_is(networks, NODE_MAPPING) && networks->count)
        return node_pair(networks, "default");
    if (service->faulty && !networks)
        return false;
    struct mark mark = networks ? networks->mark : service->mark;
    networks = implied(c, NODE_MAPPING, mark);
    node_reserve(c->arena, networks, 1);
    node_put(c->arena, networks, "default", implied(c, NODE_NULL, mark));
    node_reserve(c->arena, service, (size_t)service->count + 1);
    node_put(c->arena, service, "networks", networks);
    return true;
}

static void normalize_networks(const struct normal *c, struct node *root)
{
    const struct node *services = node_get(root, "services");
    bool used = false;
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++)
        if (services->pairs[i].value->kind == NODE_MAPPING)
            used |= join_default(c, services->pairs[i].value);
    struct node *networks = node_get(root, "networks");
    if (!used || node_pair(networks, "default"))
        return;
    if (!node_is(networks, NODE_MAPPING)) {
        networks = implied(c, NODE_MAPPING, (struct mark){0});
        node_put(c->arena, root, "networks", networks);
    }
    node_put(c->arena, networks, "default", implied(c, NODE_NULL, (struct mark){0}));
}

/* Gives names without a value the environment's; keep: leave them where it has none either. */
static void resolve_values(const struct normal *c, struct node *n, bool keep)
{
    size_t kept = 0;
    if (node_is(n, NODE_MAPPING)) {
        for (size_t i = 0; i < n->count;) {
            struct node_pair *pair = &n->pairs[i];
            const char *value = pair->value->kind == NODE_NULL ? env_get(c->env, pair->key) : NULL;
            if (value)
                pair->value = node_new_string(c->arena, value, pair->value->mark);
            if (pair->value->kind == NODE_NULL && !keep)
                node_del_at(n, i);
            else
                i++;
        }
    } else if (node_is(n, NODE_SEQUENCE)) {
        for (size_t i = 0; i < n->count; i++) {
            struct node *item = n->items[i];
            bool bare = item->kind == NODE_STRING && !strchr(item->string, '=');
            const char *value = bare ? env_get(c->env, item->string) : NULL;
            if (value)
                item = node_new_string(
                    c->arena, arena_printf(c->arena, "%s=%s", item->string, value), item->mark);
            if (value || !bare || keep)
                n->items[kept++] = item;
        }
        n->count = kept;
    }
}

static void normalize_build(const struct normal *c, struct node *build)
{
    if (!node_is(build, NODE_MAPPING))
        return;
    if (!node_given(node_get(build, "context")))
        put_implied(c, build, "context", ".");
    if (!node_given(node_get(build, "dockerfile")) &&
        !node_given(node_get(build, "dockerfile_inline")))
        put_implied(c, build, "dockerfile", "Dockerfile");
    resolve_values(c, node_get(build, "args"), false);
}

static void add_dependency(const struct normal *c, struct node *service, const char *name,
                           bool restart, struct mark mark)
{
    struct node *all = node_get(service, "depends_on");
    if (!node_is(all, NODE_MAPPING)) {
        all = implied(c, NODE_MAPPING, mark);
        node_put(c->arena, service, "depends_on", all);
    }
    if (node_pair(all, name))
        return;
    struct node *dependency = implied(c, NODE_MAPPING, mark);
    node_put(c->arena, dependency, "condition", implied_string(c, "service_started", mark));
    node_put(c->arena, dependency, "restart", node_new_bool(c->arena, restart, mark));
    node_put(c->arena, dependency, "required", node_new_bool(c->arena, true, mark));
    node_put(c->arena, all, name, dependency);
}

static void imply_dependencies(const struct normal *c, struct node *service)
{
    static const char *const shared[] = {"network_mode", "ipc", "pid", "uts", "cgroup"};
    const struct node *links = node_get(service, "links");
    for (size_t i = 0; node_is(links, NODE_SEQUENCE) && i < links->count; i++) {
        const char *link = node_str(links->items[i]);
        const char *colon = link ? strchr(link, ':') : NULL;
        if (colon && !strchr(colon + 1, ':'))
            link = arena_strndup(c->arena, link, (size_t)(colon - link));
        if (link)
            add_dependency(c, service, link, true, links->items[i]->mark);
    }
    for (size_t i = 0; i < ARRAY_SIZE(shared); i++) {
        const struct node *n = node_get(service, shared[i]);
        if (node_str(n) && starts_with(n->string, "service:"))
            add_dependency(c, service, n->string + strlen("service:"), true, n->mark);
    }
    const struct node *from = node_get(service, "volumes_from");
    for (size_t i = 0; node_is(from, NODE_SEQUENCE) && i < from->count; i++) {
        const char *s = node_str(from->items[i]);
        if (s && !starts_with(s, "container:"))
            add_dependency(c, service, arena_strndup(c->arena, s, strcspn(s, ":")), false,
                           from->items[i]->mark);
    }
}

static void clean_targets(const struct normal *c, const struct node *volumes)
{
    for (size_t i = 0; node_is(volumes, NODE_SEQUENCE) && i < volumes->count; i++) {
        struct node *target = node_get(volumes->items[i], "target");
        if (!node_str(target))
            continue;
        char *clean AUTOFREE = path_clean(target->string);
        if (!streq(clean, target->string))
            target->string = arena_strdup(c->arena, clean);
    }
}

static void normalize_service(const struct normal *c, struct node *service)
{
    struct node *pull = node_get(service, "pull_policy");
    if (node_str(pull) && streq(pull->string, "if_not_present"))
        pull->string = "missing";
    normalize_build(c, node_get(service, "build"));
    resolve_values(c, node_get(service, "environment"), true);
    imply_dependencies(c, service);
    clean_targets(c, node_get(service, "volumes"));
}

static bool is_true(const struct node *n)
{
    if (node_is(n, NODE_BOOL))
        return n->boolean;
    const char *s = node_str(n);
    return s && (streq(s, "1") || streq(s, "t") || strcasecmp(s, "true") == 0);
}

static void name_resources(const struct normal *c, struct node *root)
{
    static const char *const sections[] = {"networks", "volumes", "configs", "secrets"};
    for (size_t s = 0; s < ARRAY_SIZE(sections); s++) {
        struct node *section = node_get(root, sections[s]);
        for (size_t i = 0; node_is(section, NODE_MAPPING) && i < section->count; i++) {
            struct node_pair *pair = &section->pairs[i];
            if (pair->value->kind == NODE_NULL)
                pair->value = implied(c, NODE_MAPPING, pair->key_mark);
            if (pair->value->kind != NODE_MAPPING || node_given(node_get(pair->value, "name")))
                continue;
            const char *name = is_true(node_get(pair->value, "external"))
                                   ? pair->key
                                   : arena_printf(c->arena, "%s_%s", c->project, pair->key);
            put_implied(c, pair->value, "name", name);
        }
    }
}

void normalize_document(const struct pass *p, struct node *root, const struct env *env,
                        const char *project)
{
    struct normal c = {.arena = p->arena, .env = env, .project = project};
    normalize_networks(&c, root);
    const struct node *services = node_get(root, "services");
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++)
        if (services->pairs[i].value->kind == NODE_MAPPING)
            normalize_service(&c, services->pairs[i].value);
    name_resources(&c, root);
}

void normalize_replicas(const struct pass *p, struct node *root)
{
    const struct node *services = node_get(root, "services");
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        const struct node *scale = node_get(services->pairs[i].value, "scale");
        struct node *deploy = node_get(services->pairs[i].value, "deploy");
        if (node_is(scale, NODE_INT) && node_is(deploy, NODE_MAPPING))
            node_put(p->arena, deploy, "replicas",
                     node_new_int(p->arena, scale->integer, scale->mark));
    }
}
