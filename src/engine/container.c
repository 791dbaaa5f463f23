#include "engine/container.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/units.h"
#include "engine/connect.h"
#include "engine/hooks.h"
#include "engine/launch.h"
#include "engine/pre_start.h"
#include "engine/server.h"
#include "engine/stop.h"

static const int64_t SECOND = 1000000000;
static const int64_t BACKOFF_FIRST = 100000000, BACKOFF_MOST = 60 * 1000000000LL;

static const char *const state_names[] = {
    [C_IDLE] = "idle",           [C_PREPARING] = "preparing", [C_CONNECTING] = "connecting",
    [C_LAUNCHING] = "launching", [C_RUNNING] = "running",     [C_STOPPING] = "stopping",
    [C_CLEANING] = "cleaning",   [C_BACKOFF] = "backoff",     [C_REMOVING] = "removing",
    [C_GONE] = "gone",
};

struct container *container_new(struct engine *e, struct container_record *take_record,
                                struct project_ref *project)
{
    struct container *c = xcalloc(1, sizeof(*c));
    c->engine = e;
    c->record = *take_record;
    *take_record = (struct container_record){0};
    c->pidfd = c->tty_fd = c->output[0] = c->output[1] = -1;
    c->stop_timeout = -1;
    if (project) {
        c->project = project_ref_get(project);
        c->service = project_service(project->project, c->record.service);
    }
    uv_timer_init(e->loop, &c->timer);
    c->timer.data = c;
    vec_push(&e->containers, c);
    return c;
}

struct service *container_service(struct container *c)
{
    if (c->service)
        return c->service;
    const struct project_ref *whole = c->engine->project;
    struct err err AUTOERR = ERR_INIT;
    if (project_ref_new(c->record.config, whole ? whole->environment : NULL, true, &c->project,
                        &err) < 0) {
        log_line("%s: its configuration on disk cannot be read: %s", c->record.name, err.msg);
        return NULL;
    }
    c->service = project_service(c->project->project, c->record.service);
    return c->service;
}

void container_save(struct container *c)
{
    struct err err AUTOERR = ERR_INIT;
    if (c->state == C_GONE || c->state == C_REMOVING) {
        c->unsaved = false;
        return;
    }
    bool was_unsaved = c->unsaved;
    c->unsaved = container_record_write(c->engine->paths, &c->record, &err) < 0;
    if (c->unsaved && !was_unsaved)
        log_line("%s: %s", c->record.name, err.msg);
    if (!c->unsaved && was_unsaved)
        log_line("%s: its record is on disk again", c->record.name);
    if (c->unsaved)
        engine_retry_later(c->engine);
}

bool container_retry(struct container *c)
{
    if (c->unsaved)
        container_save(c);
    if (c->adrift) {
        c->adrift = false;
        c->lost = true;
        container_step(c);
    }
    if (c->probes_missing && c->state == C_RUNNING)
        launch_health(c);
    return connect_retry(c) || c->unsaved || c->adrift || c->probes_missing;
}

bool container_is_running(const struct container *c)
{
    return c->state == C_RUNNING || c->state == C_STOPPING;
}

bool container_is_ending(const struct container *c)
{
    /* Readable when its last thread has gone: the first one may end long before. */
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
    if (!container_is_running(c) || pid_has_program(c->record.pid))
        return false;
    if (pid_is_exiting(c->record.pid))
        return true;
    return c->pidfd >= 0 ? poll(&p, 1, 0) > 0
                         : pid_start_time(c->record.pid) != c->record.pid_start;
}

bool container_is_settled(const struct container *c)
{
    return c->state == C_IDLE || c->state == C_RUNNING || c->state == C_GONE;
}

bool container_is_starting(const struct container *c)
{
    return (c->start_wanted && c->state != C_GONE) || c->state == C_PREPARING ||
           c->state == C_CONNECTING || c->state == C_LAUNCHING ||
           (c->launch_failed && c->state == C_CLEANING) ||
           (c->state == C_RUNNING && c->hooks && !c->stop_wanted);
}

bool container_refused_stop(const struct container *c, struct err *err)
{
    if (c->state != C_RUNNING || c->stop_wanted || c->hooks || !c->hook_fault.msg)
        return false;
    err_set(err, ERR_INVALID, "%s", c->hook_fault.msg);
    return true;
}

static void set_state(struct container *c, enum container_state to)
{
    log_trace("%s: %s -> %s", c->record.name, state_names[c->state], state_names[to]);
    c->state = to;
    engine_kick(c->engine);
}

static void set_error(struct container *c, const char *message)
{
    free(c->record.error);
    c->record.error = message ? xstrdup(message) : NULL;
}

/* --- each starts something and returns; its callback records a fact and steps --- */

static void on_prepared(void *arg)
{
    struct prepare_job *j = arg;
    struct container *c = j->owner;
    c->work_done = true;
    container_step(c);
}

static void begin_prepare(struct container *c)
{
    c->launch_failed = false;
    c->work_done = c->up = c->ended = c->lost = c->killed = c->timer_fired = false;
    c->runtime_clean = false;
    c->names_missing = c->ports_missing = c->probes_missing = false;
    c->ran = 0;
    c->record.exit_code = 0;
    err_release(&c->fault);
    set_error(c, NULL);
    set_state(c, C_PREPARING);
    if (!container_service(c))
        err_set(&c->fault, ERR_CORRUPT, "its configuration cannot be read");
    else if (prepare_job_new(c->engine, c, &c->job, &c->fault) == 0) {
        /* Each start reads all mounts of the machine: the fewer of others are prepared by then, the better. */
        engine_work_in_line(c->engine, prepare_run, on_prepared, c->job);
        engine_warm_cgroups(c->engine);
        return;
    }
    c->work_done = true;
    container_step(c);
}

/* --- the end --- */

static void on_cleaned(void *arg)
{
    struct cleanup_job *j = arg;
    struct container *c = j->owner;
    c->work_done = true;
    container_step(c);
}

static void begin_clean(struct container *c)
{
    uv_timer_stop(&c->timer);
    hooks_cancel(c->hooks);
    c->hooks = NULL;
    hooks_note(c, NULL, 0);
    set_state(c, C_CLEANING);
    launch_end(c);
    c->work_done = false;
    connect_end(c);
}

/* Docker: no restart after a stop by hand; the backoff doubles from 100 ms to a minute and starts
 * anew after ten seconds of running (moby restartmanager). */
static bool restart_wanted(struct container *c)
{
    const struct restart_policy *policy = &c->service->restart;
    if (c->stop_wanted || c->remove_wanted || c->record.stopped_by_user || c->record.oneoff)
        return false;
    if (c->restart_unhealthy)
        return true;
    bool may = (!c->launch_failed || c->record.restart_count > 0) &&
               (policy->max_attempts == UNSET || c->record.restart_attempts < policy->max_attempts);
    switch (policy->kind) {
    case RESTART_NO:
        return false;
    case RESTART_ALWAYS:
    case RESTART_UNLESS_STOPPED:
        return may;
    case RESTART_ON_FAILURE:
        return may && c->record.exit_code != 0;
    }
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct container *c = timer->data;
    c->timer_fired = true;
    container_step(c);
}

void container_wake(struct container *c, int64_t ns)
{
    c->timer_fired = false;
    uv_timer_start(&c->timer, on_timer, (uint64_t)(ns / 1000000), 0);
}

/* deploy.restart_policy.window: one that ran so long was restarted with success. */
static void count_attempts(struct container *c)
{
    int64_t window = c->service->restart.window;
    if (window > 0 && !c->launch_failed && c->ran >= window)
        c->record.restart_attempts = 0;
}

static void begin_backoff(struct container *c)
{
    bool ran_well = c->ran >= 10 * SECOND;
    c->backoff = ran_well || !c->backoff ? BACKOFF_FIRST : c->backoff * 2;
    if (c->backoff > BACKOFF_MOST)
        c->backoff = BACKOFF_MOST;
    int64_t wait = c->service->restart.delay > 0 ? c->service->restart.delay : c->backoff;
    c->record.restart_count++;
    c->record.restart_attempts += !c->restart_unhealthy;
    c->restart_unhealthy = false;
    c->record.status = CONTAINER_RESTARTING;
    set_state(c, C_BACKOFF);
    container_wake(c, wait);
}

static void finish_run(struct container *c)
{
    bool never_ran = c->launch_failed || c->half_made;
    cleanup_job_free(c->cleanup);
    c->cleanup = NULL;
    prepare_job_free(c->job);
    c->job = NULL;
    container_record_clear_endpoints(&c->record);
    c->record.pid = 0;
    c->record.pid_start = 0;
    c->record.health = HEALTH_NONE;
    c->record.status = never_ran && !c->record.started ? CONTAINER_CREATED : CONTAINER_EXITED;
    bool again = false;
    if (container_service(c)) {
        count_attempts(c);
        again = restart_wanted(c);
    }
    if (again)
        begin_backoff(c);
    else
        set_state(c, C_IDLE);
    c->restart_unhealthy = false;
    container_save(c);
    if (!again && !c->record.due)
        launch_let_go(c);
    if (!never_ran)
        engine_container_event(c->engine, c, "die",
                               json_pack("{s:i, s:b, s:b}", "exit_code", c->record.exit_code,
                                         "restarting", again, "oom", c->record.oom_killed));
    if (!again && c->record.auto_remove && !c->half_made)
        c->remove_wanted = c->remove_volumes = true;
    c->half_made = false;
}

/* Somebody waits for it to be gone: `run --rm`. */
static void tell_kept(const struct container *c)
{
    char *text AUTOFREE = xasprintf("container %s cannot be removed: %s", c->record.name,
                                    c->fault.msg);
    json_t *o AUTOJSON = json_pack("{s:s, s:o, s:s}", "event", "warning", "message",
                                   json_text(text), "id", c->record.id);
    server_broadcast(c->engine->server, o);
}

static void on_removed(void *arg)
{
    struct cleanup_job *j = arg;
    struct container *c = j->owner;
    if (j->err.msg)
        err_move(&c->fault, &j->err);
    cleanup_job_free(j);
    c->cleanup = NULL;
    set_state(c, c->fault.msg ? C_IDLE : C_GONE);
    c->remove_wanted = false;
    if (c->fault.msg && c->record.auto_remove)
        tell_kept(c);
    if (c->state == C_GONE)
        engine_container_event(c->engine, c, "destroy", NULL);
}

static void begin_remove(struct container *c)
{
    err_release(&c->fault);
    set_state(c, C_REMOVING);
    c->record.status = CONTAINER_REMOVING;
    c->cleanup = cleanup_job_new(c->engine, c, true, c->remove_volumes);
    engine_work(c->engine, cleanup_run, on_removed, c->cleanup);
}

/* --- hooks --- */

static void on_started_hooks(struct container *c, struct err *err)
{
    c->hooks = NULL;
    if (err)
        err_move(&c->hook_fault, err);
    container_step(c);
    engine_kick(c->engine);
}

/* Of a failed one the container is not stopped. */
static void on_stop_hooks(struct container *c, struct err *err)
{
    c->hooks = NULL;
    c->hooks_due = false;
    if (err && !c->killed) {
        err_move(&c->hook_fault, err);
        c->stop_wanted = c->record.stopped_by_user = c->record.due = false;
    }
    container_step(c);
    engine_kick(c->engine);
}

static void start_hooks(struct container *c, size_t at)
{
    const struct service *s = c->service;
    if (at < s->post_start_n)
        c->hooks = hooks_start(c, "post_start", s->post_start, s->post_start_n, at,
                               on_started_hooks);
}

/* Only commands have hooks run, restarts by policy do not. */
static void run_start_hooks(struct container *c)
{
    if (c->hooks_due)
        start_hooks(c, 0);
    c->hooks_due = false;
}

/* What a supervisor that is gone had under way, or had yet to do. */
static void adopt_hooks(struct container *c)
{
    int at = hooks_noted(c, "post_start");
    if (!c->record.hook)
        return;
    hooks_end_orphan(c);
    if (at >= 0 && c->state == C_RUNNING)
        start_hooks(c, (size_t)at);
    else if (at >= 0)
        c->hooks_due = true;
    if (hooks_noted(c, "pre_stop") >= 0) {
        c->record.stopped_by_user = false;
        hooks_note(c, NULL, 0);
    }
}

/* True while they run: the stop waits. */
static bool run_stop_hooks(struct container *c)
{
    const struct service *s = c->service;
    if (!c->hooks_due || c->remove_wanted || !s->pre_stop_n)
        return false;
    if (c->record.status == CONTAINER_PAUSED)
        container_pause(c, false);
    if (!c->hooks)
        c->hooks = hooks_start(c, "pre_stop", s->pre_stop, s->pre_stop_n, 0, on_stop_hooks);
    return true;
}

/* --- verbs --- */

void container_start(struct container *c)
{
    err_release(&c->hook_fault);
    c->hooks_due = true;
    c->start_wanted = true;
    c->stop_wanted = false;
    c->record.stopped_by_user = false;
    c->record.restart_count = c->record.restart_attempts = c->record.unhealthy_restarts = 0;
    c->backoff = 0;
    const struct service *s = container_service(c);
    if (s && s->post_start_n)
        hooks_note(c, "post_start", 0);
    container_step(c);
}

void container_stop(struct container *c, int64_t timeout)
{
    c->record.due = false;
    c->record.stopped_by_user = true;
    container_shut_down(c, timeout);
}

void container_shut_down(struct container *c, int64_t timeout)
{
    if (!c->stop_wanted) {
        hooks_cancel(c->hooks); /* those of a start that is given up */
        c->hooks = NULL;
        err_release(&c->hook_fault);
        c->hooks_due = true;
    }
    c->stop_wanted = true;
    c->start_wanted = false;
    c->stop_timeout = timeout;
    container_step(c);
}

/* On disk before anything happens to it. */
static void set_due(struct container *c, bool due)
{
    c->record.due = due;
    if (due)
        container_save(c);
}

void container_stop_meanwhile(struct container *c, int64_t timeout)
{
    set_due(c, true);
    c->record.stopped_by_user = true;
    container_shut_down(c, timeout);
}

void container_withdraw_stop(struct container *c)
{
    if (c->state != C_RUNNING || !c->hooks || !c->stop_wanted)
        return;
    hooks_cancel(c->hooks);
    c->hooks = NULL;
    c->stop_wanted = c->hooks_due = c->record.stopped_by_user = c->record.due = false;
}

void container_stop_replaced(struct container *c, int64_t timeout, bool due)
{
    set_due(c, due && (c->record.due || container_is_running(c) || c->state == C_BACKOFF));
    c->record.stopped_by_user = true;
    c->stop_wanted = true;
    c->start_wanted = c->hooks_due = false;
    c->stop_timeout = timeout;
    container_step(c);
}

void container_give_up(struct container *c)
{
    if (!c->record.due)
        return;
    c->record.due = false;
    container_save(c);
    if (c->state == C_IDLE)
        launch_let_go(c);
}

void container_inherit(struct container *c, struct container *from)
{
    c->record.replaces = xstrdup(from->record.id);
    c->record.due = from->record.due;
    c->keeper = STEAL(from->keeper);
}

void container_restart_unhealthy(struct container *c)
{
    int64_t most = c->service->restart_unhealthy;
    if (c->state != C_RUNNING || c->restart_unhealthy || most == UNSET)
        return;
    if (c->record.unhealthy_restarts >= most) {
        log_line("%s: unhealthy, and was restarted %lld times for it: left as it is",
                 c->record.name, (long long)most);
        return;
    }
    log_line("%s: unhealthy: restarting it", c->record.name);
    c->record.unhealthy_restarts++;
    c->restart_unhealthy = true;
    c->stop_timeout = -1;
    container_step(c);
}

int container_kill(struct container *c, int sig, struct err *err)
{
    if (!container_is_running(c))
        return err_set(err, ERR_CONFLICT, "container %s is not running", c->record.name);
    /* Docker: a container that is killed by hand is not restarted. */
    if (sig == SIGKILL || sig == SIGTERM || sig == SIGINT || sig == SIGQUIT)
        c->record.stopped_by_user = true;
    if (stop_signal(c, sig) < 0)
        return err_sys(err, errno, "signal container %s", c->record.name);
    c->killed |= sig == SIGKILL;
    /* A frozen process gets its signal once it is thawed: cgroup v1 keeps even SIGKILL back. */
    if (sig == SIGKILL && c->record.status == CONTAINER_PAUSED)
        container_pause(c, false);
    engine_container_event(c->engine, c, "kill", json_pack("{s:i}", "signal", sig));
    return 0;
}

void container_remove(struct container *c, bool volumes)
{
    c->remove_wanted = true;
    c->start_wanted = false;
    c->remove_volumes = volumes;
    container_step(c);
}

/* Freezing takes no longer than writing to a cgroup file through the runtime: done in place. */
void container_pause(struct container *c, bool pause)
{
    struct oci_runtime rt;
    struct err err AUTOERR = ERR_INIT;
    if (c->state != C_RUNNING ||
        oci_runtime_choose(c->record.runtime, c->engine->paths->run, &rt, &err) < 0)
        return;
    int rc = pause ? oci_pause(&rt, c->record.id, &err) : oci_resume(&rt, c->record.id, &err);
    oci_runtime_release(&rt);
    if (rc < 0) {
        set_error(c, err.msg);
        return;
    }
    c->record.status = pause ? CONTAINER_PAUSED : CONTAINER_RUNNING;
    /* A frozen container answers no probe; its health stays what it was. */
    health_stop(c->health);
    c->health = NULL;
    if (!pause)
        launch_health(c);
    container_save(c);
    engine_container_event(c->engine, c, pause ? "pause" : "unpause", NULL);
    engine_kick(c->engine);
}

/* --- the transition function --- */

static void fail_launch(struct container *c)
{
    c->launch_failed = true;
    c->record.due = false;
    set_error(c, c->fault.msg);
    log_line("%s: %s", c->record.name, c->fault.msg);
    if (!c->record.exit_code)
        c->record.exit_code = c->fault.exit_code ? c->fault.exit_code : EXIT_NOT_STARTED;
    begin_clean(c);
}

static void step_preparing(struct container *c)
{
    if (!c->work_done)
        return;
    if (c->job && c->job->err.msg)
        err_move(&c->fault, &c->job->err);
    if (c->fault.msg)
        fail_launch(c);
    else {
        set_state(c, C_CONNECTING);
        connect_begin(c);
        container_step(c);
    }
}

static void begin_launch(struct container *c)
{
    set_state(c, C_LAUNCHING);
    launch_begin(c);
}

static void begin_running(struct container *c)
{
    c->start_wanted = false; /* also of one that was taken over half started */
    c->record.due = c->record.due && c->stop_wanted;
    c->record.status = CONTAINER_RUNNING;
    launch_health(c);
    prepare_job_free(c->job);
    c->job = NULL;
    set_state(c, C_RUNNING);
    container_save(c);
    engine_container_event(c->engine, c, "start", NULL);
    run_start_hooks(c);
    container_step(c);
}

static void begin_stop(struct container *c)
{
    if (c->record.status == CONTAINER_PAUSED)
        container_pause(c, false);
    health_stop(c->health);
    c->health = NULL;
    set_state(c, C_STOPPING);
    stop_begin(c);
}

static void step_ending(struct container *c)
{
    if (c->lost && !c->ended)
        launch_take_lost(c);
    else if (c->ended && !c->dns_pending && !c->ports_pending)
        begin_clean(c);
}

/* First the names, sockets and rules go, then in the pool what the kernel has. */
static void step_cleaning(struct container *c)
{
    if (c->dns_pending || c->ports_pending)
        return;
    if (!c->cleanup) {
        c->cleanup = cleanup_job_new(c->engine, c, false, false);
        c->cleanup->runtime_clean = c->runtime_clean;
        engine_work(c->engine, cleanup_run, on_cleaned, c->cleanup);
    } else if (c->work_done && c->cleanup->err.msg && !c->cleanup->again) {
        /* What there was no memory or descriptor for a moment ago there may be now. */
        log_line("%s: %s", c->record.name, c->cleanup->err.msg);
        err_release(&c->cleanup->err);
        c->cleanup->again = true;
        c->work_done = false;
        engine_work(c->engine, cleanup_run, on_cleaned, c->cleanup);
    } else if (c->work_done) {
        finish_run(c);
        container_step(c);
    }
}

void container_step(struct container *c)
{
    if (c->closing)
        return;
    switch (c->state) {
    case C_IDLE:
        if (c->remove_wanted) {
            begin_remove(c);
        } else if (c->start_wanted) {
            c->start_wanted = false;
            begin_prepare(c);
        } else {
            c->stop_wanted = false;
        }
        break;
    case C_PREPARING:
        step_preparing(c);
        break;
    case C_CONNECTING:
        if (c->dns_pending || c->ports_pending)
            break;
        if (c->fault.msg)
            fail_launch(c);
        else if (c->stop_wanted || c->remove_wanted)
            begin_clean(c);
        else
            begin_launch(c);
        break;
    case C_LAUNCHING:
        if (c->ended && c->fault.msg)
            fail_launch(c);
        else if (c->lost || c->ended)
            step_ending(c);
        else if (c->up)
            begin_running(c);
        break;
    case C_RUNNING:
        if (c->lost || c->ended)
            step_ending(c);
        else if (c->stop_wanted && run_stop_hooks(c))
            break;
        else if (c->stop_wanted || c->remove_wanted || c->restart_unhealthy)
            begin_stop(c);
        break;
    case C_STOPPING:
        if (c->lost || c->ended) {
            step_ending(c);
        } else if (c->timer_fired && !c->killed) {
            stop_step(c);
        }
        break;
    case C_CLEANING:
        step_cleaning(c);
        break;
    case C_BACKOFF:
        if (c->stop_wanted || c->remove_wanted) {
            uv_timer_stop(&c->timer);
            c->record.status = CONTAINER_EXITED;
            set_state(c, C_IDLE);
            container_save(c);
            if (!c->record.due)
                launch_let_go(c);
            container_step(c);
        } else if ((c->timer_fired || c->start_wanted) && !c->engine->handing_over) {
            uv_timer_stop(&c->timer);
            c->start_wanted = false;
            begin_prepare(c);
        }
        break;
    case C_REMOVING:
    case C_GONE:
        break;
    }
}

/* --- adoption --- */

/* Nothing of it is left in RUN: it waited for its restart, or the machine was restarted. Then it is
 * for `restore`, which knows the order, to start it. */
static void adopt_nothing(struct container *c)
{
    bool waited = c->record.status == CONTAINER_RESTARTING;
    hooks_note(c, NULL, 0);
    if (!waited) {
        c->record.exit_code = 137;
        c->record.health = HEALTH_NONE;
        container_record_clear_endpoints(&c->record);
    }
    c->record.status = CONTAINER_EXITED;
    c->record.pid = 0;
    if (waited && restart_wanted(c))
        begin_prepare(c);
    else
        container_save(c);
}

/* Its end is known, but its monitor not done with it: it tells when it is. */
static bool adopt_ending(struct container *c)
{
    struct err err AUTOERR = ERR_INIT;
    if (!c->record.pid || !container_service(c) || launch_link(c, &err) < 0)
        return false;
    hooks_note(c, NULL, 0);
    c->state = C_STOPPING;
    return true;
}

void container_adopt(struct container *c)
{
    struct err err AUTOERR = ERR_INIT;
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    bool lives = c->record.status == CONTAINER_RUNNING || c->record.status == CONTAINER_PAUSED ||
                 c->record.status == CONTAINER_RESTARTING;
    if (c->record.unsaved)
        container_save(c);
    if (c->record.status == CONTAINER_REMOVING) {
        container_remove(c, true);
        return;
    }
    if (pre_start_made(c)) {
        /* Its operation is gone. Volumes stay: some are those of the container that it was made for. */
        c->remove_wanted = true;
        c->stop_timeout = 0;
    }
    if (!lives && adopt_ending(c))
        return;
    if (!lives) {
        hooks_note(c, NULL, 0);
        /* It may have been interrupted while it prepared, or before its end was written down. */
        c->half_made = !c->record.pid && fs_exists(run);
        if (c->half_made || c->record.pid)
            begin_clean(c);
        else if (c->record.auto_remove && c->record.status == CONTAINER_EXITED)
            container_remove(c, true);
        else
            container_step(c);
        return;
    }
    if (!container_service(c))
        return;
    log_trace("%s: adopted as %s", c->record.name, container_status_name(c->record.status));
    if (!fs_exists(run)) {
        adopt_nothing(c);
        return;
    }
    c->state = c->record.pid ? C_RUNNING : C_LAUNCHING;
    connect_again(c);
    if (c->state == C_RUNNING) {
        c->pidfd = fd_pidfd(c->record.pid);
        launch_health(c);
    }
    adopt_hooks(c);
    if (launch_link(c, &err) < 0)
        c->lost = true;
    container_step(c);
    /* Its stop had been begun: it is carried on, so that it can run again. */
    if (c->record.due && c->record.pid)
        container_stop_meanwhile(c, -1);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct container *c = h->data;
    prepare_job_free(c->job);
    container_record_release(&c->record);
    project_ref_put(c->project);
    strv_free(c->zones);
    err_release(&c->fault);
    err_release(&c->hook_fault);
    free(c);
}

void container_detach(struct container *c)
{
    if (c->closing)
        return;
    c->closing = true;
    hooks_cancel(c->hooks);
    c->hooks = NULL;
    launch_end(c);
    launch_let_go(c);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
