#include "engine/resources.h"

#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "engine/container.h"
#include "net/network.h"
#include "runtime/cgroup.h"
#include "volume/volume.h"

static void note(char ***list, const char *kind, const char *name)
{
    char *line AUTOFREE = xasprintf("%s %s", kind, name);
    strv_push(list, line);
}

static void made(struct resource_job *j, const char *kind, const char *name, json_t *changes)
{
    struct made_resource m = {kind, name, changes};
    vec_push(&j->made, m);
}

static int make_network(struct resource_job *j, const struct network *n,
                        const struct resource_fact *fact)
{
    struct network_state *state;
    struct network_config config;
    network_config_of(n, j->facts.project->name, &config);
    if (fact->changes && network_remove(j->facts.paths, n->name, &j->err) < 0)
        return err_wrap(&j->err, "network %s changed and cannot be made anew", n->name);
    if (network_create(j->facts.paths, &config, &state, &j->err) < 0)
        return err_wrap(&j->err, "failed to create network %s", n->name);
    if (state->made)
        made(j, "Network", n->name, fact->changes);
    if (state->warning)
        strv_push(&j->warnings, state->warning);
    network_state_free(state);
    return 0;
}

static int make_volume(struct resource_job *j, const struct volume *v,
                       const struct resource_fact *fact)
{
    struct volume_state state;
    bool created = false;
    const struct facts *f = &j->facts;
    char *own AUTOFREE = paths_project(f->paths, f->project->name);
    if (fact->changes && volume_remove(f->paths, v->name, own, &j->err) < 0)
        return err_wrap(&j->err, "volume %s changed and cannot be made anew", v->name);
    if (volume_ensure(f->paths, f->project->name, v, &created, &state, &j->err) < 0)
        return -1;
    if (created)
        made(j, "Volume", v->name, fact->changes);
    volume_state_release(&state);
    return 0;
}

static void make_all(void *arg)
{
    struct resource_job *j = arg;
    const struct project *p = j->facts.project;
    for (size_t i = 0; i < p->networks_n; i++)
        if (j->facts.networks[i].used &&
            make_network(j, &p->networks[i], &j->facts.networks[i]) < 0)
            return;
    for (size_t i = 0; i < p->volumes_n; i++)
        if (j->facts.volumes[i].used && make_volume(j, &p->volumes[i], &j->facts.volumes[i]) < 0)
            return;
}

static void on_made(void *arg)
{
    struct resource_job *j = arg;
    j->done = true;
    engine_kick(j->op->engine);
}

void resources_make(struct resource_job *j)
{
    engine_work(j->op->engine, make_all, on_made, j);
}

static void survey(void *arg)
{
    struct resource_job *j = arg;
    facts_gather(&j->facts, &j->err);
}

static void on_surveyed(void *arg)
{
    struct resource_job *j = arg;
    j->surveyed = true;
    engine_kick(j->op->engine);
}

struct resource_job *resources_survey(struct operation *op, const struct project_ref *ref,
                                      bool *selected, bool renew)
{
    struct resource_job *j = xcalloc(1, sizeof(*j));
    j->op = op;
    j->facts = (struct facts){
        .paths = op->engine->paths,
        .images = op->engine->images,
        .project = ref->project,
        .environment = ref->environment,
        .renew = json_object_get(op->options, "renew_volumes"),
        .selected = selected,
        .as_they_are = !renew,
    };
    engine_work(op->engine, survey, on_surveyed, j);
    return j;
}

/* lines: "KIND NAME". */
static void report(struct operation *op, char **lines, const char *doing, const char *did,
                   const char *state)
{
    for (size_t i = 0; lines && lines[i]; i++) {
        char *space = strchr(lines[i], ' ');
        *space = '\0';
        if (doing)
            operation_progress(op, lines[i], space + 1, doing, "working", NULL);
        operation_progress(op, lines[i], space + 1, did, state, NULL);
        *space = ' ';
    }
}

void resources_report(struct resource_job *j)
{
    vec_foreach (&j->made, m) {
        if (m->changes)
            operation_explain(j->op, m->kind, m->name, "Removed", "done", m->changes);
        operation_progress(j->op, m->kind, m->name, "Creating", "working", NULL);
        operation_progress(j->op, m->kind, m->name, "Created", "done", NULL);
    }
    for (size_t i = 0; j->warnings && j->warnings[i]; i++)
        operation_warn(j->op, "%s", j->warnings[i]);
}

void resource_job_free(struct resource_job *j)
{
    if (!j)
        return;
    facts_release(&j->facts);
    vec_release(&j->made);
    strv_free(j->warnings);
    err_release(&j->err);
    free(j);
}

static bool is_kept(const struct removal_job *j, const char *name)
{
    for (size_t i = 0; j->kept_names && j->kept_names[i]; i++)
        if (streq(j->kept_names[i], name))
            return true;
    return false;
}

static void remove_networks(struct removal_job *j)
{
    struct network_state **list;
    if (network_list(j->paths, &list, &j->err) < 0)
        return;
    for (size_t i = 0; list[i]; i++) {
        struct err err AUTOERR = ERR_INIT;
        if (!list[i]->project || !streq(list[i]->project, j->project) || is_kept(j, list[i]->name))
            continue;
        if (network_remove(j->paths, list[i]->name, &err) == 0)
            note(&j->removed, "Network", list[i]->name);
        else if (err.kind == ERR_CONFLICT)
            note(&j->kept, "Network", list[i]->name);
        else if (!j->err.msg)
            err_move(&j->err, &err);
    }
    network_list_free(list);
}

static void remove_volumes(struct removal_job *j)
{
    struct volume_state *list;
    size_t n;
    if (volume_list(j->paths, j->project, &list, &n, &j->err) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        struct err err AUTOERR = ERR_INIT;
        if (is_kept(j, list[i].name)) {
            volume_state_release(&list[i]);
            continue;
        }
        if (volume_remove(j->paths, list[i].name, NULL, &err) == 0) {
            if (!list[i].anonymous)
                note(&j->removed, "Volume", list[i].name);
        } else if (err.kind == ERR_CONFLICT) {
            note(&j->kept, "Volume", list[i].name);
        } else if (!j->err.msg) {
            err_move(&j->err, &err);
        }
        volume_state_release(&list[i]);
    }
    free(list);
}

static void remove_run(void *arg)
{
    struct removal_job *j = arg;
    struct err first AUTOERR = ERR_INIT;
    remove_networks(j);
    if (j->volumes)
        remove_volumes(j);
    char *cgroup AUTOFREE = xasprintf("/compose/%s", j->project);
    cgroup_remove_empty(cgroup);
    char *dir AUTOFREE = paths_project(j->paths, j->project);
    if (!j->inhabited && fs_remove_all(dir, &first) < 0 && !j->err.msg)
        err_move(&j->err, &first);
}

static void on_removed(void *arg)
{
    struct removal_job *j = arg;
    j->done = true;
    engine_kick(j->op->engine);
}

struct removal_job *resources_remove(struct operation *op, const struct project *p, bool volumes)
{
    struct removal_job *j = xcalloc(1, sizeof(*j));
    for (size_t i = 0; p && i < p->networks_n; i++)
        if (p->networks[i].external)
            strv_push(&j->kept_names, p->networks[i].name);
    for (size_t i = 0; p && i < p->volumes_n; i++)
        if (p->volumes[i].external)
            strv_push(&j->kept_names, p->volumes[i].name);
    j->op = op;
    j->paths = op->engine->paths;
    j->project = xstrdup(op->engine->project_name);
    j->volumes = volumes;
    vec_foreach (&op->engine->containers, c)
        j->inhabited |= (*c)->state != C_GONE;
    engine_work(op->engine, remove_run, on_removed, j);
    return j;
}

void removal_report(struct removal_job *j)
{
    report(j->op, j->removed, "Removing", "Removed", "done");
    report(j->op, j->kept, NULL, "Resource is still in use", "warning");
}

void removal_job_free(struct removal_job *j)
{
    if (!j)
        return;
    free(j->project);
    strv_free(j->kept_names);
    strv_free(j->removed);
    strv_free(j->kept);
    err_release(&j->err);
    free(j);
}
