#include "engine/condition.h"

#include <string.h>

#include "base/mem.h"
#include "engine/operation.h"

enum verdict condition_broken(const struct container *c, struct err *err, const char *what)
{
    char *cause AUTOFREE = container_cause(c);
    err_set(err, ERR_UNAVAILABLE, "container %s %s%s", c->record.name, what, cause);
    return BROKEN;
}

static enum verdict judge_healthy(const struct container *c, struct err *err)
{
    switch (c->record.health) {
    case HEALTH_HEALTHY:
        return HOLDS;
    case HEALTH_UNHEALTHY:
        return condition_broken(c, err, "is unhealthy");
    case HEALTH_STARTING:
        return PENDING;
    case HEALTH_NONE:
        break;
    }
    if (container_is_running(c))
        return condition_broken(c, err, "has no healthcheck configured");
    if (c->state != C_IDLE)
        return PENDING;
    char *what AUTOFREE = xasprintf("exited (%d)", c->record.exit_code);
    return condition_broken(c, err, what);
}

static enum verdict judge_completed(const struct container *c, struct err *err)
{
    if (c->state != C_IDLE)
        return PENDING;
    if (c->record.exit_code == 0)
        return HOLDS;
    char *cause AUTOFREE = container_cause(c);
    err_set(err, ERR_UNAVAILABLE, "service \"%s\" didn't complete successfully: exit %d%s",
            c->record.service, c->record.exit_code, cause);
    return BROKEN;
}

enum verdict condition_judge(const struct container *c, enum depends_condition condition,
                             struct err *err)
{
    switch (condition) {
    case DEPENDS_STARTED:
        break;
    case DEPENDS_HEALTHY:
        return judge_healthy(c, err);
    case DEPENDS_COMPLETED:
        return judge_completed(c, err);
    }
    return HOLDS;
}

struct choice {
    bool (*counts)(const void *arg, const struct container *d);
    const void *arg;
};

static enum verdict judge_service(const struct engine *e, const struct dependency *d,
                                  const struct choice *choice, struct err *err)
{
    enum verdict all = HOLDS;
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container *c = e->containers.v[i];
        if (c->record.oneoff || c->state == C_GONE || !streq(c->record.service, d->service) ||
            (choice->counts && !choice->counts(choice->arg, c)))
            continue;
        enum verdict one = condition_judge(c, d->condition, err);
        if (one == BROKEN)
            return BROKEN;
        if (one == PENDING)
            all = PENDING;
    }
    return all;
}

enum verdict conditions_judge(struct container *c,
                              bool (*counts)(const void *arg, const struct container *d),
                              const void *arg, struct err *err)
{
    const struct service *s = container_service(c);
    const struct choice choice = {counts, arg};
    enum verdict all = HOLDS;
    for (size_t i = 0; s && i < s->depends_on_n; i++) {
        struct err why AUTOERR = ERR_INIT;
        enum verdict one = judge_service(c->engine, &s->depends_on[i], &choice, &why);
        if (one == BROKEN && s->depends_on[i].required) {
            err_move(err, &why);
            err_wrap(err, "dependency failed to start");
            return BROKEN;
        }
        if (one == PENDING)
            all = PENDING;
    }
    return all;
}
