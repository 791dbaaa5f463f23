/* What an `up` or `create` will do: worked out from facts and records alone, before anything is done.
 * engine/up.c carries it out, --dry-run prints it. */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include "base/vec.h"
#include "engine/facts.h"
#include "engine/state.h"

/* RESTART: the container serves, but a service that it depends on with restart: true is replaced (one
 * that shares the network of a replaced container would stay in a dead namespace), or a network of
 * its is made anew. */
enum plan_action { PLAN_KEEP, PLAN_RESTART, PLAN_CREATE, PLAN_RECREATE };

/* A container that shall exist. */
struct plan_slot {
    size_t service; /* index in the project */
    int number;
    enum plan_action action;
    const struct container_record *have; /* NULL: none yet */
    /* Array of: model/changes.h, or {"text": T}, which may stand beside a path. NULL: none. */
    json_t *reasons;
    bool follows;  /* stopped before what it depends on with restart: true is replaced */
    bool evicted;  /* stopped before a network of its is made anew */
    bool unseated; /* removed before a volume of its is made anew */
};

struct plan_input {
    const struct project *project;
    const struct graph *graph;
    const json_t *options;     /* of the request */
    bool *selected, *targeted; /* by service; targeted: named, or all when none was */
    const struct facts *facts;
    const struct container_record *const
        *have; /* all containers of the project that are not gone */
    size_t have_n;
};

struct plan {
    VEC(struct plan_slot) slots;                  /* in the order of the graph, by number */
    VEC(const struct container_record *) surplus; /* go: scaled down, or orphans to be removed */
    char *orphans; /* names of those that stay, as the warning lists them; NULL: none */
};

void plan_make(const struct plan_input *in, struct plan *out);
/* What a container that is to be replaced could not be started without: whoever finds that carries nothing
 * out, so that the old one runs on. NULL: nothing. */
const struct lack *plan_lack(const struct plan_input *in, const struct plan *plan);
void plan_release(struct plan *plan);

/* Does a container of this slot have to be stopped before one of the other's service is replaced? */
bool plan_follows(const struct project *p, const struct plan_slot *slot,
                  const struct plan_slot *other);

/* The warning of the reference. Heap. */
char *plan_orphan_warning(const struct plan *plan);

#endif
