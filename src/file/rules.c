#include "file/rules.h"

#include <string.h>

#include "base/mem.h"
#include "file/port_spec.h"

static void require_key(const struct pass *p, struct node *list, const char *key, const char *what,
                        const struct place *at)
{
    for (size_t i = 0; node_is(list, NODE_SEQUENCE) && i < list->count; i++) {
        struct node *item = list->items[i];
        struct place here = {.up = at, .index = i};
        if (item->kind != NODE_MAPPING || item->faulty || node_given(node_get(item, key)))
            continue;
        pass_error(p, &here, &item->mark, "%s: a %s needs a %s", place_inner_path(p->arena, &here),
                   what, key);
        item->faulty = true;
    }
}

static void check_ports(const struct pass *p, const struct node *ports, const struct place *at)
{
    for (size_t i = 0; node_is(ports, NODE_SEQUENCE) && i < ports->count; i++) {
        const struct node *ip = node_get(ports->items[i], "host_ip");
        if (node_str(ip) && !address_is_valid(ip->string))
            pass_error(p, at, &ip->mark, "invalid host_ip \"%s\": want an IP address", ip->string);
    }
}

static void check_requests(const struct pass *p, const struct node *requests,
                           const struct place *at)
{
    for (size_t i = 0; node_is(requests, NODE_SEQUENCE) && i < requests->count; i++) {
        const struct node *ids = node_get(requests->items[i], "device_ids");
        if (ids && node_get(requests->items[i], "count"))
            pass_error(p, at, &ids->mark, "%s: count and device_ids exclude each other",
                       place_inner_path(p->arena, at));
    }
}

static void check_contexts(const struct pass *p, const struct node *contexts,
                           const struct place *at)
{
    for (size_t i = 0; node_is(contexts, NODE_MAPPING) && i < contexts->count; i++) {
        const struct node_pair *pair = &contexts->pairs[i];
        if (!node_str(pair->value))
            pass_error(p, at, &pair->value->mark,
                       "build.additional_contexts.%s: want a string: a folder, a URL or another "
                       "source",
                       pair->key);
    }
}

static void check_service(const struct pass *p, struct node *service, const struct place *at)
{
    struct place here = {.up = at, .key = "volumes"};
    require_key(p, node_get(service, "volumes"), "target", "mount", &here);
    here.key = "devices";
    require_key(p, node_get(service, "devices"), "target", "device", &here);
    here.key = "ports";
    require_key(p, node_get(service, "ports"), "target", "port", &here);
    check_ports(p, node_get(service, "ports"), &here);
    check_contexts(p, node_get(node_get(service, "build"), "additional_contexts"), at);
    here.key = "gpus";
    check_requests(p, node_get(service, "gpus"), &here);
    here.key = "deploy.resources.reservations.devices";
    const struct node *resources = node_get(node_get(service, "deploy"), "resources");
    check_requests(p, node_get(node_get(resources, "reservations"), "devices"), &here);
    const struct node *watch = node_get(node_get(service, "develop"), "watch");
    for (size_t i = 0; node_is(watch, NODE_SEQUENCE) && i < watch->count; i++) {
        const struct node *path = node_get(watch->items[i], "path");
        if (node_str(path) && !*path->string)
            pass_error(p, at, &path->mark, "develop.watch[%zu].path: must not be empty", i);
    }
}

static void check_external_volume(const struct pass *p, const struct node *volume,
                                  const struct place *at)
{
    const struct node *external = node_get(volume, "external");
    if (!node_is(external, NODE_BOOL) || !external->boolean)
        return;
    for (size_t i = 0; i < volume->count; i++) {
        const char *key = volume->pairs[i].key;
        if (!streq(key, "name") && !streq(key, "external") && !starts_with(key, "x-"))
            pass_error(p, at, &volume->pairs[i].key_mark,
                       "\"external\" and \"%s\" exclude each other", key);
    }
}

/* keys: NULL-terminated sources of which exactly one is wanted. */
static void check_source(const struct pass *p, const struct node *object, const char *const *keys,
                         const char *list, const struct place *at)
{
    const struct node_pair *first = NULL;
    for (const char *const *key = keys; *key; key++) {
        const struct node_pair *pair = node_pair(object, *key);
        if (pair && first)
            pass_error(p, at, &pair->key_mark, "%s exclude each other", list);
        if (pair && !first)
            first = pair;
    }
    if (!first && !node_pair(object, "driver") && !node_pair(object, "external"))
        pass_error(p, at, &object->mark, "one of %s must be set", list);
}

void rules_check_values(const struct pass *p, struct node *root)
{
    static const char *const secret_keys[] = {"file", "environment", NULL};
    static const char *const config_keys[] = {"file", "environment", "content", NULL};
    static const char *const sections[] = {"services", "volumes", "secrets", "configs"};
    for (size_t s = 0; s < ARRAY_SIZE(sections); s++) {
        const struct node *section = node_get(root, sections[s]);
        struct place top = {.key = sections[s]};
        for (size_t i = 0; node_is(section, NODE_MAPPING) && i < section->count; i++) {
            struct node *n = section->pairs[i].value;
            struct place at = {.up = &top, .key = section->pairs[i].key};
            if (n->kind != NODE_MAPPING)
                continue;
            size_t errors = p->diag->errors;
            if (s == 0)
                check_service(p, n, &at);
            else if (s == 1)
                check_external_volume(p, n, &at);
            else if (!n->faulty)
                check_source(p, n, s == 2 ? secret_keys : config_keys,
                             s == 2 ? "file and environment" : "file, environment and content",
                             &at);
            n->faulty |= p->diag->errors > errors;
        }
    }
}
