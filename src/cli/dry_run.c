#include "cli/dry_run.h"

#include "base/mem.h"
#include "base/strbuf.h"
#include "cli/containers.h"
#include "cli/progress.h"
#include "model/decode.h"
#include "model/graph.h"
#include "model/node_json.h"
#include "net/network.h"
#include "volume/volume.h"

/* ---- differences */

struct differences {
    struct strbuf text;
    size_t n;
};

enum { SHOWN = 3 };

static void add_difference(struct differences *d, const char *path)
{
    if (d->n++ < SHOWN)
        strbuf_addf(&d->text, "%s%s", d->text.len ? ", " : "", path);
}

static void compare(struct differences *d, const char *path, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;
    if (json_equal(a, b))
        return;
    if (json_is_object(a) && json_is_object(b)) {
        json_object_foreach ((json_t *)a, key, value) {
            char *inner AUTOFREE = xasprintf("%s%s%s", path, *path ? "." : "", key);
            compare(d, inner, value, json_object_get(b, key));
        }
        json_object_foreach ((json_t *)b, key, value) {
            char *inner AUTOFREE = xasprintf("%s%s%s", path, *path ? "." : "", key);
            if (!json_object_get(a, key))
                add_difference(d, inner);
        }
    } else if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (size_t i = 0; i < json_array_size(a); i++) {
            char *inner AUTOFREE = xasprintf("%s[%zu]", path, i);
            compare(d, inner, json_array_get(a, i), json_array_get(b, i));
        }
    } else {
        add_difference(d, path);
    }
}

char *json_differences(const json_t *before, const json_t *after)
{
    struct differences d = {.text = STRBUF_INIT};
    compare(&d, "", before, after);
    if (d.n > SHOWN)
        strbuf_addf(&d.text, " and %zu more", d.n - SHOWN);
    return strbuf_detach(&d.text);
}

/* ---- the plan */

struct plan {
    struct cli *cli;
    const json_t *request, *options;
    const char *name;
    struct project *project; /* NULL: the request has none */
    struct container_list list;
    struct progress progress;
};

static void show(struct plan *p, const char *kind, const char *name, const char *begin,
                 const char *end, const char *detail)
{
    char *id AUTOFREE = xasprintf("%s %s", kind, name);
    char *status AUTOFREE = detail ? xasprintf("%s (%s)", begin, detail) : xstrdup(begin);
    if (end)
        progress_event(&p->progress, &(struct progress_event){.id = id, .status = status});
    progress_event(
        &p->progress,
        &(struct progress_event){.id = id, .status = end ? end : status, .state = PROGRESS_DONE});
}

static bool flag(const struct plan *p, const char *name)
{
    return jbool(p->options, name, false);
}

static bool is_wanted(const struct plan *p, const struct container_record *c)
{
    const json_t *services = json_object_get(p->request, "services");
    size_t i;
    json_t *one;
    json_array_foreach (services, i, one) {
        if (streq(json_string_value(one), c->service))
            return true;
    }
    return !json_array_size(services);
}

static void plan_networks(struct plan *p, bool make)
{
    for (size_t i = 0; i < p->project->networks_n; i++) {
        const struct network *n = &p->project->networks[i];
        struct network_state *state = NULL;
        bool have = network_load(&p->cli->paths, n->name, &state, NULL) == 0;
        network_state_free(state);
        if (!n->external && make && !have)
            show(p, "Network", n->name, "Creating", "Created", NULL);
        else if (!n->external && !make && have)
            show(p, "Network", n->name, "Removing", "Removed", NULL);
    }
}

static void plan_volumes(struct plan *p, bool make)
{
    for (size_t i = 0; i < p->project->volumes_n; i++) {
        const struct volume *v = &p->project->volumes[i];
        struct volume_state state = {0};
        bool have = volume_load(&p->cli->paths, v->name, &state, NULL) == 0;
        if (have)
            volume_state_release(&state);
        if (!v->external && make && !have)
            show(p, "Volume", v->name, "Creating", "Created", NULL);
        else if (!v->external && !make && have)
            show(p, "Volume", v->name, "Removing", "Removed", NULL);
    }
}

/* Why the container would be made anew, NULL: it would not. Heap. */
static char *recreate_reason(const struct plan *p, const struct service *s,
                             const struct container_record *c)
{
    if (flag(p, "no_recreate"))
        return NULL;
    if (flag(p, "force_recreate"))
        return xstrdup("forced");
    char *hash AUTOFREE = service_config_hash(p->project, s);
    if (c->config_hash && streq(hash, c->config_hash))
        return NULL;
    json_t *now AUTOJSON = node_to_json(s->node);
    char *where AUTOFREE = json_differences(container_section(c), now);
    return *where ? xasprintf("its configuration changed: %s", where)
                  : xstrdup("its configuration changed");
}

static struct container_record *find_replica(struct plan *p, const char *service, int number)
{
    for (size_t i = 0; i < p->list.n; i++) {
        struct container_record *c = &p->list.v[i];
        if (!c->oneoff && c->number == number && streq(c->service, service))
            return c;
    }
    return NULL;
}

static void plan_replica(struct plan *p, const struct service *s, int number)
{
    const struct container_record *c = find_replica(p, s->name, number);
    char *fresh AUTOFREE = s->container_name ? xstrdup(s->container_name)
                                             : xasprintf("%s-%s-%d", p->name, s->name, number);
    const char *name = c ? c->name : fresh;
    char *why AUTOFREE = c ? recreate_reason(p, s, c) : NULL;
    bool start = !flag(p, "no_start") && !streq(jstr(p->request, "op", ""), "create");
    if (!c)
        show(p, "Container", name, "Creating", "Created", NULL);
    else if (why)
        show(p, "Container", name, "Recreate", "Recreated", why);
    else if (container_is_up(c))
        show(p, "Container", name, "Running", NULL, NULL);
    if (start && (!c || why || !container_is_up(c)))
        show(p, "Container", name, "Starting", "Started", NULL);
}

static void remove_container(struct plan *p, const struct container_record *c)
{
    show(p, "Container", c->name, "Stopping", "Stopped", NULL);
    show(p, "Container", c->name, "Removing", "Removed", NULL);
}

static int plan_up(struct plan *p, struct err *err)
{
    struct graph g;
    char **names AUTOSTRV = jarray_to_strv(json_object_get(p->request, "services"));
    const struct strings wanted = {(const char **)names, strv_len((const char *const *)names)};
    if (graph_init(&g, p->project, err) < 0)
        return -1;
    bool *selected AUTOFREE = xcalloc(g.n + 1, sizeof(*selected));
    int rc = graph_select(&g, &wanted, !flag(p, "no_deps"), selected, err);
    if (rc == 0) {
        plan_networks(p, true);
        plan_volumes(p, true);
    }
    for (size_t i = 0; i < p->list.n && rc == 0; i++) {
        const struct container_record *c = &p->list.v[i];
        const struct service *s = project_service(p->project, c->service);
        int64_t replicas = s ? jint(json_object_get(p->options, "scale"), s->name, s->scale) : 0;
        if (!c->oneoff && (s ? c->number > replicas && selected[s - p->project->services]
                             : flag(p, "remove_orphans")))
            remove_container(p, c);
    }
    for (size_t i = 0; i < g.n && rc == 0; i++) {
        const struct service *s = g.nodes[g.order[i]].service;
        int64_t replicas = jint(json_object_get(p->options, "scale"), s->name, s->scale);
        for (int n = 1; selected[g.order[i]] && n <= replicas; n++)
            plan_replica(p, s, n);
    }
    graph_release(&g);
    return rc;
}

static void plan_down(struct plan *p)
{
    for (size_t i = 0; i < p->list.n; i++) {
        const struct container_record *c = &p->list.v[i];
        bool known = !p->project || project_service(p->project, c->service) || c->oneoff;
        if (is_wanted(p, c) && (known || flag(p, "remove_orphans")))
            remove_container(p, c);
    }
    if (json_array_size(json_object_get(p->request, "services")) || !p->project)
        return;
    plan_networks(p, false);
    if (flag(p, "volumes"))
        plan_volumes(p, false);
}

/* Verbs that do one thing to each container. */
static const struct verb {
    const char *op, *begin, *end;
    bool running; /* concerns those that are up, else those that are not */
} verbs[] = {
    {"start", "Starting", "Started", false},    {"stop", "Stopping", "Stopped", true},
    {"restart", "Restarting", "Started", true}, {"kill", "Killing", "Killed", true},
    {"rm", "Removing", "Removed", false},       {"pause", "Pausing", "Paused", true},
    {"unpause", "Unpausing", "Unpaused", true},
};

static void plan_verb(struct plan *p, const struct verb *v)
{
    for (size_t i = 0; i < p->list.n; i++) {
        const struct container_record *c = &p->list.v[i];
        bool up = container_is_up(c), forced = flag(p, "stop");
        if (!is_wanted(p, c) || (up != v->running && !(forced && up)))
            continue;
        if (forced && up)
            show(p, "Container", c->name, "Stopping", "Stopped", NULL);
        show(p, "Container", c->name, v->begin, v->end, NULL);
    }
}

static int plan_request(struct plan *p, struct err *err)
{
    const char *op = jstr(p->request, "op", "");
    if (streq(op, "up") || streq(op, "create"))
        return plan_up(p, err);
    if (streq(op, "down"))
        plan_down(p);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (streq(op, verbs[i].op))
            plan_verb(p, &verbs[i]);
    }
    return 0;
}

int dry_run_show(struct cli *cli, const char *project, const json_t *request, const char *title,
                 struct err *err)
{
    struct plan p = {.cli = cli,
                     .request = request,
                     .options = json_object_get(request, "options"),
                     .name = project};
    const json_t *json = json_object_get(request, "project");
    if (json && project_from_json(json, &p.project, err) < 0)
        return -1;
    int rc = containers_read(cli, project, &p.list, err);
    if (rc == 0) {
        progress_init(&p.progress, cli, title);
        rc = plan_request(&p, err);
        progress_flush(&p.progress);
        progress_release(&p.progress);
    }
    container_list_release(&p.list);
    project_free(p.project);
    return rc;
}
