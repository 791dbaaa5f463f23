/* The part of `up` between plan and start: what is in the way of changed networks and volumes goes,
 * then containers are made, replaced, stopped or removed. */
#ifndef ENGINE_UP_CREATE_H
#define ENGINE_UP_CREATE_H

#include "engine/operation.h"
#include "engine/plan.h"
#include "engine/resources.h"

enum slot_state {
    SLOT_NEW,      /* nothing done yet */
    SLOT_YIELDING, /* being stopped before what it depends on, its network or its volume is replaced */
    SLOT_YIELDED,  /* ... done */
    SLOT_VACATING, /* ... being removed, for a volume's sake */
    SLOT_VACATED,  /* the container is gone, and the one that replaces it there */
    SLOT_STOPPING, /* the old container is being stopped */
    SLOT_REMOVING, /* ... and removed */
    SLOT_CREATED,  /* the container exists */
    SLOT_STARTING,
    SLOT_STARTED,
    SLOT_FAILED,
};

/* One container that shall exist. */
struct slot {
    const struct plan_slot *plan;
    size_t service; /* index in the project */
    enum slot_state state;
    struct container *c;
    struct container *next;       /* replaces c, and is there before that goes; NULL */
    struct container_mount *kept; /* anonymous volumes of the one that it replaces */
    size_t kept_n;
    bool waiting_told, settled_told; /* progress of others' waiting for it */
};

/* A container that shall be gone: scaled down, or an orphan. */
struct surplus {
    struct container *c;
    bool ran, stopping, removing, done;
};

struct creation {
    struct project_ref *ref; /* borrowed */
    struct resource_job *resources;
    struct plan plan;
    VEC(struct slot) slots;
    VEC(struct surplus) surplus;
};

/* Plans, once resources->surveyed. */
void creation_plan(struct operation *op, struct creation *up, bool *selected, bool *targeted);
/* Each is called again whenever something changed; true when nothing is under way any more. */
bool creation_clear(struct operation *op, struct creation *up);
bool creation_step(struct operation *op, struct creation *up);
void creation_release(struct creation *up);

/* A line of progress of a container. */
void container_told(struct operation *op, const struct container *c, const char *text,
                    const char *state, const char *detail);

#endif
