/* `up` and `create`: brings the containers of the selected services to what the project says.
 *
 * Stages, each begun when the one before is done: resources (networks, volumes, images), create
 * (containers made, replaced or removed), start (in the order of depends_on), wait (--wait). */
#include "engine/up.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "base/version.h"
#include "engine/condition.h"
#include "engine/container.h"
#include "engine/create.h"
#include "engine/mounts.h"
#include "engine/resources.h"
#include "model/decode.h"

/* RESTART: it serves, but a service that it depends on with restart: true is replaced; one that shares
 * the network of a replaced container would stay in a dead namespace. */
enum slot_action { KEEP, RESTART, CREATE, RECREATE };

enum slot_state {
    SLOT_NEW,      /* nothing done yet */
    SLOT_STOPPING, /* the old container is being stopped */
    SLOT_REMOVING, /* ... and removed */
    SLOT_CREATED,  /* the container exists */
    SLOT_STARTING,
    SLOT_STARTED,
    SLOT_FAILED,
};

/* One container that shall exist. */
struct slot {
    size_t service; /* index in the project */
    int number;
    enum slot_action action;
    enum slot_state state;
    char *why; /* of RECREATE */
    struct container *c;
    struct container_mount *kept; /* anonymous volumes of the one that it replaces */
    size_t kept_n;
    bool waiting_told, settled_told; /* progress of others' waiting for it */
};

/* A container that shall be gone: scaled down, or an orphan. */
struct surplus {
    struct container *c;
    bool ran, stopping, removing, done;
};

enum stage { STAGE_RESOURCES, STAGE_CREATE, STAGE_START, STAGE_WAIT, STAGE_DONE };

struct up {
    struct project_ref *ref;
    bool *selected, *targeted; /* by service; targeted: named, or all when none was */
    bool *waived;              /* by service: a dependency that is not required failed, told once */
    struct resource_job *resources;
    enum stage stage;
    VEC(struct slot) slots;
    VEC(struct surplus) surplus;
};

/* --- reading the request --- */

static int save_project(struct operation *op, json_t *project, struct err *err)
{
    struct engine *e = op->engine;
    char *dir AUTOFREE = paths_project(e->paths, e->project_name);
    char *path AUTOFREE = path_join(dir, "project.json");
    json_t *whole AUTOJSON = json_object();
    json_object_set_new(whole, "version", json_integer(state_version));
    json_object_set(whole, "project", project);
    json_object_set(whole, "environment", json_object_get(op->request, "environment"));
    if (fs_mkdir_p(dir, 0711, err) < 0)
        return -1;
    return json_write(path, whole, false, err);
}

int operation_take_project(struct operation *op, struct err *err)
{
    struct engine *e = op->engine;
    json_t *json = json_object_get(op->request, "project");
    struct project_ref *ref;
    if (!json)
        return err_set(err, ERR_INVALID, "%s: no project given", op->kind->name);
    if (project_ref_new(json, json_object_get(op->request, "environment"), false, &ref, err) < 0)
        return -1;
    if (!streq(ref->project->name, e->project_name)) {
        project_ref_put(ref);
        return err_set(err, ERR_INVALID, "this is the supervisor of project \"%s\"",
                       e->project_name);
    }
    project_ref_put(e->project);
    e->project = ref;
    return save_project(op, json, err);
}

static int64_t wanted_replicas(const struct operation *op, const struct service *s)
{
    const json_t *scale = json_object_get(op->options, "scale");
    return jint(scale, s->name, s->scale);
}

/* --- planning --- */

/* Why an existing container does not serve any more; NULL: it does. Heap. */
static char *reason_to_recreate(const struct operation *op, const struct up *up, size_t service,
                                const struct container *c, const char *hash, const char *image_id)
{
    bool target = up->targeted[service];
    if (operation_flag(op, "no_recreate"))
        return NULL;
    if ((target && operation_flag(op, "force_recreate")) ||
        (!target && operation_flag(op, "always_recreate_deps")))
        return xstrdup("forced");
    if (!streq(c->record.config_hash, hash))
        return xstrdup("its configuration changed");
    if (!streq(c->record.image_id, image_id))
        return xstrdup("its image changed");
    return NULL;
}

static int by_number(const void *a, const void *b)
{
    const struct container *const *x = a, *const *y = b;
    return (*x)->record.number - (*y)->record.number;
}

static void plan_service(struct operation *op, struct up *up, size_t i)
{
    struct engine *e = op->engine;
    const struct project *p = up->ref->project;
    const struct service *s = &p->services[i];
    VEC(struct container *) have = {0};
    for (size_t k = 0; k < e->containers.n; k++) {
        struct container *c = e->containers.v[k];
        if (!c->record.oneoff && c->state != C_GONE && streq(c->record.service, s->name))
            vec_push(&have, c);
    }
    if (have.n)
        qsort(have.v, have.n, sizeof(*have.v), by_number);
    char *hash AUTOFREE = service_config_hash(p, s);
    size_t want = (size_t)wanted_replicas(op, s);
    int next = 1;
    for (size_t k = 0; k < have.n; k++) {
        struct container *c = have.v[k];
        if (k >= want) {
            struct surplus extra = {.c = c};
            vec_push(&up->surplus, extra);
            continue;
        }
        char *why = reason_to_recreate(op, up, i, c, hash, up->resources->image_ids[i]);
        struct slot slot = {.service = i,
                            .number = c->record.number,
                            .c = c,
                            .why = why,
                            .action = why ? RECREATE : KEEP};
        vec_push(&up->slots, slot);
    }
    for (size_t k = have.n; k < want; k++) {
        for (bool taken = true; taken; next += taken) {
            taken = false;
            for (size_t h = 0; h < have.n; h++)
                taken |= have.v[h]->record.number == next;
        }
        struct slot slot = {.service = i, .number = next++, .action = CREATE};
        vec_push(&up->slots, slot);
    }
    vec_release(&have);
}

/* Is a container of a service that this one depends on with restart: true replaced or restarted? */
static bool follows_a_restart(const struct up *up, size_t service)
{
    const struct project *p = up->ref->project;
    const struct service *s = &p->services[service];
    for (size_t d = 0; d < s->depends_on_n; d++)
        for (size_t k = 0; s->depends_on[d].restart && k < up->slots.n; k++) {
            const struct slot *other = &up->slots.v[k];
            if ((other->action == RECREATE || other->action == RESTART) &&
                streq(p->services[other->service].name, s->depends_on[d].service))
                return true;
        }
    return false;
}

/* Slots come in the order of the graph: what a service depends on was planned before it. */
static void plan_restarts(struct up *up)
{
    vec_foreach (&up->slots, slot)
        if (slot->action == KEEP && container_is_running(slot->c) &&
            follows_a_restart(up, slot->service))
            slot->action = RESTART;
}

static bool is_orphan(const struct project *p, const struct container *c)
{
    if (c->record.oneoff || c->state == C_GONE || project_service(p, c->record.service))
        return false;
    for (size_t i = 0; i < p->disabled.n; i++)
        if (streq(p->disabled.v[i], c->record.service))
            return false;
    return true;
}

static void plan_orphans(struct operation *op, struct up *up)
{
    struct engine *e = op->engine;
    struct strbuf names AUTOBUF = STRBUF_INIT;
    for (size_t k = 0; k < e->containers.n; k++) {
        struct container *c = e->containers.v[k];
        if (!is_orphan(up->ref->project, c))
            continue;
        strbuf_addf(&names, "%s%s", names.len ? " " : "", c->record.name);
        if (operation_flag(op, "remove_orphans")) {
            struct surplus extra = {.c = c};
            vec_push(&up->surplus, extra);
        }
    }
    if (names.len && !operation_flag(op, "remove_orphans") && !operation_flag(op, "ignore_orphans"))
        operation_warn(op,
                       "Found orphan containers ([%s]) for this project. If you removed or renamed "
                       "this service in your compose file, you can run this command with the "
                       "--remove-orphans flag to clean it up.",
                       names.buf);
}

static void plan(struct operation *op, struct up *up)
{
    const struct graph *g = &up->ref->graph;
    for (size_t k = 0; k < g->n; k++)
        if (up->selected[g->order[k]])
            plan_service(op, up, g->order[k]);
    plan_restarts(up);
    plan_orphans(op, up);
}

/* --- create --- */

static void told(struct operation *op, const struct container *c, const char *text,
                 const char *state, const char *detail)
{
    operation_progress(op, "Container", c->record.name, text, state, detail);
}

static int create_container(struct operation *op, struct up *up, struct slot *slot)
{
    const struct project *p = up->ref->project;
    struct container_spec spec = {
        .project = up->ref,
        .service = &p->services[slot->service],
        .number = slot->number,
        .image_id = up->resources->image_ids[slot->service],
    };
    struct err err AUTOERR = ERR_INIT;
    slot->c = container_create(op->engine, &spec, &err);
    if (!slot->c) {
        slot->state = SLOT_FAILED;
        operation_fail(op, &err);
        return -1;
    }
    if (!operation_flag(op, "renew_anon_volumes")) {
        slot->c->record.mounts = slot->kept;
        slot->c->record.mounts_n = slot->kept_n;
        slot->kept = NULL;
        slot->kept_n = 0;
    }
    container_save(slot->c);
    slot->state = SLOT_CREATED;
    return 0;
}

/* Anonymous volumes go over to the container that replaces this one. */
static void keep_volumes(struct slot *slot)
{
    VEC(struct container_mount) kept = {0};
    for (size_t i = 0; i < slot->c->record.mounts_n; i++)
        if (slot->c->record.mounts[i].anonymous) {
            struct container_mount m = container_mount_copy(&slot->c->record.mounts[i]);
            vec_push(&kept, m);
        }
    slot->kept = kept.v;
    slot->kept_n = kept.n;
}

static void step_recreate(struct operation *op, struct up *up, struct slot *slot)
{
    struct container *c = slot->c;
    switch (slot->state) {
    case SLOT_NEW:
        told(op, c, "Recreate", "working",
             operation_flag(op, "recreate_reasons") ? slot->why : NULL);
        keep_volumes(slot);
        slot->state = SLOT_STOPPING;
        container_stop(c, operation_seconds(op, "timeout"));
        return;
    case SLOT_STOPPING:
        if (c->state != C_IDLE)
            return;
        slot->state = SLOT_REMOVING;
        container_remove(c, operation_flag(op, "renew_anon_volumes"));
        return;
    case SLOT_REMOVING:
        if (c->state == C_IDLE && c->fault.msg && !c->remove_wanted) {
            slot->state = SLOT_FAILED;
            operation_fail(op, &c->fault);
        }
        if (c->state != C_GONE)
            return;
        if (create_container(op, up, slot) == 0)
            told(op, slot->c, "Recreated", "done", NULL);
        return;
    case SLOT_CREATED:
    case SLOT_STARTING:
    case SLOT_STARTED:
    case SLOT_FAILED:
        return;
    }
}

/* A slot may be touched once all slots of the services that it depends on are created. */
static bool dependencies_created(const struct up *up, const struct slot *slot)
{
    const struct graph_node *node = &up->ref->graph.nodes[slot->service];
    for (size_t k = 0; k < up->slots.n; k++)
        for (size_t i = 0; i < node->needs_n; i++)
            if (up->slots.v[k].service == node->needs[i] && up->slots.v[k].state < SLOT_CREATED)
                return false;
    return true;
}

static void step_create_slot(struct operation *op, struct up *up, struct slot *slot)
{
    if (slot->state >= SLOT_CREATED ||
        (slot->state == SLOT_NEW &&
         (op->cancelled || op->failure.msg || !dependencies_created(up, slot))))
        return;
    switch (slot->action) {
    case KEEP:
        if (!container_is_settled(slot->c) && slot->c->state != C_BACKOFF)
            return;
        slot->state = SLOT_CREATED;
        break;
    case RESTART:
        if (slot->state == SLOT_NEW) {
            told(op, slot->c, "Stopping", "working", NULL);
            slot->state = SLOT_STOPPING;
            container_stop(slot->c, operation_seconds(op, "timeout"));
        } else if (slot->c->state == C_IDLE) {
            told(op, slot->c, "Stopped", "done", NULL);
            slot->state = SLOT_CREATED;
        }
        break;
    case CREATE:
        if (create_container(op, up, slot) == 0) {
            told(op, slot->c, "Creating", "working", NULL);
            told(op, slot->c, "Created", "done", NULL);
            engine_container_event(op->engine, slot->c, "create", NULL);
        }
        break;
    case RECREATE:
        step_recreate(op, up, slot);
        break;
    }
}

static bool step_surplus(struct operation *op, struct surplus *s)
{
    struct container *c = s->c;
    if (s->done)
        return true;
    if (!s->stopping) {
        s->stopping = true;
        s->ran = container_is_running(c);
        if (s->ran)
            told(op, c, "Stopping", "working", NULL);
        container_stop(c, operation_seconds(op, "timeout"));
    }
    if (!s->removing && c->state == C_IDLE) {
        s->removing = true;
        if (s->ran)
            told(op, c, "Stopped", "done", NULL);
        told(op, c, "Removing", "working", NULL);
        container_remove(c, false); /* anonymous volumes stay, as the reference leaves them */
    }
    if (c->state == C_GONE) {
        told(op, c, "Removed", "done", NULL);
        s->done = true;
    }
    return s->done;
}

/* True when nothing is under way any more. */
static bool step_create(struct operation *op, struct up *up)
{
    bool busy = false;
    /* Slots come in the order of the graph, so one pass carries as far as it goes. */
    vec_foreach (&up->slots, slot) {
        enum slot_state before;
        do {
            before = slot->state;
            step_create_slot(op, up, slot);
        } while (slot->state != before && slot->state < SLOT_CREATED);
        busy |= slot->state == SLOT_STOPPING || slot->state == SLOT_REMOVING ||
                (slot->state == SLOT_NEW && !op->cancelled && !op->failure.msg);
    }
    vec_foreach (&up->surplus, s)
        busy |= !step_surplus(op, s);
    return !busy;
}

/* --- start --- */

static void tell_waiting(struct operation *op, struct slot *slot, const char *text)
{
    if (!slot->waiting_told) {
        slot->waiting_told = true;
        told(op, slot->c, "Waiting", "working", NULL);
    }
    if (text && !slot->settled_told) {
        slot->settled_told = true;
        told(op, slot->c, text, "done", NULL);
    }
}

static int broken(const struct container *c, struct err *err, const char *what)
{
    char *cause AUTOFREE = container_cause(c);
    err_set(err, ERR_UNAVAILABLE, "container %s %s%s", c->record.name, what, cause);
    return BROKEN;
}

/* As condition_judge(), with the progress of the waiting. */
static enum verdict judge_slot(struct operation *op, struct slot *slot,
                               enum depends_condition condition, struct err *err)
{
    enum verdict v = condition_judge(slot->c, condition, err);
    if (condition == DEPENDS_STARTED || (v == BROKEN && slot->c->record.health == HEALTH_NONE))
        return v;
    const char *text = condition == DEPENDS_HEALTHY ? "Healthy" : "Exited";
    tell_waiting(op, slot, v == HOLDS ? text : NULL);
    return v;
}

/* Does the condition hold for every container of the service? */
static enum verdict judge(struct operation *op, struct up *up, const struct dependency *d,
                          struct err *err)
{
    enum verdict all = HOLDS;
    vec_foreach (&up->slots, slot) {
        if (!streq(up->ref->project->services[slot->service].name, d->service))
            continue;
        enum verdict one = PENDING;
        if (slot->state == SLOT_FAILED)
            one = (enum verdict)broken(slot->c, err, "did not start");
        else if (slot->state == SLOT_STARTED)
            one = judge_slot(op, slot, d->condition, err);
        if (one == BROKEN)
            return BROKEN;
        if (one == PENDING)
            all = PENDING;
    }
    return all;
}

static enum verdict dependencies_hold(struct operation *op, struct up *up, struct slot *slot)
{
    const struct service *s = &up->ref->project->services[slot->service];
    enum verdict all = HOLDS;
    for (size_t i = 0; i < s->depends_on_n; i++) {
        const struct dependency *d = &s->depends_on[i];
        struct err err AUTOERR = ERR_INIT;
        enum verdict one = judge(op, up, d, &err);
        if (one == BROKEN && !d->required) {
            if (!up->waived[slot->service])
                operation_warn(op, "optional dependency \"%s\" failed to start: %s", d->service,
                               err.msg);
            up->waived[slot->service] = true;
            one = HOLDS;
        }
        if (one == BROKEN) {
            err_wrap(&err, "dependency failed to start");
            operation_fail(op, &err);
            return BROKEN;
        }
        if (one == PENDING)
            all = PENDING;
    }
    return all;
}

static void step_start_slot(struct operation *op, struct up *up, struct slot *slot)
{
    struct container *c = slot->c;
    if (slot->state == SLOT_CREATED) {
        if (op->cancelled || op->failure.msg || dependencies_hold(op, up, slot) != HOLDS)
            return;
        if (c->record.status == CONTAINER_PAUSED) {
            struct err err AUTOERR = ERR_INIT;
            err_set(&err, ERR_CONFLICT,
                    "container %s: cannot start a paused container, try unpause instead",
                    c->record.name);
            slot->state = SLOT_FAILED;
            operation_fail(op, &err);
            return;
        }
        if (container_is_running(c)) {
            told(op, c, "Running", "done", NULL);
            slot->state = SLOT_STARTED;
            return;
        }
        told(op, c, "Starting", "working", NULL);
        slot->state = SLOT_STARTING;
        container_start(c);
    }
    if (slot->state != SLOT_STARTING || c->start_wanted || c->state == C_PREPARING ||
        c->state == C_CONNECTING || c->state == C_LAUNCHING)
        return;
    if (c->launch_failed) {
        if (c->state == C_CLEANING)
            return;
        struct err err AUTOERR = ERR_INIT;
        err_set(&err, ERR_INVALID, "container %s: %s", c->record.name, c->record.error);
        told(op, c, "Error", "error", c->record.error);
        slot->state = SLOT_FAILED;
        operation_fail(op, &err);
        return;
    }
    told(op, c, "Started", "done", NULL);
    slot->state = SLOT_STARTED;
}

static bool step_start(struct operation *op, struct up *up)
{
    bool busy = false;
    vec_foreach (&up->slots, slot)
        if (slot->c)
            step_start_slot(op, up, slot);
    vec_foreach (&up->slots, slot)
        busy |= slot->state == SLOT_STARTING ||
                (slot->state == SLOT_CREATED && !op->cancelled && !op->failure.msg);
    return !busy;
}

/* --- wait --- */

/* Ours: a one-shot that exits 0 has done what it should. */
static enum verdict judge_ready(struct operation *op, struct slot *slot, struct err *err)
{
    struct container *c = slot->c;
    if (c->state == C_IDLE) {
        if (c->record.exit_code == 0 && !c->launch_failed) {
            tell_waiting(op, slot, "Exited");
            return HOLDS;
        }
        char *what AUTOFREE = xasprintf("exited (%d)", c->record.exit_code);
        return (enum verdict)broken(c, err, what);
    }
    if (c->state != C_RUNNING)
        return PENDING;
    if (c->record.health == HEALTH_NONE) {
        tell_waiting(op, slot, "Healthy");
        return HOLDS;
    }
    return judge_slot(op, slot, DEPENDS_HEALTHY, err);
}

static bool step_wait(struct operation *op, struct up *up)
{
    bool pending = false;
    vec_foreach (&up->slots, slot) {
        struct err err AUTOERR = ERR_INIT;
        enum verdict v = judge_ready(op, slot, &err);
        if (v == BROKEN) {
            told(op, slot->c, "Error", "error", NULL);
            operation_fail(op, &err);
            return true;
        }
        pending |= v == PENDING;
        if (v == PENDING && op->expired) {
            err_set(&err, ERR_TIMEOUT,
                    "timeout waiting for dependencies: container %s is not ready",
                    slot->c->record.name);
            operation_fail(op, &err);
            return true;
        }
    }
    return !pending || op->cancelled;
}

/* --- the operation --- */

static int up_begin(struct operation *op, struct err *err)
{
    if (operation_take_project(op, err) < 0)
        return -1;
    struct up *up = xcalloc(1, sizeof(*up));
    op->data = up;
    up->ref = project_ref_get(op->engine->project);
    size_t n = up->ref->project->services_n;
    up->selected = xcalloc(n, sizeof(*up->selected));
    up->targeted = xcalloc(n, sizeof(*up->targeted));
    up->waived = xcalloc(n, sizeof(*up->waived));
    char **names AUTOSTRV = operation_services(op);
    struct strings list = {.v = (const char **)names, .n = strv_len((const char *const *)names)};
    const struct graph *g = &up->ref->graph;
    if (graph_select(g, &list, !operation_flag(op, "no_deps"), up->selected, err) < 0 ||
        graph_select(g, &list, false, up->targeted, err) < 0)
        return -1;
    up->resources = resources_make(op, up->ref->project, up->selected);
    return 0;
}

/* Leaves a stage that is complete; true: the operation is over. */
static bool next_stage(struct operation *op, struct up *up)
{
    bool only_create = op->kind == &op_create || operation_flag(op, "no_start");
    if (op->failure.msg || op->cancelled)
        return true;
    switch (up->stage) {
    case STAGE_RESOURCES:
        resources_report(up->resources);
        plan(op, up);
        up->stage = STAGE_CREATE;
        return false;
    case STAGE_CREATE:
        up->stage = only_create ? STAGE_DONE : STAGE_START;
        return only_create;
    case STAGE_START:
        if (!operation_flag(op, "wait"))
            return true;
        if (operation_seconds(op, "wait_timeout") > 0)
            operation_set_deadline(op, operation_seconds(op, "wait_timeout"));
        up->stage = STAGE_WAIT;
        return false;
    case STAGE_WAIT:
    case STAGE_DONE:
        break;
    }
    return true;
}

static bool stage_complete(struct operation *op, struct up *up)
{
    switch (up->stage) {
    case STAGE_RESOURCES:
        if (up->resources && up->resources->done && up->resources->err.msg)
            operation_fail(op, &up->resources->err);
        return !up->resources || up->resources->done;
    case STAGE_CREATE:
        return step_create(op, up);
    case STAGE_START:
        return step_start(op, up);
    case STAGE_WAIT:
        return step_wait(op, up);
    case STAGE_DONE:
        break;
    }
    return true;
}

static bool up_step(struct operation *op)
{
    struct up *up = op->data;
    while (stage_complete(op, up))
        if (next_stage(op, up))
            return true;
    return false;
}

static void up_release(struct operation *op)
{
    struct up *up = op->data;
    if (!up)
        return;
    vec_foreach (&up->slots, slot) {
        free(slot->why);
        container_mounts_free(slot->kept, slot->kept_n);
    }
    vec_release(&up->slots);
    vec_release(&up->surplus);
    resource_job_free(up->resources);
    project_ref_put(up->ref);
    free(up->selected);
    free(up->targeted);
    free(up->waived);
    free(up);
}

const struct operation_kind op_up = {
    .name = "up", .begin = up_begin, .step = up_step, .release = up_release, .starts = true};
const struct operation_kind op_create = {
    .name = "create", .begin = up_begin, .step = up_step, .release = up_release, .starts = true};
