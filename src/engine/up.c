/* `up` and `create`: brings the containers of the selected services to what the project says.
 *
 * Stages, each begun when the one before is done: survey (engine/facts.h), plan (engine/plan.h), clear
 * and create (engine/up_create.h) with networks and volumes made in between, start (in the order of
 * depends_on), wait (--wait). */
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
#include "engine/order.h"
#include "engine/pre_start.h"
#include "engine/up_create.h"
#include "model/decode.h"

enum stage {
    STAGE_SURVEY,    /* what is there is looked at */
    STAGE_CLEAR,     /* what is in the way of changed networks and volumes goes */
    STAGE_RESOURCES, /* networks and volumes are made */
    STAGE_CREATE,
    STAGE_START,
    STAGE_WAIT,
    STAGE_DONE,
};

struct up {
    struct project_ref *ref;
    bool *selected, *targeted; /* by service; targeted: named, or all when none was */
    bool *waived;              /* by service: a dependency that is not required failed, told once */
    struct creation creation;
    struct pre_starts pre_starts;
    enum stage stage;
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

/* --- start --- */

static void tell_waiting(struct operation *op, struct slot *slot, const char *text)
{
    if (!slot->waiting_told) {
        slot->waiting_told = true;
        container_told(op, slot->c, "Waiting", "working", NULL);
    }
    if (text && !slot->settled_told) {
        slot->settled_told = true;
        container_told(op, slot->c, text, "done", NULL);
    }
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
    vec_foreach (&up->creation.slots, slot) {
        if (!streq(up->ref->project->services[slot->service].name, d->service))
            continue;
        enum verdict one = PENDING;
        if (slot->state == SLOT_FAILED)
            one = condition_broken(slot->c, err, "did not start");
        else if (slot->state == SLOT_STARTED)
            one = judge_slot(op, slot, d->condition, err);
        if (one == BROKEN && d->required && slot->c)
            container_told(op, slot->c, "Error", "error", NULL);
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
    vec_foreach (&up->creation.slots, other)
        if (other->c && other->state < SLOT_STARTED && order_joins(slot->c, other->c))
            all = PENDING;
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
        if (container_is_ending(c))
            return;
        if (container_is_running(c) && container_is_starting(c)) {
            slot->state = SLOT_STARTING; /* the supervisor before us has begun it */
            return;
        }
        if (container_is_running(c) || operation_has_started(op, c)) {
            container_told(op, c, container_is_running(c) ? "Running" : "Started", "done", NULL);
            slot->state = SLOT_STARTED;
            return;
        }
        enum verdict ready = pre_starts_judge(&up->pre_starts, op, c);
        if (ready == BROKEN)
            slot->state = SLOT_FAILED;
        if (ready != HOLDS)
            return;
        container_told(op, c, "Starting", "working", NULL);
        slot->state = SLOT_STARTING;
        container_start(c);
    }
    if (slot->state != SLOT_STARTING || container_is_starting(c))
        return;
    if (c->launch_failed) {
        struct err err AUTOERR = ERR_INIT;
        err_set(&err, ERR_INVALID, "container %s: %s", c->record.name, c->record.error);
        container_told(op, c, "Error", "error", c->record.error);
        slot->state = SLOT_FAILED;
        operation_fail(op, &err);
        return;
    }
    if (c->hook_fault.msg) {
        struct err err AUTOERR = ERR_INIT;
        err_set(&err, ERR_INVALID, "%s", c->hook_fault.msg);
        slot->state = SLOT_FAILED;
        operation_fail(op, &err);
        return;
    }
    container_told(op, c, "Started", "done", NULL);
    slot->state = SLOT_STARTED;
}

static bool step_start(struct operation *op, struct up *up)
{
    bool busy = false;
    pre_starts_step(&up->pre_starts);
    vec_foreach (&up->creation.slots, slot)
        if (slot->c)
            step_start_slot(op, up, slot);
    vec_foreach (&up->creation.slots, slot)
        busy |= slot->state == SLOT_STARTING ||
                (slot->state == SLOT_CREATED && !op->cancelled && !op->failure.msg);
    return !busy && !pre_starts_busy(&up->pre_starts);
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
        return condition_broken(c, err, what);
    }
    if (c->state != C_RUNNING)
        return PENDING;
    if (c->record.health == HEALTH_NONE) {
        tell_waiting(op, slot, "Healthy");
        return HOLDS;
    }
    return judge_slot(op, slot, DEPENDS_HEALTHY, err);
}

/* What has ended in this moment may have failed: its monitor will say. */
static bool has_ending(const struct up *up)
{
    vec_foreach (&up->creation.slots, slot)
        if (container_is_ending(slot->c))
            return true;
    return false;
}

static bool step_wait(struct operation *op, struct up *up)
{
    const json_t *only = json_object_get(op->options, "wait_for");
    bool pending = false;
    vec_foreach (&up->creation.slots, slot) {
        struct err err AUTOERR = ERR_INIT;
        if (only && !jarray_has(only, slot->c->record.service))
            continue;
        enum verdict v = judge_ready(op, slot, &err);
        if (v == BROKEN) {
            container_told(op, slot->c, "Error", "error", NULL);
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
    return op->cancelled || (!pending && (op->expired || !has_ending(up)));
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
    up->creation.ref = up->ref;
    up->creation.resources = resources_survey(op, up->ref, up->selected, true);
    return 0;
}

/* Leaves a stage that is complete; true: the operation is over. */
static bool next_stage(struct operation *op, struct up *up)
{
    bool only_create = op->kind == &op_create || operation_flag(op, "no_start");
    if (op->failure.msg || op->cancelled)
        return true;
    switch (up->stage) {
    case STAGE_SURVEY:
        creation_plan(op, &up->creation, up->selected, up->targeted);
        up->stage = STAGE_CLEAR;
        return false;
    case STAGE_CLEAR:
        resources_make(up->creation.resources);
        up->stage = STAGE_RESOURCES;
        return false;
    case STAGE_RESOURCES:
        resources_report(up->creation.resources);
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

static bool took_place(struct operation *op, bool done, struct err *err)
{
    if (done && err->msg)
        operation_fail(op, err);
    return done;
}

static bool stage_complete(struct operation *op, struct up *up)
{
    switch (up->stage) {
    case STAGE_SURVEY:
        return took_place(op, up->creation.resources->surveyed, &up->creation.resources->err);
    case STAGE_CLEAR:
        return creation_clear(op, &up->creation);
    case STAGE_RESOURCES:
        return took_place(op, up->creation.resources->done, &up->creation.resources->err);
    case STAGE_CREATE:
        return creation_step(op, &up->creation);
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
    pre_starts_release(&up->pre_starts);
    creation_release(&up->creation);
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
