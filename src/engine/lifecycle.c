/* start, stop, restart, kill, rm, pause, unpause: one verb for each container that is named. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "engine/condition.h"
#include "engine/container.h"
#include "engine/missing.h"
#include "engine/operation.h"
#include "engine/order.h"
#include "engine/pre_start.h"

struct verb_item {
    struct container *c;
    int stage; /* verb's own */
    bool done;
};

struct verb {
    /* Goes on with one container; sets item->done. */
    void (*step)(struct operation *op, struct verb_item *item);
    VEC(struct verb_item) items;
    struct project_ref *ref;      /* of the request; NULL: it has none, so every service counts */
    struct pre_starts pre_starts; /* of start */
    struct err missing;           /* of start and restart: told when the others are done */
};

static void tell(struct operation *op, const struct verb_item *item, const char *text,
                 const char *state)
{
    operation_progress(op, "Container", item->c->record.name, text, state, NULL);
}

static void fail(struct operation *op, struct verb_item *item, struct err *err)
{
    tell(op, item, "Error", "error");
    operation_fail(op, err);
    item->done = true;
}

static bool has_service(const struct project_ref *ref, const char *name)
{
    return ref && project_service(ref->project, name);
}

/* Of a service that is named, or where none is, of the file: orphans and services of other profiles are left
 * alone. */
static bool is_meant(const struct operation *op, char **names, const char *service)
{
    const struct verb *v = op->data;
    bool known = names || !v->ref || has_service(v->ref, service);
    return operation_means(names, service) && (known || operation_flag(op, "remove_orphans"));
}

static int select_containers(struct operation *op, struct verb *v, bool oneoffs, struct err *err)
{
    struct engine *e = op->engine;
    char **names AUTOSTRV = operation_services(op);
    for (size_t k = 0; names && names[k]; k++)
        if (!engine_service_container(e, names[k]) && !has_service(v->ref, names[k]) &&
            !has_service(e->project, names[k]))
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", names[k]);
    for (size_t i = 0; i < e->containers.n; i++) {
        struct verb_item item = {.c = e->containers.v[i]};
        const struct container_record *r = &item.c->record;
        if (item.c->state != C_GONE && is_meant(op, names, r->service) && (oneoffs || !r->oneoff))
            vec_push(&v->items, item);
    }
    return 0;
}

static int begin(struct operation *op, bool oneoffs,
                 void (*step)(struct operation *op, struct verb_item *item), struct err *err)
{
    struct verb *v = xcalloc(1, sizeof(*v));
    v->step = step;
    op->data = v;
    json_t *project = json_object_get(op->request, "project");
    if (project && project_ref_new(project, NULL, false, &v->ref, err) < 0)
        return -1;
    return select_containers(op, v, oneoffs, err);
}

static bool verb_step(struct operation *op)
{
    struct verb *v = op->data;
    bool busy = false, moved;
    pre_starts_step(&v->pre_starts);
    do {
        moved = busy = false;
        vec_foreach (&v->items, item) {
            if (item->done)
                continue;
            int before = item->stage;
            v->step(op, item);
            moved |= item->stage != before || item->done;
            busy |= !item->done;
        }
    } while (moved && busy);
    if (busy || pre_starts_busy(&v->pre_starts))
        return false;
    if (v->missing.msg && !op->cancelled)
        operation_fail(op, &v->missing);
    return true;
}

static void verb_release(struct operation *op)
{
    struct verb *v = op->data;
    if (!v)
        return;
    pre_starts_release(&v->pre_starts);
    vec_release(&v->items);
    project_ref_put(v->ref);
    err_release(&v->missing);
    free(v);
}

/* Is a container that this one depends on still to be done by the same operation? */
static bool must_wait(const struct operation *op, const struct verb_item *item)
{
    const struct verb *v = op->data;
    vec_foreach (&v->items, other)
        if (!other->done && other != item && order_depends_on(item->c, other->c))
            return true;
    return false;
}

/* Is one that depends on the container still to be stopped by the same operation? */
static bool dependents_wait(const struct operation *op, const struct verb_item *item)
{
    const struct verb *v = op->data;
    vec_foreach (&v->items, other)
        if (!other->done && other != item && order_depends_on(other->c, item->c))
            return true;
    return false;
}

/* What cannot be started is left out; that it is there to be told does not hold up the others. */
static void leave_out_blocked(struct operation *op, struct verb *v)
{
    if (!v->ref)
        return;
    const struct project *p = v->ref->project;
    bool *blocked AUTOFREE = xcalloc(p->services_n, sizeof(*blocked));
    missing_find(op, v->ref, blocked, &v->missing);
    for (size_t i = 0; i < v->items.n;) {
        const struct service *s = project_service(p, v->items.v[i].c->record.service);
        if (s && blocked[s - p->services])
            vec_remove(&v->items, i);
        else
            i++;
    }
}

/* --- stop --- */

static void step_stop(struct operation *op, struct verb_item *item)
{
    struct container *c = item->c;
    if (item->stage == 0) {
        if (op->cancelled) {
            item->done = true;
            return;
        }
        if (c->state == C_IDLE) {
            container_give_up(c);
            item->done = true;
            return;
        }
        if (dependents_wait(op, item))
            return;
        item->stage = 1;
        tell(op, item, "Stopping", "working");
        if (operation_flag(op, "come_back"))
            container_shut_down(c, operation_seconds(op, "timeout"));
        else
            container_stop(c, operation_seconds(op, "timeout"));
    }
    struct err err AUTOERR = ERR_INIT;
    if (op->cancelled)
        container_withdraw_stop(c);
    if (c->state == C_IDLE || c->state == C_GONE) {
        tell(op, item, "Stopped", "done");
        item->done = true;
    } else if (container_refused_stop(c, &err)) {
        fail(op, item, &err);
    } else if (c->state == C_RUNNING && !c->stop_wanted) {
        item->done = true; /* withdrawn, or started anew meanwhile */
    }
}

static int stop_begin(struct operation *op, struct err *err)
{
    return begin(op, operation_flag(op, "come_back"), step_stop, err);
}

/* --- start --- */

static void settle_start(struct operation *op, struct verb_item *item)
{
    struct container *c = item->c;
    if (container_is_starting(c))
        return;
    if (c->launch_failed) {
        struct err err AUTOERR = ERR_INIT;
        err_set(&err, ERR_INVALID, "container %s: %s", c->record.name, c->record.error);
        fail(op, item, &err);
        return;
    }
    if (c->hook_fault.msg) {
        struct err err AUTOERR = ERR_INIT;
        err_set(&err, ERR_INVALID, "%s", c->hook_fault.msg);
        fail(op, item, &err);
        return;
    }
    tell(op, item, "Started", "done");
    item->done = true;
}

/* What comes back after a reboot does so by its restart policy: without these steps. */
static bool pre_started(struct operation *op, struct verb_item *item)
{
    struct verb *v = op->data;
    enum verdict ready = op->kind == &op_start ? pre_starts_judge(&v->pre_starts, op, item->c)
                                               : HOLDS;
    item->done = ready == BROKEN;
    return ready == HOLDS;
}

static void step_start(struct operation *op, struct verb_item *item)
{
    struct container *c = item->c;
    if (item->stage == 0) {
        if (container_is_ending(c) && !op->cancelled)
            return;
        if (container_is_running(c) && container_is_starting(c)) {
            item->stage = 1; /* the supervisor before us has begun it */
            return;
        }
        if (op->cancelled || op->failure.msg || container_is_running(c) ||
            operation_has_started(op, c)) {
            item->done = true;
            return;
        }
        struct err err AUTOERR = ERR_INIT;
        if (must_wait(op, item))
            return;
        enum verdict ready = conditions_judge(c, NULL, NULL, &err);
        if (ready == BROKEN)
            fail(op, item, &err);
        if (ready != HOLDS || !pre_started(op, item))
            return;
        item->stage = 1;
        tell(op, item, "Starting", "working");
        container_start(c);
    }
    settle_start(op, item);
}

static bool has_item(const struct verb *v, const struct container *c)
{
    vec_foreach (&v->items, item)
        if (item->c == c)
            return true;
    return false;
}

/* What the named services depend on is started with them. */
static void add_dependencies(struct operation *op, struct verb *v)
{
    for (size_t k = 0; k < v->items.n; k++)
        for (size_t i = 0; i < op->engine->containers.n; i++) {
            struct verb_item item = {.c = op->engine->containers.v[i]};
            if (!item.c->record.oneoff && item.c->state != C_GONE &&
                order_depends_on(v->items.v[k].c, item.c) && !has_item(v, item.c))
                vec_push(&v->items, item);
        }
}

static int start_begin(struct operation *op, struct err *err)
{
    if (begin(op, false, step_start, err) < 0)
        return -1;
    add_dependencies(op, op->data);
    leave_out_blocked(op, op->data);
    return 0;
}

/* --- restore: after a reboot --- */

/* As Docker does when its daemon starts: `always` comes back even if it was stopped by hand. */
static bool comes_back(struct container *c)
{
    const struct service *s = container_service(c);
    if (!s || c->state != C_IDLE || c->record.oneoff || !c->record.started)
        return false;
    switch (s->restart.kind) {
    case RESTART_NO:
        return false;
    case RESTART_ALWAYS:
        return true;
    case RESTART_UNLESS_STOPPED:
        return !c->record.stopped_by_user;
    case RESTART_ON_FAILURE:
        return !c->record.stopped_by_user && c->record.exit_code != 0;
    }
    return false;
}

static bool is_coming(const struct container *c)
{
    return c->state == C_PREPARING || c->state == C_CONNECTING || c->state == C_LAUNCHING;
}

static int restore_begin(struct operation *op, struct err *err)
{
    if (begin(op, false, step_start, err) < 0)
        return -1;
    struct verb *v = op->data;
    for (size_t i = 0; i < v->items.n;) {
        struct verb_item *item = &v->items.v[i];
        item->stage = is_coming(item->c); /* it only has to be waited for */
        if (item->stage || comes_back(item->c))
            i++;
        else
            vec_remove(&v->items, i);
    }
    return 0;
}

/* --- resume: of what an operation has stopped for a while, and did not come to start again --- */

static void step_resume(struct operation *op, struct verb_item *item)
{
    step_start(op, item);
    if (!item->done || op->cancelled)
        return;
    container_give_up(item->c);
    /* The others may well start. */
    if (op->failure.msg)
        log_line("resume: %s", op->failure.msg);
    err_release(&op->failure);
}

static int resume_begin(struct operation *op, struct err *err)
{
    if (begin(op, false, step_resume, err) < 0)
        return -1;
    struct verb *v = op->data;
    for (size_t i = 0; i < v->items.n;)
        if (v->items.v[i].c->record.due)
            i++;
        else
            vec_remove(&v->items, i);
    return 0;
}

/* --- restart --- */

static bool is_restarted_too(const void *op, const struct container *c)
{
    return has_item(((const struct operation *)op)->data, c);
}

static void step_restart(struct operation *op, struct verb_item *item)
{
    struct container *c = item->c;
    if (item->stage == 0) {
        if (op->cancelled || op->failure.msg) {
            item->done = true;
            return;
        }
        if (operation_is_repeated(op) && container_is_starting(c))
            return;
        if (operation_has_started(op, c)) {
            item->stage = 2;
            return;
        }
        if (must_wait(op, item))
            return;
        struct err err AUTOERR = ERR_INIT;
        enum verdict ready = conditions_judge(c, is_restarted_too, op, &err);
        if (ready == BROKEN)
            fail(op, item, &err);
        if (ready != HOLDS)
            return;
        tell(op, item, "Restarting", "working");
        item->stage = 1;
        container_stop_meanwhile(c, operation_seconds(op, "timeout"));
    }
    struct err refusal AUTOERR = ERR_INIT;
    if (item->stage == 1 && op->cancelled)
        container_withdraw_stop(c);
    if (item->stage == 1 && container_refused_stop(c, &refusal))
        fail(op, item, &refusal);
    else if (item->stage == 1 && c->state == C_RUNNING && !c->stop_wanted)
        item->done = true;
    if (item->stage == 1 && c->state == C_IDLE) {
        item->stage = 2;
        container_start(c);
        engine_container_event(op->engine, c, "restart", NULL);
    }
    if (item->stage == 2)
        settle_start(op, item);
}

/* depends_on with restart: true takes the dependents along, also those that have ended. */
static void add_restarted_dependents(struct operation *op, struct verb *v)
{
    for (size_t k = 0; k < v->items.n; k++)
        for (size_t i = 0; i < op->engine->containers.n; i++) {
            struct container *c = op->engine->containers.v[i];
            const struct service *s = container_service(c);
            bool along = false, there = c->record.oneoff || c->state == C_GONE ||
                                        (v->ref && !has_service(v->ref, c->record.service));
            for (size_t d = 0; s && d < s->depends_on_n; d++)
                along |= s->depends_on[d].restart &&
                         streq(s->depends_on[d].service, v->items.v[k].c->record.service);
            struct verb_item item = {.c = c};
            if (along && !there && !has_item(v, c))
                vec_push(&v->items, item);
        }
}

static int restart_begin(struct operation *op, struct err *err)
{
    if (begin(op, false, step_restart, err) < 0)
        return -1;
    if (!operation_flag(op, "no_deps"))
        add_restarted_dependents(op, op->data);
    leave_out_blocked(op, op->data);
    return 0;
}

/* --- kill --- */

static void step_kill(struct operation *op, struct verb_item *item)
{
    struct container *c = item->c;
    const char *name = jstr(op->options, "signal", "SIGKILL");
    int sig = signal_by_name(name);
    if (!container_is_running(c)) {
        if (item->stage)
            tell(op, item, "Killed", "done");
        item->done = true;
        return;
    }
    if (item->stage == 0) {
        struct err err AUTOERR = ERR_INIT;
        tell(op, item, "Killing", "working");
        item->stage = 1;
        if (sig < 0)
            err_set(&err, ERR_INVALID, "Invalid signal: %s", name);
        if (sig < 0 || container_kill(c, sig, &err) < 0) {
            fail(op, item, &err);
            return;
        }
    }
    /* Another signal may well be survived: it was delivered, and that is all. Whoever left does not
     * hold up the queue for a process that even SIGKILL does not reach. */
    if (sig != SIGKILL || op->cancelled) {
        tell(op, item, "Killed", "done");
        item->done = true;
    }
}

static int kill_begin(struct operation *op, struct err *err)
{
    return begin(op, true, step_kill, err);
}

/* --- rm --- */

enum { RM_STOPPING = 1, RM_STOPPED, RM_REMOVING };

static void step_rm(struct operation *op, struct verb_item *item)
{
    struct container *c = item->c;
    if (item->stage == 0) {
        bool idle = c->state == C_IDLE;
        bool ends = c->state == C_CLEANING || container_is_ending(c);
        if (ends && !op->cancelled)
            return; /* ps says already that it has ended */
        if (op->cancelled || (!idle && !operation_flag(op, "stop"))) {
            item->done = true;
            return;
        }
        if (!idle && dependents_wait(op, item))
            return;
        item->stage = idle ? RM_STOPPED : RM_STOPPING;
        if (!idle) {
            tell(op, item, "Stopping", "working");
            container_stop(c, -1);
        }
    }
    struct err refusal AUTOERR = ERR_INIT;
    if (item->stage == RM_STOPPING && container_refused_stop(c, &refusal)) {
        fail(op, item, &refusal);
    } else if (item->stage == RM_STOPPING && c->state == C_IDLE) {
        item->stage = RM_STOPPED;
        tell(op, item, "Stopped", "done");
    }
    if (item->stage == RM_STOPPED && c->state == C_IDLE) {
        item->stage = RM_REMOVING;
        tell(op, item, "Removing", "working");
        container_remove(c, operation_flag(op, "volumes"));
    } else if (item->stage == RM_REMOVING && c->state == C_IDLE && c->fault.msg) {
        fail(op, item, &c->fault);
    } else if (c->state == C_GONE) {
        tell(op, item, "Removed", "done");
        item->done = true;
    }
}

static int rm_begin(struct operation *op, struct err *err)
{
    return begin(op, false, step_rm, err);
}

/* --- pause, unpause --- */

static void step_pause(struct operation *op, struct verb_item *item)
{
    bool pause = op->kind == &op_pause;
    struct container *c = item->c;
    item->done = true;
    if (!container_is_running(c))
        return;
    bool same_already = (c->record.status == CONTAINER_PAUSED) == pause;
    if (same_already && operation_is_repeated(op))
        return;
    if (same_already) {
        struct err same AUTOERR = ERR_INIT;
        err_set(&same, ERR_CONFLICT, "Container %s is %s paused", c->record.name,
                pause ? "already" : "not");
        fail(op, item, &same);
        return;
    }
    tell(op, item, pause ? "Pausing" : "Unpausing", "working");
    container_pause(c, pause);
    if ((c->record.status == CONTAINER_PAUSED) == pause) {
        tell(op, item, pause ? "Paused" : "Unpaused", "done");
        return;
    }
    struct err err AUTOERR = ERR_INIT;
    err_set(&err, ERR_IO, "container %s: %s", c->record.name,
            c->record.error ? c->record.error : "cannot be paused");
    fail(op, item, &err);
}

static int pause_begin(struct operation *op, struct err *err)
{
    return begin(op, false, step_pause, err);
}

#define VERB(verb, begin_fn, ...)                                                                  \
    const struct operation_kind op_##verb = {.name = #verb,                                        \
                                             .begin = (begin_fn),                                  \
                                             .step = verb_step,                                    \
                                             .release = verb_release,                              \
                                             __VA_ARGS__}

VERB(stop, stop_begin, .overrides = true);
VERB(start, start_begin, .starts = true);
VERB(restore, restore_begin, .starts = true);
VERB(resume, resume_begin, .starts = true);
VERB(restart, restart_begin, .starts = true);
VERB(kill, kill_begin, .at_once = true);
VERB(rm, rm_begin, .overrides = false);
VERB(pause, pause_begin, .starts = false);
VERB(unpause, pause_begin, .starts = false);
