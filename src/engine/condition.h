/* What depends_on asks of a container: the same for up, start, restart and what comes back after a
 * reboot. */
#ifndef ENGINE_CONDITION_H
#define ENGINE_CONDITION_H

#include "engine/container.h"

enum verdict { HOLDS, PENDING, BROKEN };

/* "container NAME WHAT" with the cause below. */
enum verdict condition_broken(const struct container *c, struct err *err, const char *what);

/* Has the container, which was started, become what the condition asks? BROKEN: it cannot any more,
 * err says why, with the cause below. */
enum verdict condition_judge(const struct container *c, enum depends_condition condition,
                             struct err *err);
/* The same for all containers that c's service depends on, as they are now, but for those that
 * counts() leaves out (NULL: none). A dependency that is not required and fails holds. */
enum verdict conditions_judge(struct container *c,
                              bool (*counts)(const void *arg, const struct container *d),
                              const void *arg, struct err *err);

#endif
