/* What containers of a project share: networks, volumes and images, made or found in one job before
 * the first container, removed after the last one. */
#ifndef ENGINE_RESOURCES_H
#define ENGINE_RESOURCES_H

#include "engine/operation.h"

struct resource_job {
    struct operation *op;
    const struct paths *paths;
    struct image_store *images;
    const struct project *project;
    const bool *selected; /* by index of project->services */
    bool done;

    /* out */
    char **image_ids; /* by index of project->services; NULL: not selected */
    char **made;      /* "Network NAME", "Volume NAME" that did not exist before */
    char **warnings;
    struct err err;
};

/* The image a service runs: image:, or <project>-<service> when it is built. Heap. */
char *service_image(const struct project *p, const struct service *s);

/* Starts the job; sets done and kicks the engine at its end. selected is borrowed. */
struct resource_job *resources_make(struct operation *op, const struct project *p,
                                    const bool *selected);
/* Tells the client what was made. */
void resources_report(struct resource_job *j);
void resource_job_free(struct resource_job *j);

struct removal_job {
    struct operation *op;
    const struct paths *paths;
    char *project;
    char **kept_names; /* external networks and volumes: not ours to remove */
    bool volumes;
    bool done;
    /* out: "Network NAME", "Volume NAME"; kept: those still in use, with the reason */
    char **removed, **kept;
    struct err err;
};

/* Removes the project's networks, with volumes its volumes, and its folders. */
/* p: says what is external; may be NULL. */
struct removal_job *resources_remove(struct operation *op, const struct project *p, bool volumes);
void removal_report(struct removal_job *j);
void removal_job_free(struct removal_job *j);

#endif
