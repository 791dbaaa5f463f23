/* A container of a service that was changed for one task: what `run` and the steps of pre_start are. */
#ifndef ENGINE_ONEOFF_H
#define ENGINE_ONEOFF_H

#include "engine/create.h"
#include "engine/resources.h"

struct oneoff {
    struct project_ref *ref; /* the project cut down to the changed service */
    struct resource_job *resources;
    bool making; /* resources_make() was called */
    bool selected;
};

/* from: the project, or a slice of it. take_changed: the section of the service as it shall be. */
int oneoff_begin(struct oneoff *o, struct operation *op, const struct project_ref *from,
                 const char *service, json_t *take_changed, struct err *err);
/* Called again whenever something changed; true once the networks and volumes are there, or err says
 * why not. Not to be released before. */
bool oneoff_ready(struct oneoff *o, struct err *err);
/* spec: name, number and labels are the caller's to give. NULL: err. Not saved yet. */
struct container *oneoff_create(struct oneoff *o, struct engine *e, struct container_spec *spec,
                                struct err *err);
void oneoff_release(struct oneoff *o);

#endif
