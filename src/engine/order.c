#include "engine/order.h"

#include "base/mem.h"
#include "engine/container.h"

bool order_depends_on(struct container *c, const struct container *other)
{
    const struct service *s = container_service(c);
    if (!s || c->record.oneoff)
        return false;
    for (size_t i = 0; i < s->depends_on_n; i++)
        if (streq(s->depends_on[i].service, other->record.service))
            return true;
    return false;
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
