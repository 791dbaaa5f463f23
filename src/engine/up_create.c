#include "engine/up_create.h"

#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "engine/container.h"
#include "engine/create.h"
#include "engine/mounts.h"
#include "model/decode.h"

void container_told(struct operation *op, const struct container *c, const char *text,
                    const char *state, const char *detail)
{
    operation_progress(op, "Container", c->record.name, text, state, detail);
}

/* --- planning --- */

static struct container *of_record(const struct container_record *r)
{
    return container_of((struct container_record *)r, struct container, record);
}

void creation_plan(struct operation *op, struct creation *up, bool *selected, bool *targeted)
{
    struct engine *e = op->engine;
    VEC(const struct container_record *) have = {0};
    for (size_t i = 0; i < e->containers.n; i++)
        if (e->containers.v[i]->state != C_GONE)
            vec_push(&have, &e->containers.v[i]->record);
    const struct plan_input in = {
        .project = up->ref->project,
        .graph = &up->ref->graph,
        .options = op->options,
        .selected = selected,
        .targeted = targeted,
        .facts = &up->resources->facts,
        .have = have.v,
        .have_n = have.n,
    };
    plan_make(&in, &up->plan);
    vec_release(&have);
    const struct lack *lack = plan_lack(&in, &up->plan);
    if (lack) {
        struct err err AUTOERR = ERR_INIT;
        operation_blame(op, json_incref(lack->path));
        err_set(&err, lack->err.kind, "%s", lack->err.msg);
        operation_fail(op, &err);
        return;
    }
    vec_foreach (&up->plan.slots, planned) {
        struct slot slot = {.plan = planned,
                            .service = planned->service,
                            .c = planned->have ? of_record(planned->have) : NULL};
        vec_push(&up->slots, slot);
    }
    for (size_t i = 0; i < up->plan.surplus.n; i++) {
        struct surplus extra = {.c = of_record(up->plan.surplus.v[i])};
        vec_push(&up->surplus, extra);
    }
    if (up->plan.orphans) {
        char *text AUTOFREE = plan_orphan_warning(&up->plan);
        operation_warn(op, "%s", text);
    }
    char **warnings = up->resources->facts.warnings;
    for (size_t i = 0; warnings && warnings[i]; i++)
        operation_warn(op, "%s", warnings[i]);
}

static const int64_t TURN_BUDGET = 3000000; /* ns of one turn of the loop */

/* --- one container --- */

static bool may_begin(const struct operation *op)
{
    return !op->cancelled && !op->failure.msg;
}

/* NULL: it failed. */
static struct container *create_container(struct operation *op, struct creation *up,
                                          struct slot *slot)
{
    const struct project *p = up->ref->project;
    const struct facts *facts = &up->resources->facts;
    struct container_spec spec = {
        .project = up->ref,
        .service = &p->services[slot->service],
        .number = slot->plan->number,
        .image_id = facts->image_ids[slot->service],
        .command = facts->commands[slot->service],
        .inputs = facts->inputs[slot->service],
        .replaced = slot->c,
    };
    struct err err AUTOERR = ERR_INIT;
    struct container *c = container_create(op->engine, &spec, &err);
    if (!c) {
        slot->state = SLOT_FAILED;
        operation_fail(op, &err);
        return NULL;
    }
    if (!operation_flag(op, "renew_anon_volumes")) {
        c->record.mounts = slot->kept;
        c->record.mounts_n = slot->kept_n;
        slot->kept = NULL;
        slot->kept_n = 0;
    }
    if (slot->c)
        container_inherit(c, slot->c);
    container_save(c);
    return c;
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

/* What is not in the hash may change while the container stays: who it depends on. */
static void refresh(struct creation *up, struct slot *slot)
{
    struct container *c = slot->c;
    struct service *s = &up->ref->project->services[slot->service];
    char *now AUTOFREE = container_depends_label(s);
    const char *was = jstr(c->record.labels, "com.docker.compose.depends_on", "");
    if (!c->record.inputs)
        c->record.inputs = json_incref(up->resources->facts.inputs[slot->service]);
    else if (streq(was, now) && !slot->plan->evicted)
        return;
    jset_str(c->record.labels, "com.docker.compose.depends_on", now);
    json_decref(c->record.config);
    c->record.config = project_slice(up->ref, s->name);
    /* While a job works on the old one it stays with it. */
    if (container_is_settled(c)) {
        project_ref_put(c->project);
        c->project = project_ref_get(up->ref);
        c->service = s;
    }
    container_save(c);
}

/* --- one for another --- */

/* The old container does not run any more. What replaces it is on disk before it goes, so that whoever takes
 * over from us finds either. */
static void begin_replace(struct operation *op, struct creation *up, struct slot *slot,
                          enum slot_state state)
{
    keep_volumes(slot);
    slot->next = create_container(op, up, slot);
    if (!slot->next)
        return;
    slot->state = state;
    container_remove(slot->c, operation_flag(op, "renew_anon_volumes"));
}

/* True once it is done. */
static bool step_replace(struct operation *op, struct slot *slot)
{
    struct container *c = slot->c;
    if (c->state == C_GONE) {
        slot->c = STEAL(slot->next);
        free(STEAL(slot->c->record.replaces));
        return true;
    }
    if (c->state == C_IDLE && c->fault.msg && !c->remove_wanted) {
        container_remove(STEAL(slot->next), false);
        slot->state = SLOT_FAILED;
        operation_fail(op, &c->fault);
    }
    return false;
}

/* --- making room --- */

/* Has every container that is to be stopped before this one yielded? */
static bool followers_yielded(const struct creation *up, const struct slot *slot)
{
    vec_foreach (&up->slots, other)
        if (other->plan->follows && other->state < SLOT_YIELDED &&
            plan_follows(up->ref->project, other->plan, slot->plan))
            return false;
    return true;
}

/* Does the operation end with its containers running? */
static bool starts(const struct operation *op)
{
    return op->kind == &op_up && !operation_flag(op, "no_start");
}

static void begin_yield(struct operation *op, struct creation *up, struct slot *slot)
{
    int64_t timeout = operation_seconds(op, "timeout");
    operation_explain(op, "Container", slot->c->record.name, "Stopping", "working",
                      slot->plan->action == PLAN_RESTART ? slot->plan->reasons : NULL);
    slot->state = SLOT_YIELDING;
    if (slot->plan->action != PLAN_RESTART) {
        container_stop_replaced(slot->c, timeout, starts(op));
        return;
    }
    refresh(up, slot); /* whoever starts it instead of us makes the new network */
    if (starts(op))
        container_stop_meanwhile(slot->c, timeout);
    else
        container_stop(slot->c, timeout);
}

/* Stops a container ahead of the others' replacement. */
static void step_yield(struct operation *op, struct creation *up, struct slot *slot)
{
    if (slot->state == SLOT_NEW && may_begin(op) && followers_yielded(up, slot)) {
        if (container_is_settled(slot->c) && !container_is_running(slot->c))
            slot->state = SLOT_YIELDED;
        else
            begin_yield(op, up, slot);
    }
    struct err refusal AUTOERR = ERR_INIT;
    if (slot->state == SLOT_YIELDING && container_refused_stop(slot->c, &refusal)) {
        slot->state = SLOT_FAILED;
        operation_fail(op, &refusal);
    } else if (slot->state == SLOT_YIELDING && slot->c->state == C_IDLE) {
        container_told(op, slot->c, "Stopped", "done", NULL);
        slot->state = SLOT_YIELDED;
    }
}

static void step_vacate(struct operation *op, struct creation *up, struct slot *slot)
{
    if (slot->state == SLOT_YIELDED && may_begin(op)) {
        container_told(op, slot->c, "Removing", "working", NULL);
        begin_replace(op, up, slot, SLOT_VACATING);
    }
    if (slot->state != SLOT_VACATING)
        return;
    const char *name = slot->c->record.name;
    if (step_replace(op, slot)) {
        operation_progress(op, "Container", name, "Removed", "done", NULL);
        slot->state = SLOT_VACATED;
    }
}

/* A container that needs this one must be stopped first: as the reference stops, by the graph. */
static bool dependents_cleared(const struct creation *up, const struct slot *slot)
{
    const struct graph_node *node = &up->ref->graph.nodes[slot->service];
    vec_foreach (&up->slots, other)
        for (size_t i = 0; i < node->needed_by_n; i++)
            if (other->service == node->needed_by[i] && other->state < SLOT_YIELDED &&
                (other->plan->evicted || other->plan->unseated))
                return false;
    return true;
}

bool creation_clear(struct operation *op, struct creation *up)
{
    bool busy = false, moved;
    do {
        busy = moved = false;
        vec_foreach (&up->slots, slot) {
            const struct plan_slot *plan = slot->plan;
            enum slot_state before = slot->state;
            if (!plan->evicted && !plan->unseated && !plan->follows)
                continue;
            if (slot->state == SLOT_YIELDING || dependents_cleared(up, slot))
                step_yield(op, up, slot);
            if (plan->unseated)
                step_vacate(op, up, slot);
            moved |= slot->state != before;
            bool over = slot->state == SLOT_FAILED || slot->state == SLOT_VACATED ||
                        (slot->state == SLOT_YIELDED && (!plan->unseated || !may_begin(op))) ||
                        (slot->state == SLOT_NEW && !may_begin(op));
            busy |= !over;
        }
    } while (moved);
    return !busy;
}

/* --- creating --- */

static void step_recreate(struct operation *op, struct creation *up, struct slot *slot)
{
    struct container *c = slot->c;
    if (slot->state == SLOT_NEW || slot->state == SLOT_YIELDED) {
        operation_explain(op, "Container", c->record.name, "Recreate", "working",
                          slot->plan->reasons);
        slot->state = SLOT_STOPPING;
        container_stop_replaced(c, operation_seconds(op, "timeout"), starts(op));
    } else if (slot->state == SLOT_STOPPING && c->state == C_IDLE) {
        begin_replace(op, up, slot, SLOT_REMOVING);
    } else if (slot->state == SLOT_REMOVING && step_replace(op, slot)) {
        slot->state = SLOT_CREATED;
        container_told(op, slot->c, "Recreated", "done", NULL);
    }
}

static void step_new(struct operation *op, struct creation *up, struct slot *slot)
{
    if (slot->state != SLOT_VACATED)
        slot->c = create_container(op, up, slot);
    if (!slot->c)
        return;
    slot->state = SLOT_CREATED;
    operation_explain(op, "Container", slot->c->record.name, "Creating", "working",
                      slot->plan->reasons);
    container_told(op, slot->c, "Created", "done", NULL);
    engine_container_event(op->engine, slot->c, "create", NULL);
}

/* A slot may be touched once all slots of the services that it depends on are created. */
static bool dependencies_created(const struct creation *up, const struct slot *slot)
{
    const struct graph_node *node = &up->ref->graph.nodes[slot->service];
    for (size_t k = 0; k < up->slots.n; k++)
        for (size_t i = 0; i < node->needs_n; i++)
            if (up->slots.v[k].service == node->needs[i] && up->slots.v[k].state < SLOT_CREATED)
                return false;
    return true;
}

/* Is the name still that of a container that this operation removes: of a service that was renamed? */
static bool name_is_leaving(const struct creation *up, const struct slot *slot)
{
    const struct project *p = up->ref->project;
    char *name AUTOFREE = container_default_name(p, &p->services[slot->service],
                                                 slot->plan->number);
    vec_foreach (&up->surplus, s)
        if (!s->done && streq(s->c->record.name, name))
            return true;
    return false;
}

static bool is_untouched(const struct slot *slot)
{
    return slot->state == SLOT_NEW || slot->state == SLOT_YIELDED || slot->state == SLOT_VACATED;
}

static void step_slot(struct operation *op, struct creation *up, struct slot *slot)
{
    if (slot->state >= SLOT_CREATED ||
        (is_untouched(slot) &&
         (!may_begin(op) || !dependencies_created(up, slot) || name_is_leaving(up, slot))))
        return;
    switch (slot->plan->action) {
    case PLAN_KEEP:
        if (!container_is_settled(slot->c) && slot->c->state != C_BACKOFF)
            return;
        refresh(up, slot);
        slot->state = SLOT_CREATED;
        break;
    case PLAN_RESTART:
        refresh(up, slot);
        slot->state = SLOT_CREATED;
        break;
    case PLAN_CREATE:
        step_new(op, up, slot);
        break;
    case PLAN_RECREATE:
        if (slot->state == SLOT_VACATED)
            step_new(op, up, slot);
        else
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
            container_told(op, c, "Stopping", "working", NULL);
        container_stop(c, operation_seconds(op, "timeout"));
    }
    struct err refusal AUTOERR = ERR_INIT;
    if (!s->removing && container_refused_stop(c, &refusal)) {
        operation_fail(op, &refusal);
        s->done = true;
    } else if (!s->removing && c->state == C_IDLE) {
        s->removing = true;
        if (s->ran)
            container_told(op, c, "Stopped", "done", NULL);
        container_told(op, c, "Removing", "working", NULL);
        container_remove(c, false); /* anonymous volumes stay, as the reference leaves them */
    }
    if (c->state == C_GONE) {
        container_told(op, c, "Removed", "done", NULL);
        s->done = true;
    }
    return s->done;
}

bool creation_step(struct operation *op, struct creation *up)
{
    bool busy = false;
    int64_t end = time_monotonic() + TURN_BUDGET;
    vec_foreach (&up->surplus, s)
        busy |= !step_surplus(op, s);
    /* Slots come in the order of the graph, so one pass carries as far as it goes. */
    vec_foreach (&up->slots, slot) {
        enum slot_state before;
        do {
            before = slot->state;
            step_slot(op, up, slot);
        } while (slot->state != before && slot->state < SLOT_CREATED);
        /* A hundred records are a hundred files: others get their turn in between. */
        if (time_monotonic() > end) {
            engine_kick(op->engine);
            return false;
        }
        busy |= slot->state == SLOT_STOPPING || slot->state == SLOT_REMOVING ||
                (is_untouched(slot) && may_begin(op));
    }
    return !busy;
}

void creation_release(struct creation *up)
{
    vec_foreach (&up->slots, slot)
        container_mounts_free(slot->kept, slot->kept_n);
    vec_release(&up->slots);
    vec_release(&up->surplus);
    plan_release(&up->plan);
    resource_job_free(up->resources);
}
