/* What containers of a project share: networks, volumes and images, made or found in one job before
 * the first container, removed after the last one. */
#ifndef ENGINE_RESOURCES_H
#define ENGINE_RESOURCES_H

#include "engine/facts.h"
#include "engine/operation.h"

/* A network or volume that did not exist before, or was made anew. */
struct made_resource {
    const char *kind, *name; /* borrowed from the project */
    json_t *changes;         /* why it was made anew, NULL: it is new; borrowed from the facts */
};

struct resource_job {
    struct operation *op;
    struct facts facts;
    bool surveyed, done;

    /* out */
    VEC(struct made_resource) made;
    char **warnings;
    struct err err;
};

/* Starts to look at what is there; sets surveyed and kicks the engine at the end. selected is
 * borrowed and may grow (engine/facts.h). renew: what changed is to be made anew. */
struct resource_job *resources_survey(struct operation *op, const struct project_ref *ref,
                                      bool *selected, bool renew);
/* Then: makes what is missing, makes anew what changed, mends the rest; sets done. What used a network
 * or volume that changed must have been stopped, or removed. */
void resources_make(struct resource_job *j);
/* Tells the client what was made. */
void resources_report(struct resource_job *j);
void resource_job_free(struct resource_job *j);

struct removal_job {
    struct operation *op;
    const struct paths *paths;
    char *project;
    char **kept_names; /* external networks and volumes: not ours to remove */
    bool volumes;
    bool inhabited; /* some of its containers stay: of services that were not asked for */
    bool done;
    /* out: "Network NAME", "Volume NAME"; kept: those still in use, with the reason */
    char **removed, **kept;
    struct err err;
};

/* Removes the project's networks, with volumes its volumes, and its folders unless containers stay.
 * p: says what is external; may be NULL. */
struct removal_job *resources_remove(struct operation *op, const struct project *p, bool volumes);
void removal_report(struct removal_job *j);
void removal_job_free(struct removal_job *j);

#endif
