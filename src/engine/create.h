/* Makes a container's record: id, name, labels, hash. Nothing of it is in the kernel yet. */
#ifndef ENGINE_CREATE_H
#define ENGINE_CREATE_H

#include "engine/engine.h"

struct container_spec {
    struct project_ref *project;
    const struct service *service;
    int number;
    const char *image_id;
    const char *command;              /* as ps shows it, NULL: not known before its start */
    json_t *inputs;                   /* container_record.inputs, borrowed; NULL: not known */
    bool oneoff;                      /* `run` */
    const char *id;                   /* 64 hex digits; NULL: a new one */
    const char *name;                 /* NULL: container_name, else <project>-<service>-<number> */
    const json_t *labels;             /* more, object of strings; NULL: none */
    const struct container *replaced; /* that goes, and whose name it may have; NULL: none */
};

/* Label com.docker.compose.depends_on of the service: "db:service_healthy:false,...". Heap. */
char *container_depends_label(const struct service *s);

/* What a container of the service is called where nothing else is asked for. Heap. */
char *container_default_name(const struct project *p, const struct service *s, int number);

/* NULL with ERR_CONFLICT when the name is taken. Not saved yet. */
struct container *container_create(struct engine *e, const struct container_spec *spec,
                                   struct err *err);

#endif
