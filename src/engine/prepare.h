/* What stands between a container's record and its first process: volumes, root file system,
 * network, bundle. One job a start, run in the pool on private data, and its counterpart after the
 * end. */
#ifndef ENGINE_PREPARE_H
#define ENGINE_PREPARE_H

#include "engine/engine.h"
#include "engine/log_driver.h"
#include "net/network.h"
#include "runtime/bundle.h"

struct prepare_job {
    struct container *owner;
    /* in; borrowed ones stay valid while the container holds its project */
    const struct paths *paths;
    const struct project *project;
    const struct service *service;
    const json_t *environment;
    struct image_store *images;
    struct container_record record; /* a view: strings are the container's, see prepare_job_new() */
    char *dir;
    char *shared_netns, *shared_ipc, *shared_pid, *shared_uts; /* of other containers, NULL: own */
    struct container_mount *inherited; /* volumes_from, resolved by the engine; owned */
    size_t inherited_n;

    /* out */
    struct oci_runtime runtime;
    struct image *image;
    struct container_mount *mounts; /* what the record shall hold */
    size_t mounts_n;
    struct endpoint *endpoints; /* one a network */
    size_t endpoints_n;
    char *gateway_network; /* whose table publishes ports, NULL: none */
    bool internal_only;    /* no network leads outside */
    char *netns;           /* path of the pin, NULL: the host's network */
    char *command;         /* as ps shows it */
    char **log_sink;       /* for the record */
    char **warnings;
    struct err err;
};

/* Resolves what other containers share; ERR_* when one of them does not run. */
int prepare_job_new(struct engine *e, struct container *c, struct prepare_job **out,
                    struct err *err);
/* The blocking part: sets job->err. What it made is taken back by cleanup_run(), also after errors.
 */
void prepare_run(void *job);
void prepare_job_free(struct prepare_job *job);

/* Can the secret or config be had? text: its content, NULL where it is that of a file. Blocks. */
int prepare_object(const struct file_object *object, const char *kind, const json_t *environment,
                   const char **text, struct err *err);

/* The command line of service and image, as ps shows it. Heap. */
char *prepare_command_text(const struct service *s, const struct image *image);

/* Takes back what a container has in the kernel; for adopted and half-made ones too. */
struct cleanup_job {
    const struct paths *paths;
    char *id;
    char *dir; /* removed with the record when remove is set */
    bool remove;
    char **volumes;                  /* anonymous volumes to remove too */
    struct container_record *record; /* for remove */
    char *runtime;                   /* name of the runtime, NULL: the default one */
    bool runtime_clean;              /* the monitor has had the runtime delete it */
    bool again;                      /* the first attempt failed, perhaps half-way */
    struct container *owner;
    struct err err;
};

struct cleanup_job *cleanup_job_new(struct engine *e, struct container *c, bool remove,
                                    bool volumes);
void cleanup_run(void *job);
void cleanup_job_free(struct cleanup_job *job);

#endif
