#include "engine/order.h"

#include "base/mem.h"
#include "engine/container.h"

/* Through any number of services of the project as last applied. */
static bool reaches(const struct project *p, const struct service *from, const char *to, int depth)
{
    for (size_t i = 0; i < from->depends_on_n; i++) {
        const char *name = from->depends_on[i].service;
        const struct service *next = p ? project_service(p, name) : NULL;
        if (streq(name, to))
            return true;
        /* The graph has no cycle; containers of an older project may disagree with it. */
        if (next && depth < 64 && reaches(p, next, to, depth + 1))
            return true;
    }
    return false;
}

bool order_depends_on(struct container *c, const struct container *other)
{
    const struct service *s = container_service(c);
    const struct project_ref *applied = c->engine->project;
    return s && !c->record.oneoff &&
           reaches(applied ? applied->project : NULL, s, other->record.service, 0);
}

bool order_dependents_run(const struct engine *e, struct container *c)
{
    if (c->record.oneoff)
        return false;
    for (size_t i = 0; i < e->containers.n; i++) {
        struct container *other = e->containers.v[i];
        if (other != c && other->state != C_IDLE && other->state != C_GONE &&
            other->state != C_REMOVING && order_depends_on(other, c))
            return true;
    }
    return false;
}
