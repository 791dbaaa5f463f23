/* Operations: what clients ask for, one at a time per project, in the order they came.
 *
 * An operation drives containers by looking at them: its step function is called whenever anything
 * changed (engine_kick) and says when it is finished. It holds no callbacks. */
#ifndef ENGINE_OPERATION_H
#define ENGINE_OPERATION_H

#include "engine/engine.h"

struct client;

struct operation_kind {
    const char *name; /* the request's "op" */
    /* Reads the request and makes the plan. -1: refused. */
    int (*begin)(struct operation *op, struct err *err);
    /* True when finished; op->failure says whether it failed. */
    bool (*step)(struct operation *op);
    void (*release)(struct operation *op);
    bool at_once;   /* does not wait for its turn: it only sends signals */
    bool overrides; /* ends a start that is under way: whoever stops does not wait for it */
    bool starts;    /* may be ended so */
};

struct operation {
    struct engine *engine;
    const struct operation_kind *kind;
    struct client *client; /* NULL once it is gone */
    json_t *request;       /* whole */
    const json_t *options; /* member of it, may be NULL */
    bool begun, cancelled; /* cancelled: begin nothing further */
    bool attach;           /* keep the client for container events afterwards */
    struct err failure;
    json_t *culprit; /* what of the project failed, see operation_blame() */
    int exit_code;
    uv_timer_t *deadline; /* heap; NULL: none */
    bool expired;         /* the deadline passed */
    void *data;           /* the kind's */
};

/* NULL: no such operation. */
const struct operation_kind *operation_kind_find(const char *name);

/* Queues; takes the reference to request. */
struct operation *operation_submit(struct engine *e, const struct operation_kind *kind,
                                   struct client *client, json_t *take_request);
/* The client has gone. */
void operation_cancel(struct operation *op);
/* Calls the operation's step again after ns and sets expired. */
void operation_set_deadline(struct operation *op, int64_t ns);
/* Runs the queue as far as it goes. */
void operations_step(struct engine *e);

/* Events to the client; see engine/protocol.h. */
void operation_progress(struct operation *op, const char *kind, const char *name, const char *text,
                        const char *state, const char *detail);
/* The same with the reasons why: an array as of engine/plan.h, borrowed; NULL: none. */
void operation_explain(struct operation *op, const char *kind, const char *name, const char *text,
                       const char *state, json_t *reasons);
void operation_warn(struct operation *op, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void operation_send(struct operation *op, json_t *take_event);
/* Keeps the first failure. Takes the error's content. */
void operation_fail(struct operation *op, struct err *err);

/* Before operation_fail(): the path of what is at fault in the project, for its place in the files. */
void operation_blame(struct operation *op, json_t *take_path);

/* Options of the request, with defaults. */
bool operation_flag(const struct operation *op, const char *name);
/* It was asked of a supervisor that died on the way. */
bool operation_is_repeated(const struct operation *op);
/* ... which has started the container for it. */
bool operation_has_started(const struct operation *op, const struct container *c);
/* Seconds as ns; -1 where not given. */
int64_t operation_seconds(const struct operation *op, const char *name);
/* "services" as a vector, NULL: all. Heap. */
char **operation_services(const struct operation *op);
/* Is the service one of those, or are all meant? */
bool operation_means(char **services, const char *service);

extern const struct operation_kind op_up, op_create, op_down, op_start, op_stop, op_restart,
    op_restore, op_kill, op_rm, op_pause, op_unpause, op_run;
/* No client asks for it: starts the containers that are due. */
extern const struct operation_kind op_resume;

/* "\n  last probe: ...", "\n  it was killed, out of memory", "\n  | log line": why a container is not as it
 * should be, in lines to follow an error's first one. Heap. */
char *container_cause(const struct container *c);
/* "\n  | log line" for each of its last ones. Heap. */
char *container_last_words(const struct container *c);

#endif
