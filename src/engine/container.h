/* One container's life as a state machine.
 *
 *   IDLE ──start──▶ PREPARING ──▶ CONNECTING ──▶ LAUNCHING ──▶ RUNNING ──stop──▶ STOPPING
 *    ▲ │               │ error        │ error        │ refused    │ ended           │ ended
 *    │ remove          ▼              ▼              ▼            ▼                 ▼
 *    │ ▼            CLEANING ◀────────┴──────────────┴────────────┴─────────────────┘
 *    │ REMOVING ▶ GONE │
 *    └─────────────────┴──restart policy──▶ BACKOFF ──▶ PREPARING
 *
 * The verbs below record what is wanted; container_step() alone changes the state. Each change is
 * written to the record and followed by engine_kick(), so operations never hold callbacks here. */
#ifndef ENGINE_CONTAINER_H
#define ENGINE_CONTAINER_H

#include "engine/engine.h"
#include "engine/health.h"
#include "engine/link.h"
#include "engine/prepare.h"

enum container_state {
    C_IDLE,
    C_PREPARING,
    C_CONNECTING,
    C_LAUNCHING,
    C_RUNNING,
    C_STOPPING,
    C_CLEANING,
    C_BACKOFF,
    C_REMOVING,
    C_GONE,
};

/* Docker's exit code of a container that could not be started, unless 126 or 127 says why its command
 * could not be run. */
enum { EXIT_NOT_STARTED = 128 };

struct container {
    struct engine *engine;
    struct container_record record;
    struct project_ref *project; /* what it was made from */
    struct service *service;
    enum container_state state;

    /* wanted */
    bool start_wanted, stop_wanted, remove_wanted, remove_volumes;
    int64_t stop_timeout; /* ns */
    int kill_signal;      /* sent instead of the stop signal where set */
    struct {
        int signal;
        int64_t grace, waited; /* ns */
        bool deaf;             /* its first process did not hear the signal */
        bool told;             /* that it takes its time */
    } stop;                    /* the one under way */

    /* facts */
    bool launch_failed; /* the last start failed, record.error says why */
    bool half_made;     /* it was about to run when its supervisor or monitor died */
    bool work_done, dns_pending, ports_pending, timer_fired;
    bool up, ended, lost;   /* what the monitor says; lost: it is gone */
    struct err fault;       /* of the step that is under way */
    bool runtime_clean;     /* the runtime knows nothing of it any more */
    bool killed;            /* SIGKILL was sent by us */
    bool restart_unhealthy; /* it is stopped to be started again: x-restart-unhealthy */
    bool hooks_due;         /* post_start or pre_stop, before the command is done */
    bool await_attach;      /* its output waits for a client: `run` */
    int64_t backoff;        /* ns before the next restart */
    int64_t ran;            /* ns that the last run lasted, by no clock that can be set */

    struct prepare_job *job;
    struct cleanup_job *cleanup;
    struct monitor_link *link;
    struct monitor_link *keeper; /* to the monitor of a run that is over, until there is another */
    struct health *health;
    struct hooks *hooks;   /* post_start while it is started, pre_stop before it is stopped */
    struct err hook_fault; /* of the last command */
    struct dns_endpoint *dns;
    char **zones;       /* networks whose zones know this container */
    bool internal_only; /* none of its networks leads outside */
    int pidfd;          /* of the first process, -1 */
    int tty_fd;         /* dup of its pty master, -1 */
    int output[2];      /* its FIFOs: what is in them outlives container and monitor; -1 */
    uv_timer_t timer;
    bool closing;
    bool unsaved;                      /* the record on disk is out of date */
    bool adrift;                       /* it runs without a monitor, and none could be started */
    bool names_missing, ports_missing; /* it was taken over, and they could not be had */
    bool probes_missing;               /* it runs, and they could not be started */
};

/* A container that is new or was read from disk. Takes the record; project may be NULL for an
 * adopted one: then it is decoded from record.config when needed. */
struct container *container_new(struct engine *e, struct container_record *take_record,
                                struct project_ref *project);
/* Looks at what is left of a container that another supervisor ran, and goes on from there. */
void container_adopt(struct container *c);

void container_start(struct container *c);
/* timeout in ns; -1: the service's stop_grace_period. */
void container_stop(struct container *c, int64_t timeout);
/* The same because the machine goes down: after a reboot its restart policy counts. */
void container_shut_down(struct container *c, int64_t timeout);
/* The same for a while. It is due from now on: on disk, so that it runs again whoever dies meanwhile. */
void container_stop_meanwhile(struct container *c, int64_t timeout);
/* Without its pre_stop hooks, as it is replaced; due: if it ran, it or what replaces it runs again. */
void container_stop_replaced(struct container *c, int64_t timeout, bool due);
/* Whoever wanted the stop is gone: while its pre_stop hooks run it can be withdrawn. */
void container_withdraw_stop(struct container *c);
/* It is not due any more. */
void container_give_up(struct container *c);
/* Takes the place of one that is to be removed: due if that one is, and watched over in the same way. */
void container_inherit(struct container *c, struct container *from);
/* Its probes failed: x-restart-unhealthy has it stopped and started again, so often. */
void container_restart_unhealthy(struct container *c);
/* Sends a signal now; ERR_CONFLICT when it does not run. */
int container_kill(struct container *c, int sig, struct err *err);
void container_remove(struct container *c, bool volumes);
void container_pause(struct container *c, bool pause);

void container_step(struct container *c);
/* Steps after ns with timer_fired, unless told otherwise meanwhile. */
void container_wake(struct container *c, int64_t ns);
/* Does again what has failed; true when something still waits. */
bool container_retry(struct container *c);
/* Lets go of handles without touching the container, when the supervisor retires. */
void container_detach(struct container *c);

bool container_is_running(const struct container *c); /* has a process, paused included */
/* ... whose process has ended: it is not told yet, and will be. */
bool container_is_ending(const struct container *c);
bool container_is_settled(const struct container *c); /* IDLE, RUNNING or GONE: nothing under way */
bool container_is_starting(const struct container *c); /* by a command, post_start hooks included */
/* Did a pre_stop hook fail? Then it runs on, and err says so. Else false. */
bool container_refused_stop(const struct container *c, struct err *err);
/* The service that it was made from, decoded if need be. */
struct service *container_service(struct container *c);
void container_save(struct container *c);

#endif
