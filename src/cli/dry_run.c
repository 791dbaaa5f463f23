#include "cli/dry_run.h"

#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "cli/reasons.h"
#include "engine/pre_start.h"
#include "model/decode.h"
#include "net/network.h"
#include "volume/volume.h"

void rehearse(struct rehearsal *r, const char *kind, const char *name, const char *begin,
              const char *end, const json_t *reasons)
{
    char *id AUTOFREE = xasprintf("%s %s", kind, name);
    json_t *why AUTOJSON = reasons_resolve(reasons, r->progress.project);
    struct progress_event e = {.id = id, .status = begin, .reasons = why};
    if (begin)
        progress_event(&r->progress, &e);
    if (end)
        progress_event(&r->progress, &(struct progress_event){.id = id,
                                                              .status = end,
                                                              .state = PROGRESS_DONE,
                                                              .reasons = begin ? NULL : why});
}

bool rehearsal_flag(const struct rehearsal *r, const char *name)
{
    return jbool(r->options, name, false);
}

void rehearse_removal(struct rehearsal *r, const struct container_record *c, bool says_stopping)
{
    if (says_stopping || container_is_up(c))
        rehearse(r, "Container", c->name, "Stopping", "Stopped", NULL);
    rehearse(r, "Container", c->name, "Removing", "Removed", NULL);
}

/* --- who depends on whom, as the labels say: there may be no file --- */

/* Does "db:service_started:true,..." name the service? restart: only where it says true. */
static bool label_names(const char *label, const char *service, bool restart)
{
    size_t n = strlen(service);
    while (*label) {
        size_t len = strcspn(label, ",");
        bool named = strncmp(label, service, n) == 0 && label[n] == ':';
        if (named && (!restart || (len >= 5 && strncmp(label + len - 5, ":true", 5) == 0)))
            return true;
        label += len + (label[len] == ',');
    }
    return false;
}

static bool depends_on(const struct container_record *c, const struct container_record *on,
                       bool restart)
{
    return !c->oneoff &&
           label_names(jstr(c->labels, "com.docker.compose.depends_on", ""), on->service, restart);
}

typedef VEC(const struct container_record *) record_list;

/* Is something still to come that this one has to wait for? */
static bool must_wait(const record_list *l, const struct container_record *c, bool dependents_first)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i] != c &&
            (dependents_first ? depends_on(l->v[i], c, false) : depends_on(c, l->v[i], false)))
            return true;
    return false;
}

/* Takes the next one out of the list, which is not empty. */
static const struct container_record *take_next(record_list *l, bool dependents_first)
{
    size_t at = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!must_wait(l, l->v[i], dependents_first)) {
            at = i;
            break;
        }
    const struct container_record *c = l->v[at];
    vec_remove(l, at);
    return c;
}

/* --- verbs that do one thing to each container --- */

static bool is_wanted(const struct rehearsal *r, const struct container_record *c)
{
    const json_t *services = json_object_get(r->request, "services");
    size_t i;
    json_t *one;
    json_array_foreach (services, i, one) {
        if (streq(json_string_value(one), c->service))
            return true;
    }
    return !json_array_size(services) && (!r->project || project_service(r->project, c->service) ||
                                          rehearsal_flag(r, "remove_orphans"));
}

enum concern { RUNNING = 1, STOPPED = 2, ONEOFFS = 4 };

static const struct verb {
    const char *op, *begin, *end;
    int concerns;
    bool dependents_first;
} verbs[] = {
    {"start", "Starting", "Started", STOPPED, false},
    {"stop", "Stopping", "Stopped", RUNNING, true},
    {"restart", "Restarting", "Started", RUNNING | STOPPED, false},
    {"kill", "Killing", "Killed", RUNNING | ONEOFFS, true},
    {"rm", "Removing", "Removed", STOPPED, true},
    {"pause", "Pausing", "Paused", RUNNING, true},
    {"unpause", "Unpausing", "Unpaused", RUNNING, false},
};

static bool is_concerned(const struct rehearsal *r, const struct verb *v,
                         const struct container_record *c)
{
    int state = container_is_up(c) ? RUNNING : STOPPED;
    bool paused = c->status == CONTAINER_PAUSED;
    if (c->oneoff && !(v->concerns & ONEOFFS))
        return false;
    if ((streq(v->op, "pause") && paused) || (streq(v->op, "unpause") && !paused))
        return false;
    return (v->concerns & state) || rehearsal_flag(r, "stop");
}

static bool has(const record_list *l, const struct container_record *c)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i] == c)
            return true;
    return false;
}

/* depends_on with restart: true takes the dependents along. */
static void add_restarted(const struct rehearsal *r, record_list *l)
{
    for (size_t k = 0; k < l->n; k++)
        for (size_t i = 0; i < r->list.n; i++) {
            const struct container_record *c = &r->list.v[i];
            bool known = !r->project || project_service(r->project, c->service);
            if (known && !has(l, c) && depends_on(c, l->v[k], true))
                vec_push(l, c);
        }
}

/* Does the container start before any other of its service? */
static bool is_first(const struct rehearsal *r, const struct container_record *c)
{
    for (size_t i = 0; i < r->list.n; i++) {
        const struct container_record *other = &r->list.v[i];
        if (!other->oneoff && streq(other->service, c->service) &&
            (container_is_up(other) || other < c))
            return false;
    }
    return true;
}

static void rehearse_pre_start(struct rehearsal *r, const struct container_record *c)
{
    const json_t *service = json_object_get(project_services(c->config), c->service);
    size_t i;
    json_t *step;
    json_array_foreach (json_object_get(service, "pre_start"), i, step) {
        char *name AUTOFREE = pre_start_name(jstr(c->config, "separator", "-"), c->name, i);
        if (jbool(step, "per_replica", false) || is_first(r, c))
            rehearse(r, "Container", name, "Starting", "Exited", NULL);
    }
}

static void rehearse_verb(struct rehearsal *r, const struct verb *v)
{
    record_list l = {0};
    for (size_t i = 0; i < r->list.n; i++)
        if (is_wanted(r, &r->list.v[i]) && is_concerned(r, v, &r->list.v[i]))
            vec_push(&l, &r->list.v[i]);
    if (streq(v->op, "restart") && !rehearsal_flag(r, "no_deps"))
        add_restarted(r, &l);
    while (l.n) {
        const struct container_record *c = take_next(&l, v->dependents_first);
        if (rehearsal_flag(r, "stop") && container_is_up(c))
            rehearse(r, "Container", c->name, "Stopping", "Stopped", NULL);
        if (streq(v->op, "start"))
            rehearse_pre_start(r, c);
        rehearse(r, "Container", c->name, v->begin, v->end, NULL);
    }
    vec_release(&l);
}

/* --- down --- */

static bool keeps_network(const struct rehearsal *r, const char *name)
{
    for (size_t i = 0; r->project && i < r->project->networks_n; i++)
        if (r->project->networks[i].external && streq(r->project->networks[i].name, name))
            return true;
    return false;
}

static bool keeps_volume(const struct rehearsal *r, const char *name)
{
    for (size_t i = 0; r->project && i < r->project->volumes_n; i++)
        if (r->project->volumes[i].external && streq(r->project->volumes[i].name, name))
            return true;
    return false;
}

static void rehearse_networks(struct rehearsal *r)
{
    struct network_state **list = NULL;
    if (network_list(&r->cli->paths, &list, NULL) < 0)
        return;
    for (size_t i = 0; list[i]; i++)
        if (list[i]->project && streq(list[i]->project, r->name) &&
            !keeps_network(r, list[i]->name))
            rehearse(r, "Network", list[i]->name, "Removing", "Removed", NULL);
    network_list_free(list);
}

static void rehearse_volumes(struct rehearsal *r)
{
    struct volume_state *list = NULL;
    size_t n = 0;
    if (volume_list(&r->cli->paths, r->name, &list, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (!list[i].anonymous && !keeps_volume(r, list[i].name))
            rehearse(r, "Volume", list[i].name, "Removing", "Removed", NULL);
        volume_state_release(&list[i]);
    }
    free(list);
}

static void rehearse_down(struct rehearsal *r)
{
    record_list l = {0};
    for (size_t i = 0; i < r->list.n; i++) {
        const struct container_record *c = &r->list.v[i];
        if (is_wanted(r, c) ||
            (c->oneoff && !json_array_size(json_object_get(r->request, "services"))))
            vec_push(&l, c);
    }
    while (l.n)
        rehearse_removal(r, take_next(&l, true), true);
    vec_release(&l);
    if (json_array_size(json_object_get(r->request, "services")))
        return;
    rehearse_networks(r);
    if (rehearsal_flag(r, "volumes"))
        rehearse_volumes(r);
}

static int rehearse_request(struct rehearsal *r, struct err *err)
{
    const char *op = jstr(r->request, "op", "");
    if (streq(op, "up") || streq(op, "create"))
        return rehearse_up(r, err);
    if (streq(op, "down"))
        rehearse_down(r);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (streq(op, verbs[i].op))
            rehearse_verb(r, &verbs[i]);
    }
    return 0;
}

int dry_run_show(struct cli *cli, const char *project, const json_t *request, const char *title,
                 const struct project *places, struct err *err)
{
    struct rehearsal r = {.cli = cli,
                          .request = request,
                          .options = json_object_get(request, "options"),
                          .name = project};
    const json_t *json = json_object_get(request, "project");
    if (json && project_from_json(json, &r.project, err) < 0)
        return -1;
    int rc = containers_read(cli, project, &r.list, err);
    if (rc == 0) {
        progress_init(&r.progress, cli, title);
        r.progress.project = places;
        rc = rehearse_request(&r, err);
        progress_flush(&r.progress);
        progress_release(&r.progress);
    }
    container_list_release(&r.list);
    project_free(r.project);
    return rc;
}
