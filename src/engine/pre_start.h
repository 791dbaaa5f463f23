/* pre_start: before a service's containers start, each of its steps runs in a container of its own, one
 * after the other, until one fails. A container that comes while another of the service runs has only
 * the steps that are there for each (per_replica).
 *
 * A step's container is a one-off with a label; a supervisor that finds one it has not made removes
 * it. The operation that starts the containers drives the steps: it holds the list. */
#ifndef ENGINE_PRE_START_H
#define ENGINE_PRE_START_H

#include "engine/condition.h"
#include "engine/operation.h"

struct pre_start;

struct pre_starts {
    VEC(struct pre_start *) v;
};

/* May c start now? It is about to, and does not run. BROKEN: the operation was told why. */
enum verdict pre_starts_judge(struct pre_starts *list, struct operation *op, struct container *c);
/* Goes on with what is under way. Once the operation is cancelled the steps that run are killed, and
 * once it failed no further one begins. */
void pre_starts_step(struct pre_starts *list);
/* Is something under way? Then the operation must not end. */
bool pre_starts_busy(const struct pre_starts *list);
void pre_starts_release(struct pre_starts *list);

/* Is it the container of a step? */
bool pre_start_made(const struct container *c);
/* Name of the container of a step, heap. separator: the project's; i: the step's place in the list. */
char *pre_start_name(const char *separator, const char *container, size_t i);

#endif
