#include "engine/order.h"

#include "base/mem.h"
#include "engine/container.h"

/* Through any number of services of the project as last applied; seen: by index of its services. */
static bool reaches(const struct project *p, const struct service *from, const char *to, bool *seen)
{
    for (size_t i = 0; i < from->depends_on_n; i++) {
        const char *name = from->depends_on[i].service;
        const struct service *next = p ? project_service(p, name) : NULL;
        if (streq(name, to))
            return true;
        if (!next || seen[next - p->services])
            continue;
        seen[next - p->services] = true;
        if (reaches(p, next, to, seen))
            return true;
    }
    return false;
}

static bool depends_by_service(struct container *c, const struct container *other)
{
    const struct service *s = container_service(c);
    const struct project *p = c->engine->project ? c->engine->project->project : NULL;
    if (!s || !s->depends_on_n || c->record.oneoff)
        return false;
    bool *seen AUTOFREE = xcalloc(p ? p->services_n : 0, sizeof(*seen));
    return reaches(p, s, other->record.service, seen);
}

/* Does one of the namespaces belong to a container by this name, NULL: by any? */
static bool joins(const struct service *s, const char *name)
{
    const char *const modes[] = {s->network_mode, s->ipc, s->pid};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (modes[i] && starts_with(modes[i], "container:") &&
            (!name || streq(strchr(modes[i], ':') + 1, name)))
            return true;
    return false;
}

bool order_joins(struct container *c, struct container *other)
{
    const struct service *s = container_service(c), *owner = container_service(other);
    return s && owner && joins(s, other->record.name) && !joins(owner, NULL) &&
           !depends_by_service(other, c);
}

/* Two may each need the other where only one was made anew after the file turned its depends_on round. */
bool order_depends_on(struct container *c, struct container *other)
{
    return (depends_by_service(c, other) && !depends_by_service(other, c)) || order_joins(c, other);
}
