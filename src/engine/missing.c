#include "engine/missing.h"

#include "base/mem.h"
#include "engine/container.h"

struct missing {
    struct operation *op;
    const struct project *project;
    const struct graph *graph;
    bool *selected, *blocked; /* by service */
    bool restarts;            /* then only depends_on with restart: true counts */
    struct err *why;
};

static bool has_container(const struct engine *e, const char *service)
{
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container *c = e->containers.v[i];
        if (c->state != C_GONE && !c->record.oneoff &&
            (!service || streq(c->record.service, service)))
            return true;
    }
    return false;
}

static bool has_replicas(const struct service *s)
{
    return s->scale && !s->provider;
}

/* NULL: the dependency does not count for this operation. */
static const struct service *followed(const struct missing *m, const struct dependency *d)
{
    const struct service *s = project_service(m->project, d->service);
    bool counts = s && m->selected[s - m->project->services] && (d->restart || !m->restarts);
    return counts ? s : NULL;
}

/* start takes along what the named services depend on, restart what depends on them. */
static void select_services(struct missing *m)
{
    const struct project *p = m->project;
    char **names AUTOSTRV = operation_services(m->op);
    bool along = m->restarts && !operation_flag(m->op, "no_deps");
    for (size_t k = 0; k < m->graph->n; k++) {
        size_t i = m->graph->order[k];
        m->selected[i] = operation_means(names, p->services[i].name);
        for (size_t d = 0; along && d < p->services[i].depends_on_n; d++)
            m->selected[i] |= followed(m, &p->services[i].depends_on[d]) != NULL;
    }
    for (size_t k = m->graph->n; k-- && !m->restarts;) {
        const struct graph_node *node = &m->graph->nodes[m->graph->order[k]];
        for (size_t n = 0; n < node->needs_n; n++)
            m->selected[node->needs[n]] |= m->selected[m->graph->order[k]];
    }
}

static void judge_dependency(struct missing *m, size_t i, const struct dependency *d)
{
    const struct service *on = followed(m, d);
    const char *name = m->project->services[i].name;
    if (!on)
        return;
    m->blocked[i] |= m->blocked[on - m->project->services];
    if (d->condition == DEPENDS_STARTED || !has_replicas(on) ||
        has_container(m->op->engine, on->name))
        return;
    if (!d->required) {
        operation_warn(m->op, "%s is missing dependency %s", name, on->name);
        return;
    }
    m->blocked[i] = true;
    if (!m->why->msg)
        err_set(m->why, ERR_NOT_FOUND, "%s is missing dependency %s", name, on->name);
}

void missing_find(struct operation *op, const struct project_ref *ref, bool *blocked,
                  struct err *why)
{
    const struct project *p = ref->project;
    bool *selected AUTOFREE = xcalloc(p->services_n, sizeof(*selected));
    struct missing m = {.op = op,
                        .project = p,
                        .graph = &ref->graph,
                        .selected = selected,
                        .blocked = blocked,
                        .restarts = op->kind == &op_restart,
                        .why = why};
    bool none = !m.restarts && !has_container(op->engine, NULL);
    select_services(&m);
    for (size_t k = 0; k < m.graph->n; k++) {
        size_t i = m.graph->order[k];
        const struct service *s = &p->services[i];
        for (size_t d = 0; selected[i] && d < s->depends_on_n; d++)
            judge_dependency(&m, i, &s->depends_on[d]);
        if (selected[i] && none && has_replicas(s) && !why->msg)
            err_set(why, ERR_NOT_FOUND, "service \"%s\" has no container to start", s->name);
    }
}
