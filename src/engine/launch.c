#include "engine/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/units.h"
#include "engine/container.h"
#include "engine/control.h"
#include "engine/reaper.h"

static int exit_code_of(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Exit code of a first process that died without its monitor: as its reaper (we are a child
 * subreaper) or through the pidfd; 137 where neither tells. */
static int orphan_exit_code(struct container *c)
{
    siginfo_t si = {0};
    if (c->pidfd >= 0 && waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG) == 0 &&
        si.si_pid)
        return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
    int wait_status;
    return pid_wait_status(c->record.pid, c->record.pid_start, c->pidfd, &wait_status)
               ? exit_code_of(wait_status)
               : 137;
}

static void on_health(void *arg, enum health_status status, int streak, const char *output)
{
    struct container *c = arg;
    bool changed = c->record.health != status;
    bool counted = c->record.health_failing_streak != streak;
    c->record.health = status;
    c->record.health_failing_streak = streak;
    bool told = c->record.health_output && streq(c->record.health_output, output);
    if (!told) {
        free(c->record.health_output);
        c->record.health_output = xstrdup(output);
    }
    if (!changed && told && !counted)
        return;
    if (status == HEALTH_HEALTHY)
        c->record.unhealthy_restarts = 0;
    container_save(c);
    if (changed) {
        engine_container_event(c->engine, c, "health_status",
                               json_pack("{s:s}", "health", health_status_name(status)));
        engine_kick(c->engine);
    }
    if (changed && status == HEALTH_UNHEALTHY)
        container_restart_unhealthy(c);
}

/* NULL: for want of descriptors or room; the log says so. Takes what it needs of config. */
static struct health *start_probes(struct container *c, struct health_config *config)
{
    static const struct health_events events = {.result = on_health};
    struct err err AUTOERR = ERR_INIT;
    struct oci_runtime rt;
    if (config->port.kind != PROBE_NONE) {
        char *path AUTOFREE = xasprintf("/proc/%d/ns/net", (int)c->record.pid);
        config->netns = open(path, O_RDONLY | O_CLOEXEC);
        if (config->netns < 0)
            err_sys(&err, errno, "open %s", path);
    }
    if (err.msg || oci_runtime_choose(c->record.runtime, c->engine->paths->run, &rt, &err) < 0) {
        log_line("%s: no probes: %s", c->record.name, err.msg);
        return NULL;
    }
    const struct health_past past = {.age = pid_age(c->record.pid_start),
                                     .status = c->record.health,
                                     .failing_streak = c->record.health_failing_streak};
    struct health *h = health_start(c->engine->loop, c->engine->paths, &rt, c->record.id,
                                    c->record.pid, c->pidfd, &past, config, &events, c);
    oci_runtime_release(&rt);
    return h;
}

void launch_health(struct container *c)
{
    if (c->record.status == CONTAINER_PAUSED)
        return;
    struct image *image = c->job ? c->job->image : NULL, *found = NULL;
    struct err err AUTOERR = ERR_INIT;
    if (!image && image_find(c->engine->images, c->record.image_id, NULL, &found, &err) == 0)
        image = found;
    static const struct image_config nothing;
    struct health_config config;
    health_config_of(&c->service->healthcheck, image ? &image->config : &nothing, &config);
    image_free(found);
    if (!config.command && config.port.kind == PROBE_NONE) {
        c->record.health = HEALTH_NONE;
        return;
    }
    if (c->record.health == HEALTH_NONE)
        c->record.health = HEALTH_STARTING;
    c->health = start_probes(c, &config);
    c->probes_missing = !c->health;
    if (c->probes_missing)
        engine_retry_later(c->engine);
    health_config_release(&config);
}

/* A monitor that is killed when its container has ended leaves output that nobody else holds. */
static void hold_output(struct container *c)
{
    static const char *const names[] = {"stdout", "stderr"};
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    for (size_t i = 0; i < ARRAY_SIZE(names) && !c->record.tty; i++) {
        char *path AUTOFREE = path_join(run, names[i]);
        if (c->output[i] < 0)
            c->output[i] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
}

static bool has_output_left(const struct container *c)
{
    const int fds[] = {c->output[0], c->output[1], c->tty_fd};
    int n;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0 && ioctl(fds[i], FIONREAD, &n) == 0 && n > 0)
            return true;
    return false;
}

static void take_running(struct container *c, const struct monitor_status *st)
{
    bool first = c->record.pid != st->pid || !c->record.pid;
    c->record.pid = st->pid;
    c->record.pid_start = st->start_time;
    c->up = true;
    /* While it is the same process its probes use the descriptor. */
    if (first || c->pidfd < 0) {
        fd_close_ptr(&c->pidfd);
        c->pidfd = fd_pidfd(st->pid);
    }
    hold_output(c);
    if (!first)
        return;
    c->record.started = st->started;
    c->record.finished = 0;
    c->record.exit_code = 0;
    c->record.oom_killed = false;
    c->record.health = HEALTH_NONE;
    c->record.health_failing_streak = 0;
    free(c->record.health_output);
    c->record.health_output = NULL;
}

static void take_ended(struct container *c, int code, bool oom, int64_t finished)
{
    c->ended = true;
    c->ran = pid_age(c->record.pid_start);
    c->record.exit_code = code;
    c->record.oom_killed = oom;
    c->record.finished = finished ? finished : time_now();
    if (oom)
        engine_container_event(c->engine, c, "oom", NULL);
}

static void on_monitor_status(void *arg, const struct monitor_status *st)
{
    struct container *c = arg;
    switch (st->phase) {
    case MONITOR_STARTING:
        return;
    case MONITOR_RUNNING:
        take_running(c, st);
        break;
    case MONITOR_EXITED:
        /* One that ended before it was ever seen running did run. */
        if (c->state == C_LAUNCHING) {
            c->record.due = false;
            c->record.started = st->started;
            engine_container_event(c->engine, c, "start", NULL);
        }
        c->runtime_clean = true;
        /* A monitor that adopted the process may not have learnt its code: then we are its parent.
         */
        take_ended(c, st->exit_code >= 0 ? st->exit_code : orphan_exit_code(c), st->oom,
                   st->finished);
        break;
    case MONITOR_FAILED:
        c->runtime_clean = true;
        if (!c->fault.msg)
            err_set(&c->fault, ERR_INVALID, "%s", st->message);
        c->record.exit_code = st->exit_code;
        c->ended = true;
        break;
    }
    container_step(c);
}

static void on_tty(void *arg, int take_fd)
{
    struct container *c = arg;
    fd_close_ptr(&c->tty_fd);
    c->tty_fd = take_fd;
}

static void on_monitor_lost(void *arg)
{
    struct container *c = arg;
    c->lost = true;
    container_step(c);
}

static const struct monitor_link_events link_events = {
    .status = on_monitor_status, .tty = on_tty, .lost = on_monitor_lost};

int launch_link(struct container *c, struct err *err)
{
    int fd = monitor_connect(c->engine->paths, c->record.id, err);
    if (fd < 0)
        return -1;
    c->lost = false;
    c->link = monitor_link_open(c->engine->loop, fd, &link_events, c);
    launch_let_go(c);
    return 0;
}

/* Starts a monitor for the container: a fresh one (adopt 0) or one for a process that lost its own.
 */
static int start_monitor(struct container *c, pid_t adopt, struct err *err)
{
    struct log_file_options file;
    log_file_options_of(&c->service->logging, &file, NULL); /* a start has looked at them before */
    char **respawn AUTOSTRV = control_supervisor_argv(c->engine->paths, c->engine->project_name);
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    struct oci_runtime rt;
    if (oci_runtime_choose(c->record.runtime, c->engine->paths->run, &rt, err) < 0)
        return -1;
    struct monitor_request r = {
        .paths = c->engine->paths,
        .runtime = &rt,
        .project = c->record.project,
        .id = c->record.id,
        .dir = dir,
        .tty = c->record.tty,
        .stdin_open = c->record.stdin_open,
        .log = file.enabled,
        .log_max_size = file.max_size,
        .log_max_file = file.max_file,
        .log_compress = file.compress,
        .log_sink = (const char *const *)c->record.log_sink,
        .respawn = (const char *const *)respawn,
        .await_attach = c->await_attach && !adopt,
        .adopt_pid = adopt,
        .adopt_tty = adopt ? c->tty_fd : -1,
        .program = streq(path_base(rt.path), "crun") ? sealed_program(&c->engine->crun, rt.path)
                                                     : -1,
    };
    pid_t monitor;
    int rc = monitor_start(&r, &monitor, err);
    oci_runtime_release(&rt);
    if (rc == 0)
        reaper_watch(c->engine->reaper, monitor);
    return rc < 0 ? -1 : launch_link(c, err);
}

/* It runs, and nobody can look after it now: soon again. */
static void drift(struct container *c, const char *why)
{
    log_line("%s: %s", c->record.name, why);
    c->adrift = true;
    engine_retry_later(c->engine);
}

void launch_take_lost(struct container *c)
{
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    struct monitor_status st;
    struct err err AUTOERR = ERR_INIT;
    c->lost = false;
    monitor_link_close(c->link);
    c->link = NULL;
    /* Perhaps only the connection broke, or could not be made for want of descriptors: nobody is taken for dead
     * then. */
    if (launch_link(c, &err) == 0)
        return;
    if (err.kind != ERR_UNAVAILABLE) {
        drift(c, err.msg);
        return;
    }
    err_release(&err);
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    if (monitor_status_read(dir, &st, NULL) == 0) {
        on_monitor_status(c, &st);
        return;
    }
    bool noted = monitor_noted_read(run, &st) == 0;
    if (noted && st.phase == MONITOR_RUNNING && pid_start_time(st.pid) == st.start_time) {
        log_line("%s: its monitor is gone, starting another", c->record.name);
        take_running(c, &st);
        if (start_monitor(c, st.pid, &err) < 0)
            drift(c, err.msg);
        return;
    }
    if (c->record.pid && has_output_left(c)) {
        log_line("%s: its monitor is gone, another logs what is left of its output",
                 c->record.name);
        if (start_monitor(c, c->record.pid, &err) == 0)
            return;
        log_line("%s: %s", c->record.name, err.msg);
    }
    /* What the supervisor before us was about to start is started. */
    c->half_made = c->state == C_LAUNCHING && !noted && !c->job;
    if (c->half_made)
        c->start_wanted = !c->stop_wanted && !c->remove_wanted;
    if (noted && st.phase == MONITOR_EXITED && st.exit_code >= 0)
        take_ended(c, st.exit_code, st.oom, st.finished);
    else
        take_ended(c, orphan_exit_code(c), false, 0);
    container_step(c);
}

void launch_begin(struct container *c)
{
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    char *status AUTOFREE = path_join(dir, "status");
    unlink(status); /* of an earlier run */
    /* Before the start: whoever looks after a crash knows that something may run. After a reboot nothing does, and
     * files of a disk cost as much as a tenth of a start: RUN is enough. */
    c->record.status = CONTAINER_RESTARTING;
    c->record.pid = 0;
    if (container_record_note(c->engine->paths, &c->record, NULL) < 0)
        container_save(c);
    if (start_monitor(c, 0, &c->fault) < 0) {
        c->ended = true;
        container_step(c);
    }
}

void launch_let_go(struct container *c)
{
    monitor_link_leave(c->keeper);
    c->keeper = NULL;
}

void launch_end(struct container *c)
{
    health_stop(c->health);
    c->health = NULL;
    if (c->link) {
        launch_let_go(c);
        c->keeper = STEAL(c->link);
        monitor_link_mute(c->keeper);
    }
    siginfo_t si;
    if (c->pidfd >= 0) /* it is our child where its monitor was killed */
        waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG);
    fd_close_ptr(&c->pidfd);
    fd_close_ptr(&c->tty_fd);
    fd_close_ptr(&c->output[0]);
    fd_close_ptr(&c->output[1]);
    c->pidfd = c->tty_fd = c->output[0] = c->output[1] = -1;
    c->up = c->ended = c->lost = false;
}
