/* Makes a container's record: id, name, labels, hash. Nothing of it is in the kernel yet. */
#ifndef ENGINE_CREATE_H
#define ENGINE_CREATE_H

#include "engine/engine.h"

struct container_spec {
    struct project_ref *project;
    const struct service *service;
    int number;
    const char *image_id;
    bool oneoff;          /* `run` */
    const char *name;     /* NULL: container_name, else <project>-<service>-<number> */
    const json_t *labels; /* more, object of strings; NULL: none */
};

/* NULL with ERR_CONFLICT when the name is taken. Not saved yet. */
struct container *container_create(struct engine *e, const struct container_spec *spec,
                                   struct err *err);

#endif
