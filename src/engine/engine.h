/* What the modules of the supervisor share: the loop, the project, its containers, and the way to
 * say that something changed.
 *
 * Everything here lives on the loop's thread. Blocking work goes to the pool on private data
 * (engine_work); a callback records facts and calls container_step() or engine_kick(). */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"
#include "base/vec.h"
#include "dns/server.h"
#include "engine/state.h"
#include "image/store.h"
#include "model/graph.h"
#include "model/project.h"
#include "net/port.h"
#include "runtime/oci.h"
#include "runtime/sealed.h"

struct container;
struct operation;
struct reaper;
struct server;
struct turns;
struct work;

/* A loaded project, shared by the containers that were made from it. */
struct project_ref {
    struct project *project;
    struct graph graph;  /* empty of a slice */
    json_t *json;        /* what it was decoded from: model/decode.h, project_to_json() */
    json_t *environment; /* values of the variables that secrets and configs come from */
    unsigned refs;
};

/* Decodes json; environment may be NULL. slice: one service of a project, so its dependencies are
 * missing. */
int project_ref_new(json_t *json, json_t *environment, bool slice, struct project_ref **out,
                    struct err *err);
/* What one container needs of the project's JSON, to be made again without the file. */
json_t *project_slice(const struct project_ref *r, const char *service);
/* The "services" object of a project's JSON. Borrowed. */
json_t *project_services(json_t *json);
struct project_ref *project_ref_get(struct project_ref *r);
void project_ref_put(struct project_ref *r);

struct engine {
    uv_loop_t *loop;
    const struct paths *paths;
    const char *project_name;
    struct project_ref *project; /* as last applied; NULL before the first `up` */
    VEC(struct container *) containers;
    VEC(struct operation *) operations; /* first come, first served; [0] runs */
    VEC(struct monitor_link *) keepers; /* of containers that have ended before we came */
    struct image_store *images;
    struct dns_server *dns;
    struct port_publisher *ports;
    struct server *server;
    struct reaper *reaper;
    struct turns *turns;
    struct sealed_program crun; /* made by the first start */
    unsigned work_pending;
    VEC(struct work *) line; /* work that waits for its turn, and how much has it */
    unsigned line_busy;
    bool retiring;        /* nothing left to supervise: handles are being closed */
    bool handing_over;    /* a newer program waits for us to end; nothing new is begun */
    uv_idle_t kick;       /* runs the operations in this turn of the loop, after the callbacks */
    uv_timer_t retry;     /* see engine_retry_later() */
    uint64_t retry_delay; /* ms, 0: nothing waits */
    bool warming;
    uint64_t warmed; /* when engine_warm_cgroups() was done, uv_now() */
};

/* Something changed: operations look at their containers again before the loop sleeps. */
void engine_kick(struct engine *e);

/* A newer program waits to take over: as soon as nothing is under way this process ends, and leaves all as it
 * is. */
void engine_hand_over(struct engine *e);

/* Runs run(arg) in the pool, then done(arg) on the loop. */
void engine_work(struct engine *e, void (*run)(void *arg), void (*done)(void *arg), void *arg);

/* The same, as many at a time as the machine has processors. For what a hundred containers want at once: what one of
 * them leads to comes before the rest, so that the loop gets it bit by bit. */
void engine_work_in_line(struct engine *e, void (*run)(void *arg), void (*done)(void *arg),
                         void *arg);

/* For uv_read_start(): a buffer on the heap, which the callback that reads frees. */
void engine_read_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buf);

/* A container is about to start: cgroup_warm() in the pool, so that its wait passes meanwhile. */
void engine_warm_cgroups(struct engine *e);

/* Something could not be done for want of room on disk, descriptors or memory: containers try again soon
 * (container_retry()), then less and less often. */
void engine_retry_later(struct engine *e);

struct container *engine_container(const struct engine *e, const char *id);
struct container *engine_container_by_name(const struct engine *e, const char *name);
/* The first container of a service that is no one-off, or NULL. */
struct container *engine_service_container(const struct engine *e, const char *service);

/* Lets go of containers that were removed. No operation may hold one. */
void engine_sweep_gone(struct engine *e);

/* Tells clients that follow events. extra: further members, taken; may be NULL. */
void engine_container_event(struct engine *e, const struct container *c, const char *action,
                            json_t *take_extra);
/* The same of a further process in it. exec_id: 64 hex digits. */
void engine_exec_started(const struct container *c, const char *exec_id, const char *command);
void engine_exec_ended(const struct container *c, const char *exec_id, int exit_code);

#endif
