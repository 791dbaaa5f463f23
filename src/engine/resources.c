#include "engine/resources.h"

#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "net/network.h"
#include "runtime/cgroup.h"
#include "volume/volume.h"

char *service_image(const struct project *p, const struct service *s)
{
    return s->image ? xstrdup(s->image) : xasprintf("%s-%s", p->name, s->name);
}

static void note(char ***list, const char *kind, const char *name)
{
    char *line AUTOFREE = xasprintf("%s %s", kind, name);
    strv_push(list, line);
}

static bool network_used(const struct resource_job *j, const char *key)
{
    for (size_t i = 0; i < j->project->services_n; i++) {
        const struct service *s = &j->project->services[i];
        for (size_t k = 0; j->selected[i] && k < s->networks_n; k++)
            if (streq(s->networks[k].network, key))
                return true;
    }
    return false;
}

static bool volume_used(const struct resource_job *j, const char *key)
{
    for (size_t i = 0; i < j->project->services_n; i++) {
        const struct service *s = &j->project->services[i];
        for (size_t k = 0; j->selected[i] && k < s->mounts_n; k++)
            if (s->mounts[k].type == MOUNT_VOLUME && s->mounts[k].source &&
                streq(s->mounts[k].source, key))
                return true;
    }
    return false;
}

static int make_network(struct resource_job *j, const struct network *n)
{
    struct network_state *state;
    if (n->external) {
        if (network_load(j->paths, n->name, &state, NULL) < 0)
            return err_set(&j->err, ERR_NOT_FOUND,
                           "network %s declared as external, but could not be found", n->name);
        network_state_free(state);
        return 0;
    }
    struct network_config config;
    network_config_of(n, j->project->name, &config);
    if (network_create(j->paths, &config, &state, &j->err) < 0)
        return err_wrap(&j->err, "failed to create network %s", n->name);
    if (state->made)
        note(&j->made, "Network", n->name);
    if (state->warning)
        strv_push(&j->warnings, state->warning);
    network_state_free(state);
    return 0;
}

static int make_volume(struct resource_job *j, const struct volume *v)
{
    struct volume_state state;
    bool created = false;
    if (volume_ensure(j->paths, j->project->name, v, &created, &state, &j->err) < 0)
        return -1;
    if (created)
        note(&j->made, "Volume", v->name);
    volume_state_release(&state);
    return 0;
}

static int find_image(struct resource_job *j, size_t i)
{
    const struct service *s = &j->project->services[i];
    char *name AUTOFREE = service_image(j->project, s);
    /* Many services, one image: looked up once. */
    for (size_t k = 0; k < i; k++) {
        char *other AUTOFREE = service_image(j->project, &j->project->services[k]);
        if (j->image_ids[k] && streq(other, name) && !s->platform) {
            j->image_ids[i] = xstrdup(j->image_ids[k]);
            return 0;
        }
    }
    struct image *image;
    if (image_find(j->images, name, s->platform, &image, &j->err) < 0)
        return -1;
    j->image_ids[i] = xstrdup(image->id);
    image_free(image);
    return 0;
}

static void make_all(void *arg)
{
    struct resource_job *j = arg;
    const struct project *p = j->project;
    j->image_ids = xcalloc(p->services_n, sizeof(*j->image_ids));
    for (size_t i = 0; i < p->services_n; i++)
        if (j->selected[i] && !p->services[i].provider && find_image(j, i) < 0)
            return;
    for (size_t i = 0; i < p->networks_n; i++)
        if (network_used(j, p->networks[i].key) && make_network(j, &p->networks[i]) < 0)
            return;
    for (size_t i = 0; i < p->volumes_n; i++)
        if (volume_used(j, p->volumes[i].key) && make_volume(j, &p->volumes[i]) < 0)
            return;
}

static void on_made(void *arg)
{
    struct resource_job *j = arg;
    j->done = true;
    engine_kick(j->op->engine);
}

struct resource_job *resources_make(struct operation *op, const struct project *p,
                                    const bool *selected)
{
    struct resource_job *j = xcalloc(1, sizeof(*j));
    j->op = op;
    j->paths = op->engine->paths;
    j->images = op->engine->images;
    j->project = p;
    j->selected = selected;
    engine_work(op->engine, make_all, on_made, j);
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
    report(j->op, j->made, "Creating", "Created", "done");
    for (size_t i = 0; j->warnings && j->warnings[i]; i++)
        operation_warn(j->op, "%s", j->warnings[i]);
}

void resource_job_free(struct resource_job *j)
{
    if (!j)
        return;
    for (size_t i = 0; j->image_ids && i < j->project->services_n; i++)
        free(j->image_ids[i]);
    free(j->image_ids);
    strv_free(j->made);
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
        if (volume_remove(j->paths, list[i].name, &err) == 0) {
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
    if (fs_remove_all(dir, &first) < 0 && !j->err.msg)
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
