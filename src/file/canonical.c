#include "file/canonical.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "file/fields.h"
#include "file/merge.h"
#include "file/port_spec.h"
#include "file/volume_spec.h"

enum { PORTS_MAX = 100000 }; /* of a service, once its ranges are listed */

struct canonical {
    const struct pass *pass;
    struct arena *arena;
    bool lenient;
};

/* A text that cannot be read is no error while a variable in it may still make it right. */
static bool may_change(const struct canonical *c, const char *text)
{
    return c->lenient && strchr(text, '$');
}

static void put_string(const struct canonical *c, struct node *map, const char *key,
                       const char *value, const struct node *from)
{
    if (value && *value)
        node_put(c->arena, map, key, node_new_string(c->arena, value, from->mark));
}

static struct node *new_mapping(const struct canonical *c, const struct node *from)
{
    return node_new(c->arena, NODE_MAPPING, from->mark);
}

static struct node *single(const struct canonical *c, struct node *n)
{
    struct node *seq = node_new(c->arena, NODE_SEQUENCE, n->mark);
    node_append(c->arena, seq, n);
    return seq;
}

/* "cpus" as {"context": "cpus"} and the like. */
static struct node *wrap(const struct canonical *c, struct node *n, const char *key)
{
    if (n->kind != NODE_STRING)
        return n;
    struct node *map = new_mapping(c, n);
    node_put(c->arena, map, key, n);
    return map;
}

static struct node *key_values(const struct canonical *c, struct node *n, const struct place *at)
{
    if (n->kind != NODE_SEQUENCE)
        return n;
    struct node *map = new_mapping(c, n);
    for (size_t i = 0; i < n->count; i++) {
        struct node *item = n->items[i];
        const char *s = node_str(item), *eq = s ? strchr(s, '=') : NULL;
        if (!eq) {
            if (!c->lenient && s)
                pass_error(c->pass, at, &item->mark, "%s: invalid value \"%s\": want NAME=VALUE",
                           place_inner_path(c->arena, at), s);
            if (c->lenient)
                return n;
            continue;
        }
        node_put(c->arena, map, arena_strndup(c->arena, s, (size_t)(eq - s)),
                 node_new_string(c->arena, eq + 1, item->mark));
    }
    return map;
}

static struct node *names(const struct canonical *c, struct node *n)
{
    if (n->kind != NODE_SEQUENCE)
        return n;
    struct node *map = new_mapping(c, n);
    for (size_t i = 0; i < n->count; i++)
        if (n->items[i]->kind == NODE_STRING)
            node_put(c->arena, map, n->items[i]->string,
                     node_new(c->arena, NODE_NULL, n->items[i]->mark));
    return map;
}

static void fill_dependency(const struct canonical *c, struct node *map)
{
    node_reserve(c->arena, map, (size_t)map->count + 2);
    if (!node_get(map, "condition"))
        put_string(c, map, "condition", "service_started", map);
    if (!node_get(map, "required"))
        node_put(c->arena, map, "required", node_new_bool(c->arena, true, map->mark));
}

static struct node *depends_on(const struct canonical *c, struct node *n)
{
    struct node *map = n;
    if (n->kind == NODE_SEQUENCE) {
        map = new_mapping(c, n);
        node_reserve(c->arena, map, n->count);
        for (size_t i = 0; i < n->count; i++)
            if (n->items[i]->kind == NODE_STRING)
                node_put(c->arena, map, n->items[i]->string, new_mapping(c, n->items[i]));
    }
    for (size_t i = 0; map->kind == NODE_MAPPING && i < map->count; i++)
        if (map->pairs[i].value->kind == NODE_MAPPING)
            fill_dependency(c, map->pairs[i].value);
    return map;
}

static struct node *env_files(const struct canonical *c, struct node *n)
{
    struct node *seq = n->kind == NODE_STRING ? single(c, n) : n;
    for (size_t i = 0; seq->kind == NODE_SEQUENCE && i < seq->count; i++) {
        struct node *item = seq->items[i] = wrap(c, seq->items[i], "path");
        if (item->kind == NODE_MAPPING && !node_get(item, "required"))
            node_put(c->arena, item, "required", node_new_bool(c->arena, true, item->mark));
    }
    return seq;
}

static struct node *gpus(const struct canonical *c, struct node *n)
{
    if (n->kind != NODE_STRING)
        return n;
    struct node *request = new_mapping(c, n);
    put_string(c, request, "count", "all", n);
    return single(c, request);
}

static struct node *device(const struct canonical *c, struct node *n, const struct place *at)
{
    if (n->kind != NODE_STRING)
        return n;
    const char *part[3] = {"", "", ""};
    size_t parts = 0;
    for (const char *p = n->string;; p++) {
        size_t len = strcspn(p, ":");
        if (parts == 3) {
            if (!c->lenient)
                pass_error(c->pass, at, &n->mark,
                           "confusing device mapping \"%s\": use the long form", n->string);
            return c->lenient ? n : new_mapping(c, n);
        }
        part[parts++] = arena_strndup(c->arena, p, len);
        p += len;
        if (!*p)
            break;
    }
    struct node *map = new_mapping(c, n);
    put_string(c, map, "source", part[0], n);
    if (!*n->string) /* a variable that is empty: no device, but no fault either */
        node_put(c->arena, map, "target", n);
    put_string(c, map, "target", *part[1] ? part[1] : part[0], n);
    put_string(c, map, "permissions", parts == 3 ? part[2] : "rwm", n);
    return map;
}

/* Go's path.Clean on the path of a container. */
static const char *clean_path(struct arena *a, const char *path)
{
    char *clean AUTOFREE = path_clean(path);
    return arena_strdup(a, clean);
}

static struct node *volume(const struct canonical *c, struct node *n, const struct place *at)
{
    if (n->kind != NODE_STRING)
        return n;
    struct volume_spec v;
    const char *wrong = volume_spec_parse(c->arena, n->string, &v);
    if (wrong) {
        if (may_change(c, n->string))
            return n;
        pass_error(c->pass, at, &n->mark, "invalid volume \"%s\": %s", n->string, wrong);
        n->faulty = true;
        return n;
    }
    struct node *map = new_mapping(c, n);
    node_reserve(c->arena, map, v.read_only ? 5 : 4);
    put_string(c, map, "type", v.bind ? "bind" : "volume", n);
    put_string(c, map, "source", v.source, n);
    if (v.target)
        put_string(c, map, "target", clean_path(c->arena, v.target), n);
    if (v.read_only)
        node_put(c->arena, map, "read_only", node_new_bool(c->arena, true, n->mark));
    if (v.bind || v.propagation || v.selinux) {
        struct node *bind = new_mapping(c, n);
        node_reserve(c->arena, bind, 1);
        put_string(c, bind, "selinux", v.selinux, n);
        put_string(c, bind, "propagation", v.propagation, n);
        if (v.bind)
            node_put(c->arena, bind, "create_host_path", node_new_bool(c->arena, true, n->mark));
        node_put(c->arena, map, "bind", bind);
    }
    if ((!v.bind && !v.brief) || v.nocopy) {
        struct node *options = new_mapping(c, n);
        if (v.nocopy)
            node_put(c->arena, options, "nocopy", node_new_bool(c->arena, true, n->mark));
        node_put(c->arena, map, "volume", options);
    }
    return map;
}

static struct node *port_mapping(const struct canonical *c, const struct node *from,
                                 const struct port_spec *spec, unsigned i)
{
    struct node *map = new_mapping(c, from);
    node_reserve(c->arena, map, spec->address && *spec->address ? 5 : 4);
    put_string(c, map, "mode", "ingress", from);
    put_string(c, map, "host_ip", spec->address, from);
    if (spec->first + i)
        node_put(c->arena, map, "target",
                 node_new_int(c->arena, (int64_t)spec->first + i, from->mark));
    const char *published = "";
    if (spec->published && spec->first == spec->last && spec->host_first != spec->host_last)
        published = arena_printf(c->arena, "%u-%u", spec->host_first, spec->host_last);
    else if (spec->published)
        published = arena_printf(c->arena, "%u", spec->host_first + i);
    put_string(c, map, "published", published, from);
    put_string(c, map, "protocol", spec->protocol, from);
    return map;
}

static int compare_target_text(const void *a, const void *b)
{
    const struct node *x = node_get(*(struct node *const *)a, "target");
    const struct node *y = node_get(*(struct node *const *)b, "target");
    char s[24], t[24];
    snprintf(s, sizeof(s), "%lld", (long long)(x ? x->integer : 0));
    snprintf(t, sizeof(t), "%lld", (long long)(y ? y->integer : 0));
    return strcmp(s, t);
}

static void add_ports(const struct canonical *c, struct node *out, struct node *n,
                      const struct place *at, bool *unread)
{
    const char *text = n->kind == NODE_SEQUENCE ? "a list" : node_text(c->arena, n);
    struct port_spec spec;
    bool odd = n->kind == NODE_FLOAT || n->kind == NODE_SEQUENCE;
    const char *wrong = odd ? "want an integer or a string"
                            : port_spec_parse(c->arena, text, &spec);
    if (wrong) {
        *unread = true;
        if (!c->lenient || odd)
            pass_error(c->pass, at, &n->mark, "invalid port \"%s\": %s", text, wrong);
        return;
    }
    size_t before = out->count;
    if (before + (spec.last - spec.first) >= PORTS_MAX) {
        pass_error(c->pass, at, &n->mark, "more than %d published ports", PORTS_MAX);
        *unread = true;
        return;
    }
    for (unsigned i = 0; i <= (unsigned)(spec.last - spec.first); i++)
        node_append(c->arena, out, port_mapping(c, n, &spec, i));
    /* A range is listed in the order of its numbers as texts: 10, 11, 9. */
    qsort(out->items + before, out->count - before, sizeof(*out->items), compare_target_text);
}

static struct node *ports(const struct canonical *c, struct node *n, const struct place *at)
{
    if (n->kind != NODE_SEQUENCE)
        return n;
    struct node *out = node_new(c->arena, NODE_SEQUENCE, n->mark);
    node_reserve(c->arena, out, n->count);
    out->faulty = n->faulty;
    bool unread = false;
    for (size_t i = 0; i < n->count; i++) {
        struct place here = {.up = at, .index = i};
        struct node *item = n->items[i];
        if (item->kind == NODE_MAPPING)
            node_append(c->arena, out, item);
        else
            add_ports(c, out, item, &here, &unread);
    }
    if (unread)
        n->faulty = out->faulty = !c->lenient;
    return unread && c->lenient ? n : out;
}

static struct node *ssh_keys(const struct canonical *c, struct node *n, const struct place *at)
{
    if (n->kind != NODE_SEQUENCE)
        return n;
    struct node *map = new_mapping(c, n);
    for (size_t i = 0; i < n->count; i++) {
        struct node *item = n->items[i];
        const char *s = node_str(item), *eq = s ? strchr(s, '=') : NULL;
        if (eq)
            node_put(c->arena, map, arena_strndup(c->arena, s, (size_t)(eq - s)),
                     node_new_string(c->arena, eq + 1, item->mark));
        else if (s && streq(s, "default"))
            node_put(c->arena, map, s, node_new(c->arena, NODE_NULL, item->mark));
        else if (s)
            pass_error(c->pass, at, &item->mark, "invalid ssh key \"%s\": want ID=PATH", s);
    }
    return map;
}

/* external: {name: X} is an old way to write external: true, name: X. */
static void external(const struct canonical *c, struct node *n, const struct place *at)
{
    struct node_pair *pair = node_pair(n, "external");
    if (!pair || pair->value->kind != NODE_MAPPING)
        return;
    struct node *old = node_get(pair->value, "name");
    const char *name = node_get_str(n, "name");
    struct mark mark = pair->value->mark;
    pair->value = node_new_bool(c->arena, true, mark);
    if (!old)
        return;
    pass_warning(c->pass, at, &mark, "external.name is deprecated: set name and external: true");
    if (!name)
        node_put(c->arena, n, "name", old);
    else if (!node_str(old) || !streq(name, old->string))
        pass_error(c->pass, at, &old->mark, "name and external.name conflict: only use name");
}

static void canonical_members(const struct canonical *c, struct node *map,
                              const struct object *object, bool named, const struct place *at);

static void each_item(const struct canonical *c, struct node *n, const struct place *at,
                      struct node *(*change)(const struct canonical *, struct node *,
                                             const struct place *))
{
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++) {
        struct place here = {.up = at, .index = i};
        n->items[i] = change(c, n->items[i], &here);
    }
}

static struct node *file_mount(const struct canonical *c, struct node *n, const struct place *at)
{
    (void)at;
    return wrap(c, n, "source");
}

static struct node *change(const struct canonical *c, const struct field *f, struct node *n,
                           const struct place *at)
{
    switch ((enum field_canonical)f->canonical) {
    case CANONICAL_NONE:
        return n;
    case CANONICAL_BUILD:
        return wrap(c, n, "context");
    case CANONICAL_TEXT:
        return node_text(c->arena, n) && n->kind != NODE_STRING
                   ? node_new_string(c->arena, node_text(c->arena, n), n->mark)
                   : n;
    case CANONICAL_KEY_VALUE:
        return key_values(c, n, at);
    case CANONICAL_LIST:
        return n->kind == NODE_STRING ? single(c, n) : n;
    case CANONICAL_DEPENDS_ON:
        return depends_on(c, n);
    case CANONICAL_ENV_FILE:
        return env_files(c, n);
    case CANONICAL_EXTENDS:
        return wrap(c, n, "service");
    case CANONICAL_GPUS:
        return gpus(c, n);
    case CANONICAL_NAMES:
        return names(c, n);
    case CANONICAL_VOLUMES:
        each_item(c, n, at, volume);
        return n;
    case CANONICAL_DEVICES:
        each_item(c, n, at, device);
        return n;
    case CANONICAL_FILE_MOUNTS:
        each_item(c, n, at, file_mount);
        return n;
    case CANONICAL_PORTS:
        return ports(c, n, at);
    case CANONICAL_SSH:
        return ssh_keys(c, n, at);
    case CANONICAL_ULIMITS:
        return n;
    case CANONICAL_EXTERNAL:
        for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++) {
            struct place here = {.up = at, .key = n->pairs[i].key};
            external(c, n->pairs[i].value, &here);
        }
        return n;
    }
    return n;
}

/* An empty name server is none. */
static void drop_empty(struct node *n)
{
    size_t kept = 0;
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++)
        if (n->items[i]->kind != NODE_NULL &&
            !(n->items[i]->kind == NODE_STRING && !*n->items[i]->string))
            n->items[kept++] = n->items[i];
    if (n->kind == NODE_SEQUENCE)
        n->count = kept;
}

static void canonical_value(const struct canonical *c, struct node *n, const struct field *f,
                            const struct place *at)
{
    if (!f->object)
        return;
    if (n->kind == NODE_MAPPING)
        canonical_members(c, n, f->object, f->type == TYPE_OBJECT_MAP, at);
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++) {
        struct place here = {.up = at, .index = i};
        if (n->items[i]->kind == NODE_MAPPING)
            canonical_members(c, n->items[i], f->object, false, &here);
    }
}

static void canonical_members(const struct canonical *c, struct node *map,
                              const struct object *object, bool named, const struct place *at)
{
    for (size_t i = 0; i < map->count; i++) {
        struct node_pair *pair = &map->pairs[i];
        struct place here = {.up = at, .key = pair->key};
        if (named) {
            if (pair->value->kind == NODE_MAPPING) {
                canonical_members(c, pair->value, object, false, &here);
                map->faulty |= pair->value->faulty;
            }
            continue;
        }
        const struct field *f = field_of(object, pair);
        if (!f)
            continue;
        pair->value = change(c, f, pair->value, &here);
        canonical_value(c, pair->value, f, &here);
        if (streq(f->name, "dns") && object == &service_object)
            drop_empty(pair->value);
        map->faulty |= pair->value->faulty;
    }
}

void canonical_document(const struct pass *p, struct node *root, bool lenient)
{
    struct canonical c = {.pass = p, .arena = p->arena, .lenient = lenient};
    canonical_members(&c, root, &root_object, false, NULL);
}

static void put_default(struct arena *a, struct node *map, const char *key, const char *value)
{
    if (node_get(map, key))
        return;
    struct node *n = node_new_string(a, value, map->mark);
    n->implied = true;
    node_put(a, map, key, n);
}

static void request_defaults(struct arena *a, struct node *requests)
{
    for (size_t i = 0; node_is(requests, NODE_SEQUENCE) && i < requests->count; i++) {
        struct node *request = requests->items[i];
        if (request->kind == NODE_MAPPING && !node_get(request, "count") &&
            !node_get(request, "device_ids"))
            put_default(a, request, "count", "all");
    }
}

static void service_defaults(struct arena *a, struct node *service)
{
    struct node *build = node_get(service, "build"), *secrets = node_get(service, "secrets");
    struct node *published = node_get(service, "ports");
    if (node_is(build, NODE_MAPPING))
        put_default(a, build, "context", ".");
    for (size_t i = 0; node_is(secrets, NODE_SEQUENCE) && i < secrets->count; i++) {
        struct node *secret = secrets->items[i];
        if (secret->kind == NODE_MAPPING) {
            const char *source = node_get_str(secret, "source");
            put_default(a, secret, "target",
                        arena_printf(a, "/run/secrets/%s", source ? source : ""));
        }
    }
    for (size_t i = 0; node_is(published, NODE_SEQUENCE) && i < published->count; i++) {
        if (published->items[i]->kind != NODE_MAPPING)
            continue;
        put_default(a, published->items[i], "protocol", "tcp");
        put_default(a, published->items[i], "mode", "ingress");
    }
    const struct node *deploy = node_get(service, "deploy");
    const struct node *reservations = node_get(node_get(deploy, "resources"), "reservations");
    request_defaults(a, node_get(reservations, "devices"));
    request_defaults(a, node_get(service, "gpus"));
}

void canonical_defaults(const struct pass *p, struct node *root)
{
    const struct node *services = node_get(root, "services");
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++)
        if (services->pairs[i].value->kind == NODE_MAPPING)
            service_defaults(p->arena, services->pairs[i].value);
}
