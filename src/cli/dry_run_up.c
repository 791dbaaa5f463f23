/* --dry-run of up and create: the plan of the engine, told in the order in which it would happen. */
#include "base/mem.h"
#include "cli/dry_run.h"
#include "cli/reasons.h"
#include "engine/pre_start.h"
#include "engine/plan.h"

static void stop_ahead(struct rehearsal *r, const struct plan_slot *slot)
{
    const struct container_record *c = slot->have;
    if (container_is_up(c))
        rehearse(r, "Container", c->name, "Stopping", "Stopped",
                 slot->action == PLAN_RESTART ? slot->reasons : NULL);
    if (slot->unseated)
        rehearse(r, "Container", c->name, "Removing", "Removed", NULL);
}

static void make_resource(struct rehearsal *r, const char *kind, const char *name,
                          const struct resource_fact *fact)
{
    if (fact->changes)
        rehearse(r, kind, name, NULL, "Removed", fact->changes);
    if (fact->used && (!fact->exists || fact->changes))
        rehearse(r, kind, name, "Creating", "Created", NULL);
}

static char *name_of(const struct rehearsal *r, const struct plan_slot *slot)
{
    const struct service *s = &r->project->services[slot->service];
    if (slot->have)
        return xstrdup(slot->have->name);
    return s->container_name ? xstrdup(s->container_name)
                             : xasprintf("%s%s%s%s%d", r->name, r->project->separator, s->name,
                                         r->project->separator, slot->number);
}

static void make_container(struct rehearsal *r, const struct plan_slot *slot)
{
    char *name AUTOFREE = name_of(r, slot);
    if (slot->action == PLAN_CREATE || slot->unseated)
        rehearse(r, "Container", name, "Creating", "Created", slot->reasons);
    else if (slot->action == PLAN_RECREATE)
        rehearse(r, "Container", name, "Recreate", "Recreated", slot->reasons);
}

/* The containers whose condition the service waits for. */
static void wait_for(struct rehearsal *r, const struct plan *plan, const struct service *s)
{
    for (size_t i = 0; i < s->depends_on_n; i++) {
        const struct dependency *d = &s->depends_on[i];
        if (d->condition == DEPENDS_STARTED)
            continue;
        for (size_t k = 0; k < plan->slots.n; k++) {
            const struct plan_slot *slot = &plan->slots.v[k];
            char *name AUTOFREE = name_of(r, slot);
            if (streq(r->project->services[slot->service].name, d->service))
                rehearse(r, "Container", name, "Waiting",
                         d->condition == DEPENDS_HEALTHY ? "Healthy" : "Exited", NULL);
        }
    }
}

static bool stays_up(const struct plan_slot *slot)
{
    return slot->action == PLAN_KEEP && container_is_up(slot->have);
}

/* Does the container start before any other of its service? */
static bool is_first(const struct plan *plan, const struct plan_slot *slot)
{
    for (size_t i = 0; i < plan->slots.n; i++) {
        const struct plan_slot *other = &plan->slots.v[i];
        if (other->service == slot->service && (other < slot || stays_up(other)))
            return false;
    }
    return true;
}

static void run_pre_start(struct rehearsal *r, const struct plan *plan,
                          const struct plan_slot *slot, const char *container)
{
    const struct service *s = &r->project->services[slot->service];
    for (size_t i = 0; i < s->pre_start_n; i++) {
        char *name AUTOFREE = pre_start_name(r->project->separator, container, i);
        if (s->pre_start[i].per_replica || is_first(plan, slot))
            rehearse(r, "Container", name, "Starting", "Exited", NULL);
    }
}

static void start_container(struct rehearsal *r, const struct plan *plan,
                            const struct plan_slot *slot)
{
    char *name AUTOFREE = name_of(r, slot);
    if (stays_up(slot)) {
        rehearse(r, "Container", name, NULL, "Running", NULL);
        return;
    }
    wait_for(r, plan, &r->project->services[slot->service]);
    run_pre_start(r, plan, slot, name);
    rehearse(r, "Container", name, "Starting", "Started", NULL);
}

static void tell(struct rehearsal *r, const struct facts *facts, const struct plan *plan)
{
    bool start = !rehearsal_flag(r, "no_start") && !streq(jstr(r->request, "op", ""), "create");
    if (plan->orphans) {
        char *text AUTOFREE = plan_orphan_warning(plan);
        cli_warn(r->cli, "%s", text);
    }
    for (size_t i = 0; facts->warnings && facts->warnings[i]; i++)
        cli_warn(r->cli, "%s", facts->warnings[i]);
    for (size_t i = plan->slots.n; i-- > 0;) {
        const struct plan_slot *slot = &plan->slots.v[i];
        if (slot->evicted || slot->unseated || slot->follows)
            stop_ahead(r, slot);
    }
    for (size_t i = 0; i < r->project->networks_n; i++)
        make_resource(r, "Network", r->project->networks[i].name, &facts->networks[i]);
    for (size_t i = 0; i < r->project->volumes_n; i++)
        make_resource(r, "Volume", r->project->volumes[i].name, &facts->volumes[i]);
    for (size_t i = 0; i < plan->slots.n; i++)
        make_container(r, &plan->slots.v[i]);
    for (size_t i = 0; i < plan->surplus.n; i++)
        rehearse_removal(r, plan->surplus.v[i], false);
    for (size_t i = 0; start && i < plan->slots.n; i++)
        start_container(r, plan, &plan->slots.v[i]);
    const json_t *only = json_object_get(r->options, "wait_for");
    for (size_t i = 0; start && rehearsal_flag(r, "wait") && i < plan->slots.n; i++) {
        const char *service = r->project->services[plan->slots.v[i].service].name;
        if (only && !jarray_has(only, service))
            continue;
        char *name AUTOFREE = name_of(r, &plan->slots.v[i]);
        rehearse(r, "Container", name, "Waiting", "Healthy", NULL);
    }
}

static int plan_and_tell(struct rehearsal *r, const struct graph *g, const struct facts *facts,
                         bool *selected, bool *targeted, struct err *err)
{
    VEC(const struct container_record *) have = {0};
    for (size_t i = 0; i < r->list.n; i++)
        vec_push(&have, &r->list.v[i]);
    const struct plan_input in = {
        .project = r->project,
        .graph = g,
        .options = r->options,
        .selected = selected,
        .targeted = targeted,
        .facts = facts,
        .have = have.v,
        .have_n = have.n,
    };
    struct plan plan = {0};
    plan_make(&in, &plan);
    const struct lack *lack = plan_lack(&in, &plan);
    if (!lack)
        tell(r, facts, &plan);
    plan_release(&plan);
    vec_release(&have);
    if (!lack)
        return 0;
    err_set(err, lack->err.kind, "%s", lack->err.msg);
    return err_at_path(err, r->project, lack->path);
}

int rehearse_up(struct rehearsal *r, struct err *err)
{
    struct graph g;
    char **names AUTOSTRV = jarray_to_strv(json_object_get(r->request, "services"));
    const struct strings wanted = {(const char **)names, strv_len((const char *const *)names)};
    struct image_store *images;
    if (cli_store(r->cli, &images, err) < 0 || graph_init(&g, r->project, err) < 0)
        return -1;
    bool *selected AUTOFREE = xcalloc(g.n + 1, sizeof(*selected));
    bool *targeted AUTOFREE = xcalloc(g.n + 1, sizeof(*targeted));
    struct facts facts = {
        .paths = &r->cli->paths,
        .images = images,
        .project = r->project,
        .environment = json_object_get(r->request, "environment"),
        .renew = json_object_get(r->options, "renew_volumes"),
        .lenient = true,
        .selected = selected,
    };
    int rc = graph_select(&g, &wanted, !rehearsal_flag(r, "no_deps"), selected, err);
    if (rc == 0)
        rc = graph_select(&g, &wanted, false, targeted, err);
    if (rc == 0)
        rc = facts_gather(&facts, err);
    if (rc == 0)
        rc = plan_and_tell(r, &g, &facts, selected, targeted, err);
    facts_release(&facts);
    graph_release(&g);
    return rc;
}
