/* `down`: stops and removes containers, dependents first, then what they shared. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "engine/container.h"
#include "engine/order.h"
#include "engine/resources.h"

struct down_item {
    struct container *c;
    bool stopping, stopped_told, removing, done;
};

struct down {
    VEC(struct down_item) items;
    bool whole;              /* no services were named: volumes go too where that is asked for */
    struct project_ref *ref; /* of the request, else as last applied, else NULL */
    struct removal_job *removal;
};

/* Without a file there are no orphans: everything of the project goes. */
static bool known(const struct operation *op, const struct down *d, const char *service)
{
    return !json_object_get(op->request, "project") || project_service(d->ref->project, service);
}

static int down_begin(struct operation *op, struct err *err)
{
    struct engine *e = op->engine;
    struct down *d = xcalloc(1, sizeof(*d));
    op->data = d;
    json_t *project = json_object_get(op->request, "project");
    if (!project)
        d->ref = project_ref_get(e->project);
    else if (project_ref_new(project, NULL, false, &d->ref, err) < 0)
        return -1;
    char **names AUTOSTRV = operation_services(op);
    d->whole = !names;
    for (size_t i = 0; i < e->containers.n; i++) {
        struct container *c = e->containers.v[i];
        bool wanted = c->state != C_GONE && operation_means(names, c->record.service) &&
                      (known(op, d, c->record.service) || operation_flag(op, "remove_orphans") ||
                       c->record.oneoff);
        struct down_item item = {.c = c};
        if (wanted)
            vec_push(&d->items, item);
    }
    return 0;
}

static void tell(struct operation *op, const struct down_item *item, const char *text,
                 const char *state)
{
    operation_progress(op, "Container", item->c->record.name, text, state, NULL);
}

/* Who is left out may need what goes all the same: that is as little waited for as in the reference. */
static bool dependents_run(const struct down *d, struct container *c)
{
    if (c->record.oneoff)
        return false;
    vec_foreach (&d->items, other) {
        enum container_state state = other->c->state;
        if (other->c != c && state != C_IDLE && state != C_GONE && state != C_REMOVING &&
            order_depends_on(other->c, c))
            return true;
    }
    return false;
}

static bool may_begin(const struct operation *op)
{
    return !op->cancelled && !op->failure.msg;
}

static void step_item(struct operation *op, struct down_item *item)
{
    struct container *c = item->c;
    if (!item->stopping) {
        if (!may_begin(op) || dependents_run(op->data, c))
            return;
        item->stopping = true;
        /* The reference says Stopping also of what does not run. */
        tell(op, item, "Stopping", "working");
        container_stop(c, operation_seconds(op, "timeout"));
    }
    struct err refusal AUTOERR = ERR_INIT;
    if (op->cancelled)
        container_withdraw_stop(c);
    if (c->state == C_RUNNING && !c->stop_wanted && !c->hook_fault.msg) {
        item->done = true;
        return;
    }
    if (!item->removing && container_refused_stop(c, &refusal)) {
        tell(op, item, "Error", "error");
        operation_fail(op, &refusal);
        item->done = true;
    } else if (c->state == C_IDLE && !item->removing) {
        tell(op, item, "Stopped", "done");
        tell(op, item, "Removing", "working");
        item->removing = true;
        container_remove(c, operation_flag(op, "volumes") || c->record.oneoff);
    } else if (c->state == C_IDLE && item->removing && c->fault.msg) {
        tell(op, item, "Error", "error");
        operation_fail(op, &c->fault);
        item->done = true;
    }
    if (c->state == C_GONE) {
        tell(op, item, "Removed", "done");
        item->done = true;
    }
}

static bool down_step(struct operation *op)
{
    struct down *d = op->data;
    if (d->removal) {
        if (!d->removal->done)
            return false;
        removal_report(d->removal);
        if (d->removal->err.msg)
            operation_fail(op, &d->removal->err);
        return true;
    }
    bool busy = false;
    vec_foreach (&d->items, item) {
        if (!item->done)
            step_item(op, item);
        busy |= !item->done && (item->stopping || may_begin(op));
    }
    if (busy)
        return false;
    if (!may_begin(op))
        return true;
    d->removal = resources_remove(op, d->ref ? d->ref->project : NULL,
                                  d->whole && operation_flag(op, "volumes"));
    return false;
}

static void down_release(struct operation *op)
{
    struct down *d = op->data;
    if (!d)
        return;
    vec_release(&d->items);
    removal_job_free(d->removal);
    project_ref_put(d->ref);
    free(d);
}

const struct operation_kind op_down = {.name = "down",
                                       .begin = down_begin,
                                       .step = down_step,
                                       .release = down_release,
                                       .overrides = true};
