#include "engine/container.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "engine/control.h"
#include "engine/mounts.h"

static const int64_t SECOND = 1000000000;
static const int64_t BACKOFF_FIRST = 100000000, BACKOFF_MOST = 60 * 1000000000LL;
static const int64_t STOP_GRACE = 10 * 1000000000LL;

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
    c->pidfd = c->tty_fd = -1;
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
    if (c->state == C_GONE || c->state == C_REMOVING)
        return;
    if (container_record_write(c->engine->paths, &c->record, &err) < 0)
        log_line("%s: %s", c->record.name, err.msg);
}

bool container_is_running(const struct container *c)
{
    return c->state == C_RUNNING || c->state == C_STOPPING;
}

bool container_is_settled(const struct container *c)
{
    return c->state == C_IDLE || c->state == C_RUNNING || c->state == C_GONE;
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

/* --- stepping stones: each starts something and returns; its callback records a fact and steps ---
 */

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
    c->work_done = c->ended = c->lost = c->killed = c->timer_fired = false;
    err_release(&c->fault);
    set_error(c, NULL);
    set_state(c, C_PREPARING);
    if (!container_service(c))
        err_set(&c->fault, ERR_CORRUPT, "its configuration cannot be read");
    else if (prepare_job_new(c->engine, c, &c->job, &c->fault) == 0) {
        engine_work(c->engine, prepare_run, on_prepared, c->job);
        return;
    }
    c->work_done = true;
    container_step(c);
}

static void on_dns_open(void *arg, struct err *err)
{
    struct container *c = arg;
    if (err && !c->fault.msg)
        err_move(&c->fault, err);
    c->dns_done = true;
    container_step(c);
}

static void on_published(void *arg, const struct port_binding *bindings, size_t n, struct err *err)
{
    struct container *c = arg;
    if (err) {
        if (!c->fault.msg)
            err_move(&c->fault, err);
    } else {
        c->record.ports = xcalloc(n, sizeof(*c->record.ports));
        for (size_t i = 0; i < n; i++) {
            char text[IP_TEXT_MAX];
            c->record.ports[c->record.ports_n++] = (struct container_port){
                .host_ip = xstrdup(ip_format(&bindings[i].host_ip, text)),
                .published = bindings[i].published,
                .target = bindings[i].target,
                .protocol = xstrdup(bindings[i].protocol),
            };
        }
    }
    c->ports_done = true;
    container_step(c);
}

/* "SERVICE[:ALIAS]" -> a name that resolves to the service for this container alone. */
static size_t links_of(const struct service *s, struct dns_link **out, char ***storage)
{
    size_t n = 0;
    const struct strings *lists[] = {&s->links, &s->external_links};
    *out = xcalloc(s->links.n + s->external_links.n, sizeof(**out));
    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        for (size_t i = 0; i < lists[k]->n; i++) {
            const char *colon = strchr(lists[k]->v[i], ':');
            if (!colon)
                continue;
            char *name = xstrndup(lists[k]->v[i], (size_t)(colon - lists[k]->v[i]));
            strv_push(storage, name);
            free(name);
            (*out)[n++].alias = colon + 1;
        }
    for (size_t i = 0; i < n; i++)
        (*out)[i].name = (*storage)[i];
    return n;
}

static void open_dns(struct container *c)
{
    const struct service *s = c->service;
    struct dns_link *links AUTOFREE = NULL;
    char **names AUTOSTRV = NULL;
    struct dns_view view = {
        .networks = (const char *const *)c->zones,
        .links_n = links_of(s, &links, &names),
        .upstreams = s->dns.n ? s->dns.v : NULL,
        .no_forward = c->internal_only,
    };
    view.links = links;
    for (size_t i = 0; i < s->dns_opt.n; i++)
        view.ndots_set |= starts_with(s->dns_opt.v[i], "ndots:");
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    char *netns AUTOFREE = path_join(run, "netns");
    dns_endpoint_open(c->engine->dns, c->record.id, netns, &view, on_dns_open, c, &c->dns);
}

static void publish(struct container *c, const char *network, const struct port_spec *ports,
                    size_t n)
{
    struct port_request request = {
        .network = network, .container_id = c->record.id, .ports = ports, .ports_n = n};
    port_publish(c->engine->ports, &request, on_published, c);
}

static void enter_zones(struct container *c, const struct endpoint *endpoints, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dns_zone *zone = dns_zone(c->engine->dns, endpoints[i].network);
        char *dir AUTOFREE = network_endpoints_dir(c->engine->paths, endpoints[i].network);
        struct err err AUTOERR = ERR_INIT;
        if (dns_zone_watch(zone, dir, &err) < 0)
            log_line("network %s: %s", endpoints[i].network, err.msg);
        dns_zone_add_endpoint(zone, &endpoints[i]);
        strv_push(&c->zones, endpoints[i].network);
    }
}

static void leave_zones(struct container *c)
{
    for (size_t i = 0; c->zones && c->zones[i]; i++)
        dns_zone_remove(dns_zone(c->engine->dns, c->zones[i]), c->record.id);
    strv_free(c->zones);
    c->zones = NULL;
}

static void keep_endpoints(struct container *c, const struct endpoint *endpoints, size_t n)
{
    struct container_record *r = &c->record;
    container_record_clear_endpoints(r);
    r->networks = xcalloc(n, sizeof(*r->networks));
    for (size_t i = 0; i < n; i++) {
        char text[IP_TEXT_MAX];
        const struct endpoint *e = &endpoints[i];
        r->networks[r->networks_n++] = (struct container_network){
            .network = xstrdup(e->network),
            .ifname = e->ifname ? xstrdup(e->ifname) : NULL,
            .ipv4 = e->ipv4.family ? xstrdup(ip_format(&e->ipv4, text)) : NULL,
            .ipv6 = e->ipv6.family ? xstrdup(ip_format(&e->ipv6, text)) : NULL,
            .mac = xstrdup(e->mac),
            .aliases = strv_dup((const char *const *)e->names),
        };
    }
}

static void begin_connect(struct container *c)
{
    struct prepare_job *j = c->job;
    container_mounts_free(c->record.mounts, c->record.mounts_n);
    c->record.mounts = STEAL(j->mounts);
    c->record.mounts_n = j->mounts_n;
    j->mounts_n = 0;
    free(c->record.command);
    c->record.command = STEAL(j->command);
    keep_endpoints(c, j->endpoints, j->endpoints_n);
    enter_zones(c, j->endpoints, j->endpoints_n);
    c->internal_only = j->internal_only;
    c->dns_done = j->endpoints_n == 0;
    c->ports_done = !j->gateway_network || !c->service->ports_n;
    set_state(c, C_CONNECTING);
    if (!c->dns_done)
        open_dns(c);
    if (!c->ports_done) {
        const struct service *s = c->service;
        struct port_spec *ports AUTOFREE = xcalloc(s->ports_n, sizeof(*ports));
        for (size_t i = 0; i < s->ports_n; i++)
            ports[i] = (struct port_spec){
                .host_ip = s->ports[i].host_ip,
                .published = s->ports[i].published,
                .published_end = s->ports[i].published_end,
                .target = s->ports[i].target,
                .protocol = s->ports[i].protocol,
            };
        publish(c, j->gateway_network, ports, s->ports_n);
    }
}

/* --- the monitor --- */

/* PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux 6.15: the wait status of a process that is no child.
 */
struct pidfd_exit_info {
    uint64_t mask;
    uint64_t cgroupid;
    uint32_t ids[12];
    int32_t exit_code;
    uint32_t coredump_mask, reserved;
};

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
    struct pidfd_exit_info info = {.mask = 1u << 3};
    if (c->pidfd >= 0 && ioctl(c->pidfd, _IOWR(0xFF, 11, struct pidfd_exit_info), &info) == 0 &&
        (info.mask & 1u << 3))
        return exit_code_of(info.exit_code);
    return 137;
}

static void on_health(void *arg, enum health_status status, int streak, const char *output)
{
    struct container *c = arg;
    bool changed = c->record.health != status;
    c->record.health = status;
    c->record.health_failing_streak = streak;
    bool told = c->record.health_output && streq(c->record.health_output, output);
    if (!told) {
        free(c->record.health_output);
        c->record.health_output = xstrdup(output);
    }
    if (!changed && told)
        return;
    container_save(c);
    if (changed) {
        engine_container_event(c->engine, c, "health_status",
                               json_pack("{s:s}", "health", health_status_name(status)));
        engine_kick(c->engine);
    }
}

static void begin_health(struct container *c)
{
    static const struct health_events events = {.result = on_health};
    struct image *image = c->job ? c->job->image : NULL, *found = NULL;
    struct err err AUTOERR = ERR_INIT;
    if (!image && image_find(c->engine->images, c->record.image_id, NULL, &found, &err) == 0)
        image = found;
    static const struct image_config nothing;
    struct health_config config;
    health_config_of(&c->service->healthcheck, image ? &image->config : &nothing, &config);
    image_free(found);
    struct oci_runtime rt;
    if (!config.command ||
        oci_runtime_choose(c->service->runtime, c->engine->paths->run, &rt, &err) < 0) {
        health_config_release(&config);
        c->record.health = HEALTH_NONE;
        return;
    }
    if (c->record.health == HEALTH_NONE)
        c->record.health = HEALTH_STARTING;
    c->health = health_start(c->engine->loop, c->engine->paths, &rt, c->record.id,
                             c->record.started, c->record.health, &config, &events, c);
    oci_runtime_release(&rt);
}

static void take_running(struct container *c, const struct monitor_status *st)
{
    c->record.pid = st->pid;
    c->record.pid_start = st->start_time;
    fd_close_ptr(&c->pidfd);
    c->pidfd = fd_pidfd(st->pid);
    if (container_is_running(c))
        return;
    c->record.status = CONTAINER_RUNNING;
    c->record.started = st->started;
    c->record.finished = 0;
    c->record.exit_code = 0;
    c->record.oom_killed = false;
    c->record.health = HEALTH_NONE;
    c->record.health_failing_streak = 0;
    begin_health(c);
    prepare_job_free(c->job);
    c->job = NULL;
    set_state(c, C_RUNNING);
    container_save(c);
    engine_container_event(c->engine, c, "start", NULL);
}

static void take_ended(struct container *c, int code, bool oom, int64_t finished)
{
    c->ended = true;
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
            c->record.started = st->started;
            engine_container_event(c->engine, c, "start", NULL);
        }
        take_ended(c, st->exit_code, st->oom, st->finished);
        break;
    case MONITOR_FAILED:
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

static int open_link(struct container *c, struct err *err)
{
    int fd = monitor_connect(c->engine->paths, c->record.id, err);
    if (fd < 0)
        return -1;
    c->lost = false;
    c->link = monitor_link_open(c->engine->loop, fd, &link_events, c);
    return 0;
}

static const char *logging_option(const struct service *s, const char *key)
{
    for (size_t i = 0; i < s->logging.options.n; i++)
        if (streq(s->logging.options.v[i].key, key))
            return s->logging.options.v[i].value;
    return NULL;
}

/* Starts a monitor for the container: a fresh one (adopt 0) or one for a process that lost its own.
 */
static int start_monitor(struct container *c, pid_t adopt, struct err *err)
{
    const struct service *s = c->service;
    char **respawn AUTOSTRV = control_supervisor_argv(c->engine->paths, c->engine->project_name);
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    struct oci_runtime rt;
    if (oci_runtime_choose(s->runtime, c->engine->paths->run, &rt, err) < 0)
        return -1;
    struct monitor_request r = {
        .paths = c->engine->paths,
        .runtime = &rt,
        .id = c->record.id,
        .dir = dir,
        .tty = c->record.tty,
        .stdin_open = c->record.stdin_open,
        .log = !(s->logging.driver && streq(s->logging.driver, "none")),
        .log_max_file = 1,
        .respawn = (const char *const *)respawn,
        .adopt_pid = adopt,
        .adopt_tty = adopt ? c->tty_fd : -1,
    };
    const char *size = logging_option(s, "max-size"), *files = logging_option(s, "max-file");
    if (size)
        size_parse(size, &r.log_max_size);
    if (files && atoi(files) > 0)
        r.log_max_file = atoi(files);
    pid_t monitor;
    int rc = monitor_start(&r, &monitor, err);
    oci_runtime_release(&rt);
    return rc < 0 ? -1 : open_link(c, err);
}

/* The monitor is gone. What it wrote, the process itself, or a new monitor says how it goes on. */
static void take_lost(struct container *c)
{
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    struct monitor_status st;
    struct err err AUTOERR = ERR_INIT;
    c->lost = false;
    monitor_link_close(c->link);
    c->link = NULL;
    bool known = monitor_status_read(dir, &st, NULL) == 0;
    if (known && (st.phase == MONITOR_EXITED || st.phase == MONITOR_FAILED)) {
        on_monitor_status(c, &st);
        return;
    }
    if (known && st.phase == MONITOR_RUNNING && pid_start_time(st.pid) == st.start_time) {
        log_line("%s: its monitor is gone, starting another", c->record.name);
        take_running(c, &st);
        if (start_monitor(c, st.pid, &err) == 0)
            return;
        log_line("%s: %s", c->record.name, err.msg);
    }
    take_ended(c, orphan_exit_code(c), false, 0);
    container_step(c);
}

static void launch(struct container *c)
{
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    char *status AUTOFREE = path_join(dir, "status");
    unlink(status); /* of an earlier run */
    set_state(c, C_LAUNCHING);
    /* Before the start: whoever looks after a crash knows that something may run. */
    c->record.status = CONTAINER_RESTARTING;
    container_save(c);
    if (start_monitor(c, 0, &c->fault) < 0) {
        c->ended = true;
        container_step(c);
    }
}

/* --- the end --- */

static void on_cleaned(void *arg)
{
    struct cleanup_job *j = arg;
    struct container *c = j->owner;
    c->work_done = true;
    container_step(c);
}

static void clean_in_pool(struct container *c)
{
    c->cleanup = cleanup_job_new(c->engine, c, false, false);
    engine_work(c->engine, cleanup_run, on_cleaned, c->cleanup);
}

static void on_dns_closed(void *arg)
{
    struct container *c = arg;
    c->dns_done = true;
    if (c->ports_done)
        clean_in_pool(c);
}

static void on_unpublished(void *arg)
{
    struct container *c = arg;
    c->ports_done = true;
    if (c->dns_done)
        clean_in_pool(c);
}

static void begin_clean(struct container *c)
{
    uv_timer_stop(&c->timer);
    health_stop(c->health);
    c->health = NULL;
    monitor_link_close(c->link);
    c->link = NULL;
    fd_close_ptr(&c->pidfd);
    fd_close_ptr(&c->tty_fd);
    c->pidfd = c->tty_fd = -1;
    leave_zones(c);
    set_state(c, C_CLEANING);
    c->work_done = c->ended = false;
    c->dns_done = !c->dns;
    c->ports_done = false;
    port_unpublish(c->engine->ports, c->record.id, on_unpublished, c);
    if (c->dns)
        dns_endpoint_close(STEAL(c->dns), on_dns_closed, c);
}

/* Docker: no restart after a stop by hand; the backoff doubles from 100 ms to a minute and starts
 * anew after ten seconds of running (moby restartmanager). */
static bool restart_wanted(struct container *c)
{
    const struct restart_policy *policy = &c->service->restart;
    if (c->stop_wanted || c->remove_wanted || c->record.stopped_by_user || c->record.oneoff)
        return false;
    switch (policy->kind) {
    case RESTART_NO:
        return false;
    case RESTART_ALWAYS:
    case RESTART_UNLESS_STOPPED:
        return !c->launch_failed || c->record.restart_count > 0;
    case RESTART_ON_FAILURE:
        return c->record.exit_code != 0 && !(c->launch_failed && !c->record.restart_count) &&
               (policy->max_attempts == UNSET || c->record.restart_count < policy->max_attempts);
    }
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct container *c = timer->data;
    c->timer_fired = true;
    container_step(c);
}

static void begin_backoff(struct container *c)
{
    bool ran_well = c->record.finished - c->record.started >= 10 * SECOND;
    c->backoff = ran_well || !c->backoff ? BACKOFF_FIRST : c->backoff * 2;
    if (c->backoff > BACKOFF_MOST)
        c->backoff = BACKOFF_MOST;
    int64_t wait = c->service->restart.delay > 0 ? c->service->restart.delay : c->backoff;
    c->record.restart_count++;
    c->record.status = CONTAINER_RESTARTING;
    c->timer_fired = false;
    set_state(c, C_BACKOFF);
    uv_timer_start(&c->timer, on_timer, (uint64_t)(wait / 1000000), 0);
}

static void finish_run(struct container *c)
{
    bool never_ran = c->launch_failed;
    cleanup_job_free(c->cleanup);
    c->cleanup = NULL;
    prepare_job_free(c->job);
    c->job = NULL;
    container_record_clear_endpoints(&c->record);
    c->record.pid = 0;
    c->record.pid_start = 0;
    c->record.health = HEALTH_NONE;
    c->record.status = never_ran && !c->record.started ? CONTAINER_CREATED : CONTAINER_EXITED;
    bool again = container_service(c) && restart_wanted(c);
    if (again)
        begin_backoff(c);
    else
        set_state(c, C_IDLE);
    container_save(c);
    if (!never_ran)
        engine_container_event(c->engine, c, "die",
                               json_pack("{s:i, s:b, s:b}", "exit_code", c->record.exit_code,
                                         "restarting", again, "oom", c->record.oom_killed));
    if (!again && c->record.auto_remove)
        c->remove_wanted = c->remove_volumes = true;
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

/* --- signals --- */

static int send_signal(struct container *c, int sig)
{
    if (c->pidfd < 0)
        return -1;
    return (int)syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
}

static int stop_signal_of(struct container *c)
{
    const char *name = c->service ? c->service->stop_signal : NULL;
    struct image *image = NULL;
    if (!name && image_find(c->engine->images, c->record.image_id, NULL, &image, NULL) == 0)
        name = image->config.stop_signal;
    int sig = name ? signal_by_name(name) : SIGTERM;
    image_free(image);
    return sig > 0 ? sig : SIGTERM;
}

static void begin_stop(struct container *c)
{
    if (c->record.status == CONTAINER_PAUSED)
        container_pause(c, false);
    int64_t grace = c->stop_timeout;
    if (grace < 0)
        grace = c->service && c->service->stop_grace_period != UNSET ? c->service->stop_grace_period
                                                                     : STOP_GRACE;
    c->timer_fired = false;
    set_state(c, C_STOPPING);
    send_signal(c, grace == 0 ? SIGKILL : stop_signal_of(c));
    c->killed = grace == 0;
    uv_timer_start(&c->timer, on_timer, (uint64_t)(grace / 1000000), 0);
}

/* --- verbs --- */

void container_start(struct container *c)
{
    c->start_wanted = true;
    c->stop_wanted = false;
    c->record.stopped_by_user = false;
    c->record.restart_count = 0;
    c->backoff = 0;
    container_step(c);
}

void container_stop(struct container *c, int64_t timeout)
{
    c->stop_wanted = true;
    c->start_wanted = false;
    c->stop_timeout = timeout;
    c->record.stopped_by_user = true;
    container_step(c);
}

int container_kill(struct container *c, int sig, struct err *err)
{
    if (!container_is_running(c))
        return err_set(err, ERR_CONFLICT, "container %s is not running", c->record.name);
    /* Docker: a container that is killed by hand is not restarted. */
    if (sig == SIGKILL || sig == SIGTERM || sig == SIGINT || sig == SIGQUIT)
        c->record.stopped_by_user = true;
    if (send_signal(c, sig) < 0)
        return err_sys(err, errno, "signal container %s", c->record.name);
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
        oci_runtime_choose(c->service->runtime, c->engine->paths->run, &rt, &err) < 0)
        return;
    int rc = pause ? oci_pause(&rt, c->record.id, &err) : oci_resume(&rt, c->record.id, &err);
    oci_runtime_release(&rt);
    if (rc < 0) {
        set_error(c, err.msg);
        return;
    }
    c->record.status = pause ? CONTAINER_PAUSED : CONTAINER_RUNNING;
    container_save(c);
    engine_container_event(c->engine, c, pause ? "pause" : "unpause", NULL);
    engine_kick(c->engine);
}

/* --- the transition function --- */

static void fail_launch(struct container *c)
{
    c->launch_failed = true;
    set_error(c, c->fault.msg);
    log_line("%s: %s", c->record.name, c->fault.msg);
    if (!c->record.exit_code)
        c->record.exit_code = c->fault.exit_code ? c->fault.exit_code : 128;
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
    else
        begin_connect(c);
}

static void step_ending(struct container *c)
{
    if (c->lost && !c->ended) {
        take_lost(c);
        return;
    }
    if (c->ended)
        begin_clean(c);
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
        if (!c->dns_done || !c->ports_done)
            break;
        if (c->fault.msg)
            fail_launch(c);
        else if (c->stop_wanted || c->remove_wanted)
            begin_clean(c);
        else
            launch(c);
        break;
    case C_LAUNCHING:
        if (c->lost && !c->ended)
            take_lost(c);
        else if (c->ended && c->fault.msg)
            fail_launch(c);
        else if (c->ended)
            begin_clean(c);
        break;
    case C_RUNNING:
        if (c->lost || c->ended)
            step_ending(c);
        else if (c->stop_wanted || c->remove_wanted)
            begin_stop(c);
        break;
    case C_STOPPING:
        if (c->lost || c->ended) {
            step_ending(c);
        } else if (c->timer_fired && !c->killed) {
            c->killed = true;
            send_signal(c, SIGKILL);
        }
        break;
    case C_CLEANING:
        if (!c->work_done)
            break;
        finish_run(c);
        if (c->state == C_IDLE)
            container_step(c);
        break;
    case C_BACKOFF:
        if (c->stop_wanted || c->remove_wanted) {
            uv_timer_stop(&c->timer);
            c->record.status = CONTAINER_EXITED;
            set_state(c, C_IDLE);
            container_save(c);
            container_step(c);
        } else if (c->timer_fired || c->start_wanted) {
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

/* Opens again what lived in the supervisor that is gone: DNS sockets, port holders, probes. */
static void reopen(struct container *c)
{
    VEC(struct endpoint) endpoints = {0};
    const char *gateway = NULL;
    c->internal_only = true;
    for (size_t i = 0; i < c->record.networks_n; i++) {
        struct endpoint ep;
        struct err err AUTOERR = ERR_INIT;
        if (network_endpoint(c->engine->paths, c->record.networks[i].network, c->record.id, &ep,
                             &err) < 0) {
            log_line("%s: %s", c->record.name, err.msg);
            continue;
        }
        if (ep.gateway4.family || ep.gateway6.family) {
            c->internal_only = false;
            if (json_array_size(ep.ports) || !gateway)
                gateway = c->record.networks[i].network;
        }
        vec_push(&endpoints, ep);
    }
    enter_zones(c, endpoints.v, endpoints.n);
    if (endpoints.n)
        open_dns(c);
    if (c->record.ports_n && gateway) {
        struct container_port *old = STEAL(c->record.ports);
        size_t n = c->record.ports_n;
        c->record.ports_n = 0;
        struct port_spec *ports AUTOFREE = xcalloc(n, sizeof(*ports));
        for (size_t i = 0; i < n; i++)
            ports[i] = (struct port_spec){.host_ip = old[i].host_ip,
                                          .published = old[i].published,
                                          .target = old[i].target,
                                          .protocol = old[i].protocol};
        publish(c, gateway, ports, n);
        for (size_t i = 0; i < n; i++) {
            free(old[i].host_ip);
            free(old[i].protocol);
        }
        free(old);
    }
    vec_foreach (&endpoints, ep)
        endpoint_release(ep);
    vec_release(&endpoints);
}

void container_adopt(struct container *c)
{
    struct err err AUTOERR = ERR_INIT;
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    bool lives = c->record.status == CONTAINER_RUNNING || c->record.status == CONTAINER_PAUSED ||
                 c->record.status == CONTAINER_RESTARTING;
    if (c->record.status == CONTAINER_REMOVING) {
        container_remove(c, true);
        return;
    }
    if (!lives) {
        /* It may have been interrupted while it prepared. */
        if (fs_exists(run))
            begin_clean(c);
        return;
    }
    if (!container_service(c))
        return;
    log_trace("%s: adopted as %s", c->record.name, container_status_name(c->record.status));
    if (!fs_exists(run)) {
        /* It waited for its restart, or the machine was restarted: nothing of it is left. */
        c->record.status = CONTAINER_EXITED;
        c->record.pid = 0;
        if (restart_wanted(c))
            begin_prepare(c);
        else
            container_save(c);
        return;
    }
    c->state = c->record.pid ? C_RUNNING : C_LAUNCHING;
    reopen(c);
    if (c->state == C_RUNNING) {
        c->pidfd = fd_pidfd(c->record.pid);
        begin_health(c);
    }
    if (open_link(c, &err) < 0) {
        c->lost = true;
        container_step(c);
    }
}

static void on_timer_closed(uv_handle_t *h)
{
    struct container *c = h->data;
    prepare_job_free(c->job);
    container_record_release(&c->record);
    project_ref_put(c->project);
    strv_free(c->zones);
    err_release(&c->fault);
    free(c);
}

void container_detach(struct container *c)
{
    if (c->closing)
        return;
    c->closing = true;
    health_stop(c->health);
    monitor_link_close(c->link);
    fd_close_ptr(&c->pidfd);
    fd_close_ptr(&c->tty_fd);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
