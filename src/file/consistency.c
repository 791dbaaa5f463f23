#include <arpa/inet.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "file/rules.h"

struct checker {
    const struct pass *pass;
    const struct node *root, *services, *disabled;
    struct place at[2]; /* services.NAME */
    const char *name;
    const struct node *service;
};

#define report(c, mark, ...) pass_error((c)->pass, &(c)->at[1], (mark), __VA_ARGS__)

static const struct mark *mark_of(const struct node *n)
{
    return &n->mark;
}

static void suggest_key(const struct checker *c, const struct node *map, const char *word)
{
    struct closest near = {.word = word};
    for (size_t i = 0; node_is(map, NODE_MAPPING) && i < map->count; i++)
        closest_try(&near, map->pairs[i].key);
    diag_suggest(c->pass->diag, near.best);
}

static bool defined(const struct checker *c, const char *section, const char *what,
                    const struct node *ref, const char *name)
{
    const struct node *map = node_get(c->root, section);
    if (node_pair(map, name))
        return true;
    report(c, mark_of(ref), "undefined %s \"%s\"", what, name);
    suggest_key(c, map, name);
    return false;
}

static const char *service_reference(const char *s)
{
    return s && starts_with(s, "service:") ? s + strlen("service:") : NULL;
}

static void check_service_exists(const struct checker *c, const struct node *ref, const char *key,
                                 const char *name)
{
    if (node_pair(c->services, name))
        return;
    const struct node *off = node_get(c->disabled, name);
    if (off) {
        report(c, mark_of(ref), "%s: service \"%s\" is disabled by its profiles", key, name);
        diag_note(c->pass->diag, mark_of(off), "service \"%s\" is here", name);
        return;
    }
    report(c, mark_of(ref), "%s: undefined service \"%s\"", key, name);
    suggest_key(c, c->services, name);
}

static void check_build(const struct checker *c)
{
    const struct node *build = node_get(c->service, "build");
    if (!build)
        return;
    const struct node *in_line = node_get(build, "dockerfile_inline");
    if (in_line && node_get(build, "dockerfile"))
        report(c, mark_of(in_line), "build: dockerfile and dockerfile_inline exclude each other");
    const struct node *contexts = node_get(build, "additional_contexts");
    for (size_t i = 0; contexts && i < contexts->count; i++) {
        const struct node *n = contexts->pairs[i].value;
        const char *name = service_reference(node_str(n));
        const struct node *other = name ? node_get(c->services, name) : NULL;
        if (name && !other)
            check_service_exists(c, n, "build.additional_contexts", name);
        else if (other && !node_get(other, "build"))
            report(c, mark_of(n), "build.additional_contexts: service \"%s\" is not built", name);
    }
    const struct node *platforms = node_get(build, "platforms");
    const struct node *platform = node_get(c->service, "platform");
    bool found = !platforms || !platform;
    for (size_t i = 0; !found && i < platforms->count; i++)
        found = streq(platforms->items[i]->string, platform->string);
    if (!found)
        report(c, mark_of(platforms), "build.platforms must include the service's platform, %s",
               platform->string);
    const struct node *secrets = node_get(build, "secrets");
    for (size_t i = 0; secrets && i < secrets->count; i++) {
        const char *source = node_get_str(secrets->items[i], "source");
        defined(c, "secrets", "secret", secrets->items[i], source ? source : "");
    }
}

static void check_networks(const struct checker *c)
{
    const struct node *mode = node_get(c->service, "network_mode");
    const struct node *networks = node_get(c->service, "networks");
    if (mode && networks)
        report(c, mark_of(mode), "network_mode and networks exclude each other");
    for (size_t i = 0; networks && i < networks->count; i++) {
        const struct node_pair *pair = &networks->pairs[i];
        if (pair->value->implied)
            continue;
        if (starts_with(pair->key, "x-")) {
            report(c, &pair->key_mark,
                   "networks.%s: a key that begins with \"x-\" is an extension, not a network: "
                   "name the network otherwise",
                   pair->key);
            continue;
        }
        struct node ref = {.mark = pair->key_mark};
        defined(c, "networks", "network", &ref, pair->key);
    }
    const char *shared = service_reference(node_str(mode));
    if (shared && !node_pair(node_get(c->service, "depends_on"), shared) &&
        !node_pair(c->disabled, shared))
        check_service_exists(c, mode, "network_mode", shared);
}

static void check_probe_member(const struct checker *c, const struct node_pair *pair, bool http)
{
    const struct node *n = pair->value;
    struct sockaddr_storage address;
    if (streq(pair->key, "port"))
        return;
    if (streq(pair->key, "host")) {
        if (!node_str(n) || (inet_pton(AF_INET, n->string, &address) != 1 &&
                             inet_pton(AF_INET6, n->string, &address) != 1))
            report(c, mark_of(n), "x-healthcheck: host must be an IP address");
    } else if (http && streq(pair->key, "path")) {
        if (!node_str(n) || n->string[0] != '/' || strpbrk(n->string, " \t\r\n"))
            report(c, mark_of(n), "x-healthcheck: path must begin with \"/\" and have no spaces");
    } else {
        report(c, &pair->key_mark, "x-healthcheck: unknown key \"%s\"", pair->key);
    }
}

/* Ours: {tcp: PORT}, {http: PORT}, or with port, host and path. */
static void check_port_probe(const struct checker *c, const struct node *test)
{
    const struct node *probe = node_get(c->service, "x-healthcheck");
    if (!probe)
        return;
    const struct node_pair *one = node_is(probe, NODE_MAPPING) && probe->count == 1
                                      ? &probe->pairs[0]
                                      : NULL;
    if (!one || (!streq(one->key, "tcp") && !streq(one->key, "http"))) {
        report(c, mark_of(probe), "x-healthcheck must have one of tcp and http");
        return;
    }
    const struct node *n = one->value;
    const struct node *port = node_is(n, NODE_MAPPING) ? node_get(n, "port") : n;
    if (!node_is(port, NODE_INT) || port->integer < 1 || port->integer > 65535)
        report(c, mark_of(port ? port : n), "x-healthcheck: port must be 1 to 65535");
    for (size_t i = 0; node_is(n, NODE_MAPPING) && i < n->count; i++)
        check_probe_member(c, &n->pairs[i], streq(one->key, "http"));
    if (test)
        report(c, mark_of(probe), "x-healthcheck and healthcheck.test exclude each other");
}

/* Ours: true, a number of restarts, or {max_attempts: N}. */
static void check_restart_unhealthy(const struct checker *c)
{
    const struct node *n = node_get(c->service, "x-restart-unhealthy");
    const struct node *most = node_is(n, NODE_MAPPING) ? node_get(n, "max_attempts") : n;
    bool fine = node_is(most, NODE_INT) ? most->integer > 0 : most == n && node_is(n, NODE_BOOL);
    if (n && !fine)
        report(
            c, mark_of(n),
            "x-restart-unhealthy must be true, false, a number of restarts or {max_attempts: N}");
}

static void check_health(const struct checker *c)
{
    const struct node *test = node_get(node_get(c->service, "healthcheck"), "test");
    const char *first = node_is(test, NODE_SEQUENCE) ? test->items[0]->string : NULL;
    if (first && !streq(first, "CMD") && !streq(first, "CMD-SHELL") && !streq(first, "NONE"))
        report(c, mark_of(test->items[0]),
               "healthcheck.test must start with \"CMD\", \"CMD-SHELL\" or \"NONE\", not \"%s\"",
               first);
    check_port_probe(c, test);
}

static void check_dependencies(const struct checker *c)
{
    const struct node *all = node_get(c->service, "depends_on");
    for (size_t i = 0; all && i < all->count; i++) {
        const struct node_pair *pair = &all->pairs[i];
        const struct node *off = node_get(c->disabled, pair->key);
        if (node_pair(c->services, pair->key))
            continue;
        if (off && !node_get_bool(pair->value, "required", true))
            continue;
        if (!off) {
            report(c, &pair->key_mark, "depends on undefined service \"%s\"", pair->key);
            suggest_key(c, c->services, pair->key);
            continue;
        }
        struct strbuf list AUTOBUF = STRBUF_INIT;
        const struct node *profiles = node_get(off, "profiles");
        for (size_t j = 0; profiles && j < profiles->count; j++)
            strbuf_addf(&list, "%s%s", j ? ", " : "", profiles->items[j]->string);
        report(c, &pair->key_mark,
               "depends on service \"%s\", which is disabled: enable one of its profiles: %s",
               pair->key, list.buf);
    }
}

static void check_references(const struct checker *c)
{
    static const struct {
        const char *key, *what;
    } mounts[] = {{"configs", "config"}, {"secrets", "secret"}};
    const struct node *volumes = node_get(c->service, "volumes");
    for (size_t i = 0; volumes && i < volumes->count; i++) {
        const char *type = node_get_str(volumes->items[i], "type");
        const struct node *source = node_get(volumes->items[i], "source");
        if (type && streq(type, "volume") && node_str(source))
            defined(c, "volumes", "volume", source, source->string);
    }
    for (size_t k = 0; k < ARRAY_SIZE(mounts); k++) {
        const struct node *list = node_get(c->service, mounts[k].key);
        for (size_t i = 0; list && i < list->count; i++) {
            const char *source = node_get_str(list->items[i], "source");
            defined(c, mounts[k].key, mounts[k].what, list->items[i], source ? source : "");
        }
    }
    const struct node *models = node_get(c->service, "models");
    for (size_t i = 0; models && i < models->count; i++) {
        struct node ref = {.mark = models->pairs[i].key_mark};
        defined(c, "models", "model", &ref, models->pairs[i].key);
    }
}

static void check_scale(const struct checker *c)
{
    const struct node *scale = node_get(c->service, "scale");
    const struct node *replicas = node_get(node_get(c->service, "deploy"), "replicas");
    const struct node *name = node_get(c->service, "container_name");
    if (scale && replicas && scale->integer != replicas->integer)
        report(c, mark_of(scale), "scale and deploy.replicas differ: %lld and %lld",
               (long long)scale->integer, (long long)replicas->integer);
    if (scale && scale->integer < 0)
        report(c, mark_of(scale), "scale: must be at least 0");
    if (replicas && replicas->integer < 0)
        report(c, mark_of(replicas), "deploy.replicas: must be at least 0");
    const struct node *count = scale ? scale : replicas;
    if (name && count && count->integer > 1)
        report(c, mark_of(name),
               "container_name and %s exclude each other: container names are unique",
               scale ? "scale" : "deploy.replicas");
}

/* A limit must be the same at both places, where deploy.resources has that section at all. */
static void check_limits(const struct checker *c)
{
    static const struct {
        const char *key, *section, *deploy_key;
    } pairs[] = {
        {"cpus", "limits", "cpus"},
        {"mem_limit", "limits", "memory"},
        {"mem_reservation", "reservations", "memory"},
        {"pids_limit", "limits", "pids"},
    };
    const struct node *resources = node_get(node_get(c->service, "deploy"), "resources");
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        const struct node *n = node_get(c->service, pairs[i].key);
        const struct node *section = node_get(resources, pairs[i].section);
        const struct node *other = node_get(section, pairs[i].deploy_key);
        if (n && section && (!other || !node_equal(n, other)))
            report(c, mark_of(n), "%s and deploy.resources.%s.%s differ", pairs[i].key,
                   pairs[i].section, pairs[i].deploy_key);
    }
}

static void check_watch(const struct checker *c)
{
    const struct node *watch = node_get(node_get(c->service, "develop"), "watch");
    for (size_t i = 0; watch && i < watch->count; i++) {
        const struct node *rule = watch->items[i];
        const char *action = node_get_str(rule, "action");
        if (action && !node_get(rule, "target") && !streq(action, "rebuild") &&
            !streq(action, "restart"))
            report(c, mark_of(rule), "develop.watch[%zu]: %s needs a target", i, action);
    }
}

static void claim_target(const struct checker *c, struct map *seen, const char *target,
                         struct node *n)
{
    const struct node *before = map_set(seen, target, n);
    if (!before)
        return;
    report(c, mark_of(n), "%s is mounted twice", target);
    diag_note(c->pass->diag, mark_of(before), "first mounted here");
}

static void check_mounts(const struct checker *c)
{
    const struct node *tmpfs = node_get(c->service, "tmpfs");
    const struct node *volumes = node_get(c->service, "volumes");
    if (!tmpfs && (!volumes || volumes->count < 2))
        return;
    struct map seen AUTOMAP = MAP_INIT;
    for (size_t i = 0; tmpfs && i < tmpfs->count; i++) {
        struct node *n = tmpfs->items[i];
        claim_target(c, &seen, arena_strndup(c->pass->arena, n->string, strcspn(n->string, ":")),
                     n);
    }
    for (size_t i = 0; volumes && i < volumes->count; i++) {
        const char *target = node_get_str(volumes->items[i], "target");
        if (target)
            claim_target(c, &seen, target, volumes->items[i]);
    }
}

/* Of a faulty service some keys are gone: then only what is there is checked. */
static void check_one_service(const struct checker *c)
{
    const struct node *s = c->service;
    if (!s->faulty) {
        if (!node_get(s, "image") && !node_get(s, "build") && !node_get(s, "provider"))
            report(c, mark_of(s), "neither image nor build is given");
        check_scale(c);
        check_limits(c);
    }
    check_build(c);
    check_networks(c);
    check_health(c);
    check_restart_unhealthy(c);
    check_dependencies(c);
    check_references(c);
    check_watch(c);
    check_mounts(c);
}

static void check_container_names(struct checker *c)
{
    struct map seen AUTOMAP = MAP_INIT;
    for (size_t i = 0; i < c->services->count; i++) {
        struct node *name = node_get(c->services->pairs[i].value, "container_name");
        if (!node_str(name))
            continue;
        c->at[1].key = c->services->pairs[i].key;
        const struct node *before = map_set(&seen, name->string, name);
        if (!before)
            continue;
        report(c, mark_of(name), "container name \"%s\" is already in use", name->string);
        diag_note(c->pass->diag, mark_of(before), "first used here");
    }
}

enum { WHITE, GREY, BLACK }; /* not seen, on the way, done */

struct visit {
    struct checker *checker;
    char *color;
    size_t *way, *edge; /* the services on the way, and the next edge of each */
    size_t depth;
    bool found;
};

/* The cycle runs from the start-th service on the way to the last one and back. */
static void report_cycle(struct visit *v, size_t start)
{
    struct checker *c = v->checker;
    const struct node_pair *all = c->services->pairs;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    for (size_t i = start; i < v->depth; i++)
        strbuf_addf(&text, "%s -> ", all[v->way[i]].key);
    strbuf_addstr(&text, all[v->way[start]].key);
    for (size_t i = start; i < v->depth; i++) {
        const struct node_pair *from = &all[v->way[i]];
        const char *to = all[v->way[i + 1 < v->depth ? i + 1 : start]].key;
        const struct node_pair *edge = node_pair(node_get(from->value, "depends_on"), to);
        if (i == start)
            pass_error(c->pass, NULL, &edge->key_mark, "dependency cycle detected: %s", text.buf);
        else
            diag_note(c->pass->diag, &edge->key_mark, "\"%s\" depends on \"%s\" here", from->key,
                      to);
    }
    v->found = true;
}

/* The next service that the last one on the way depends on; NULL when all were looked at. */
static const struct node_pair *next_edge(struct visit *v)
{
    size_t i = v->way[v->depth - 1];
    const struct node *all = node_get(v->checker->services->pairs[i].value, "depends_on");
    if (!node_is(all, NODE_MAPPING) || v->edge[v->depth - 1] == all->count)
        return NULL;
    return &all->pairs[v->edge[v->depth - 1]++];
}

static void enter(struct visit *v, size_t i)
{
    v->color[i] = GREY;
    v->edge[v->depth] = 0;
    v->way[v->depth++] = i;
}

/* Without recursion: a chain may be as long as the project. */
static void search_cycle(struct visit *v, size_t start)
{
    const struct node *services = v->checker->services;
    enter(v, start);
    while (v->depth && !v->found) {
        const struct node_pair *edge = next_edge(v);
        if (!edge) {
            v->color[v->way[--v->depth]] = BLACK;
            continue;
        }
        const struct node_pair *next = node_pair(services, edge->key);
        size_t j = next ? (size_t)(next - services->pairs) : 0;
        if (next && v->color[j] == WHITE) {
            enter(v, j);
        } else if (next && v->color[j] == GREY) {
            size_t from = 0;
            while (v->way[from] != j)
                from++;
            report_cycle(v, from);
        }
    }
}

static void check_cycles(struct checker *c)
{
    struct arena *a = c->pass->arena;
    size_t n = c->services->count;
    struct visit v = {.checker = c,
                      .color = arena_array(a, char, n),
                      .way = arena_array(a, size_t, n),
                      .edge = arena_array(a, size_t, n)};
    for (size_t i = 0; i < n && !v.found; i++)
        if (v.color[i] == WHITE)
            search_cycle(&v, i);
}

static void check_secrets(const struct checker *c)
{
    const struct node *secrets = node_get(c->root, "secrets");
    for (size_t i = 0; node_is(secrets, NODE_MAPPING) && i < secrets->count; i++) {
        const struct node *n = secrets->pairs[i].value;
        if (n->faulty || node_get_bool(n, "external", false) || node_get(n, "file") ||
            node_get(n, "environment"))
            continue;
        struct place top = {.key = "secrets"}, at = {.up = &top, .key = secrets->pairs[i].key};
        pass_error(c->pass, &at, &n->mark, "either file or environment must be given");
    }
}

void rules_check_project(const struct pass *p, const struct node *root, const struct node *disabled)
{
    struct checker c = {
        .pass = p, .root = root, .services = node_get(root, "services"), .disabled = disabled};
    c.at[0] = (struct place){.key = "services"};
    c.at[1] = (struct place){.up = &c.at[0]};
    if (!node_is(c.services, NODE_MAPPING))
        return;
    for (size_t i = 0; i < c.services->count; i++) {
        c.name = c.at[1].key = c.services->pairs[i].key;
        c.service = c.services->pairs[i].value;
        if (c.service->kind == NODE_MAPPING)
            check_one_service(&c);
    }
    check_container_names(&c);
    check_secrets(&c);
    check_cycles(&c);
}
