#include "engine/supervisor.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/units.h"
#include "base/version.h"
#include "engine/container.h"
#include "engine/control.h"
#include "engine/guard.h"
#include "engine/history.h"
#include "engine/operation.h"
#include "engine/reaper.h"
#include "engine/server.h"
#include "engine/turns.h"
#include "model/decode.h"
#include "runtime/cgroup.h"

/* --- the shared project --- */

json_t *project_services(json_t *json)
{
    return json_object_get(json_object_get(json, "document"), "services");
}

int project_ref_new(json_t *json, json_t *environment, bool slice, struct project_ref **out,
                    struct err *err)
{
    struct project_ref *r = xcalloc(1, sizeof(*r));
    r->refs = 1;
    if (project_from_json(json, &r->project, err) < 0 ||
        (!slice && graph_init(&r->graph, r->project, err) < 0)) {
        project_ref_put(r);
        return -1;
    }
    r->json = json_incref(json);
    r->environment = json_incref(environment);
    *out = r;
    return 0;
}

static json_t *only(json_t *object, const char *key)
{
    json_t *o = json_object();
    json_object_set(o, key, json_object_get(object, key));
    return o;
}

/* The places (model/project_json.c) without those of other services: a record of each would make the
 * project's size count squared. */
static json_t *slice_places(const struct project_ref *r, const char *service)
{
    json_t *places = json_copy(json_object_get(r->json, "places"));
    json_t *at = json_copy(json_object_get(places, "at"));
    json_t *services = json_copy(json_object_get(at, "services"));
    if (json_array_size(services) == 2)
        json_array_set_new(services, 1, only(json_array_get(services, 1), service));
    if (at && services)
        json_object_set_new(at, "services", services);
    if (places && at)
        json_object_set_new(places, "at", at);
    return places;
}

json_t *project_slice(const struct project_ref *r, const char *service)
{
    json_t *slice = json_copy(r->json);
    json_t *document = json_copy(json_object_get(r->json, "document"));
    json_object_set_new(document, "services", only(project_services(r->json), service));
    json_object_set_new(slice, "document", document);
    json_object_set_new(slice, "places", slice_places(r, service));
    return slice;
}

struct project_ref *project_ref_get(struct project_ref *r)
{
    if (r)
        r->refs++;
    return r;
}

void project_ref_put(struct project_ref *r)
{
    if (!r || --r->refs)
        return;
    graph_release(&r->graph);
    project_free(r->project);
    json_decref(r->json);
    json_decref(r->environment);
    free(r);
}

/* --- work in the pool --- */

struct work {
    uv_work_t req;
    struct engine *engine;
    void (*run)(void *arg);
    void (*done)(void *arg);
    void *arg;
    bool in_line; /* see engine_work_in_line() */
};

static void work_run(uv_work_t *req)
{
    struct work *w = req->data;
    w->run(w->arg);
}

static void work_submit(struct work *w);

static void line_advance(struct engine *e)
{
    unsigned most = uv_available_parallelism() > 2 ? uv_available_parallelism() : 2;
    while (e->line.n && e->line_busy < most) {
        struct work *w = e->line.v[0];
        vec_remove(&e->line, 0);
        e->line_busy++;
        work_submit(w);
    }
}

static void work_done(uv_work_t *req, int status)
{
    struct work *w = req->data;
    struct engine *e = w->engine;
    (void)status;
    e->work_pending--;
    w->done(w->arg);
    if (w->in_line) {
        e->line_busy--;
        line_advance(e);
    }
    free(w);
    engine_kick(e);
}

static void work_submit(struct work *w)
{
    uv_queue_work(w->engine->loop, &w->req, work_run, work_done);
}

static struct work *work_new(struct engine *e, void (*run)(void *arg), void (*done)(void *arg),
                             void *arg)
{
    struct work *w = xcalloc(1, sizeof(*w));
    *w = (struct work){.engine = e, .run = run, .done = done, .arg = arg};
    w->req.data = w;
    e->work_pending++;
    return w;
}

void engine_work(struct engine *e, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
    work_submit(work_new(e, run, done, arg));
}

void engine_work_in_line(struct engine *e, void (*run)(void *arg), void (*done)(void *arg),
                         void *arg)
{
    struct work *w = work_new(e, run, done, arg);
    w->in_line = true;
    vec_push(&e->line, w);
    line_advance(e);
}

void engine_read_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    buf->base = xmalloc(size);
    buf->len = size;
}

static void warm_run(void *arg)
{
    (void)arg;
    cgroup_warm();
}

static void warm_done(void *arg)
{
    struct engine *e = arg;
    e->warming = false;
    e->warmed = uv_now(e->loop);
}

/* Starts that follow each other keep it warm themselves. */
void engine_warm_cgroups(struct engine *e)
{
    enum { WARM_MS = 5 };
    if (e->warming || uv_now(e->loop) < e->warmed + WARM_MS)
        return;
    e->warming = true;
    engine_work(e, warm_run, warm_done, e);
}

/* --- containers --- */

struct container *engine_container(const struct engine *e, const char *id)
{
    for (size_t i = 0; i < e->containers.n; i++)
        if (streq(e->containers.v[i]->record.id, id))
            return e->containers.v[i];
    return NULL;
}

struct container *engine_container_by_name(const struct engine *e, const char *name)
{
    for (size_t i = 0; i < e->containers.n; i++)
        if (e->containers.v[i]->state != C_GONE && streq(e->containers.v[i]->record.name, name))
            return e->containers.v[i];
    return NULL;
}

struct container *engine_service_container(const struct engine *e, const char *service)
{
    struct container *first = NULL;
    for (size_t i = 0; i < e->containers.n; i++) {
        struct container *c = e->containers.v[i];
        if (!c->record.oneoff && c->state != C_GONE && streq(c->record.service, service) &&
            (!first || c->record.number < first->record.number))
            first = c;
    }
    return first;
}

void engine_container_event(struct engine *e, const struct container *c, const char *action,
                            json_t *take_extra)
{
    json_t *o AUTOJSON = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:i}", "event", "container",
                                   "action", action, "time", (json_int_t)time_now(), "id",
                                   c->record.id, "name", c->record.name, "service",
                                   c->record.service, "number", c->record.number);
    jset_str(o, "image", c->record.image);
    if (c->record.oneoff)
        json_object_set_new(o, "oneoff", json_true());
    json_object_set(o, "labels", c->record.labels);
    if (take_extra)
        json_object_update(o, take_extra);
    json_decref(take_extra);
    history_add(e, o);
    server_broadcast(e->server, o);
}

void engine_exec_started(const struct container *c, const char *exec_id, const char *command)
{
    static const char *const actions[] = {"exec_create", "exec_start"};
    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        engine_container_event(c->engine, c, actions[i],
                               json_pack("{s:s, s:s}", "exec_id", exec_id, "exec", command));
}

void engine_exec_ended(const struct container *c, const char *exec_id, int exit_code)
{
    engine_container_event(c->engine, c, "exec_die",
                           json_pack("{s:s, s:i}", "exec_id", exec_id, "exit_code", exit_code));
}

static bool is_known_child(void *arg, pid_t pid)
{
    const struct engine *e = arg;
    for (size_t i = 0; i < e->containers.n; i++)
        if (e->containers.v[i]->record.pid == pid)
            return true;
    return false;
}

void engine_sweep_gone(struct engine *e)
{
    for (size_t i = 0; i < e->containers.n;) {
        struct container *c = e->containers.v[i];
        if (c->state == C_GONE) {
            vec_remove(&e->containers, i);
            container_detach(c);
        } else {
            i++;
        }
    }
}

/* --- the turn of the loop --- */

enum { RETRY_FIRST_MS = 200, RETRY_MOST_MS = 10000 };

static void on_retry(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    bool waits = false;
    for (size_t i = 0; i < e->containers.n; i++)
        waits = container_retry(e->containers.v[i]) || waits;
    uint64_t next = e->retry_delay * 2 < RETRY_MOST_MS ? e->retry_delay * 2 : RETRY_MOST_MS;
    e->retry_delay = waits ? next : 0;
    if (waits)
        uv_timer_start(&e->retry, on_retry, next, 0);
    engine_kick(e);
}

void engine_retry_later(struct engine *e)
{
    if (e->retry_delay || e->retiring)
        return;
    e->retry_delay = RETRY_FIRST_MS;
    uv_timer_start(&e->retry, on_retry, e->retry_delay, 0);
}

static bool idle(const struct engine *e)
{
    if (e->operations.n || e->work_pending || server_has_clients(e->server))
        return false;
    for (size_t i = 0; i < e->containers.n; i++)
        if (e->containers.v[i]->state != C_IDLE || e->containers.v[i]->unsaved)
            return false;
    return true;
}

static void on_kick(uv_idle_t *handle);

void engine_kick(struct engine *e)
{
    if (!e->retiring && !uv_is_active((uv_handle_t *)&e->kick))
        uv_idle_start(&e->kick, on_kick);
}

struct supervisor {
    struct engine engine;
    struct guard *guard;
    struct control_listener listener;
};

void engine_hand_over(struct engine *e)
{
    e->handing_over = true;
    engine_kick(e);
}

static bool between_steps(const struct engine *e)
{
    if (e->operations.n || e->work_pending)
        return false;
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container *c = e->containers.v[i];
        if (!container_is_settled(c) && c->state != C_BACKOFF && c->state != C_STOPPING)
            return false;
    }
    return true;
}

/* As if killed, but between two steps: the monitors and the files say all that the next one needs. Without its
 * socket nobody reaches us; the lock goes with the process, and whoever comes waits for that. */
static void hand_over(struct supervisor *s)
{
    struct engine *e = &s->engine;
    char *dir AUTOFREE = paths_project_run(e->paths, e->project_name);
    char *sock AUTOFREE = path_join(dir, "control.sock");
    unlink(sock);
    server_hand_over(e->server);
    log_line("handed over");
    _exit(0);
}

/* Would nobody start another supervisor, were we to die now, who goes on with it? */
static bool is_unwatched(const struct container *c)
{
    bool over = c->state == C_GONE || (c->state == C_IDLE && !c->record.due && !c->start_wanted);
    return !over && !c->link && !c->keeper;
}

static void let_keepers_go(struct engine *e)
{
    for (size_t i = 0; i < e->keepers.n; i++)
        monitor_link_leave(e->keepers.v[i]);
    vec_release(&e->keepers);
}

static void retire(struct supervisor *s)
{
    struct engine *e = &s->engine;
    log_line("nothing left to supervise");
    container_records_sweep(e->paths, e->project_name);
    e->retiring = true;
    server_close(e->server);
    guard_close(s->guard);
    reaper_close(e->reaper);
    turns_close(e->turns);
    dns_server_close(e->dns, NULL, NULL);
    port_publisher_close(e->ports, NULL, NULL);
    for (size_t i = 0; i < e->containers.n; i++)
        container_detach(e->containers.v[i]);
    let_keepers_go(e);
    uv_close((uv_handle_t *)&e->kick, NULL);
    uv_close((uv_handle_t *)&e->retry, NULL);
}

/* Of `run --rm`: it was not even started when the supervisor before us and the command died. */
static void remove_abandoned(struct engine *e)
{
    for (size_t i = 0; i < e->containers.n; i++) {
        struct container *c = e->containers.v[i];
        if (c->state == C_IDLE && c->record.auto_remove && !c->fault.msg)
            container_remove(c, true);
    }
}

static void on_kick(uv_idle_t *handle)
{
    struct supervisor *s = handle->data;
    struct engine *e = &s->engine;
    uv_idle_stop(handle);
    operations_step(e);
    if (!e->operations.n)
        engine_sweep_gone(e);
    if (!e->operations.n && !server_has_clients(e->server) && !server_awaits_request(e->server))
        remove_abandoned(e);
    bool unwatched = false;
    for (size_t i = 0; i < e->containers.n; i++)
        unwatched |= is_unwatched(e->containers.v[i]);
    if (!unwatched)
        let_keepers_go(e);
    if (e->handing_over && between_steps(e))
        hand_over(s);
    if (idle(e) && control_retire(e->paths, e->project_name, &s->listener))
        retire(s);
}

/* --- start --- */

static void load_project(struct engine *e)
{
    char *dir AUTOFREE = paths_project(e->paths, e->project_name);
    char *path AUTOFREE = path_join(dir, "project.json");
    json_t *j AUTOJSON = NULL;
    struct err err AUTOERR = ERR_INIT;
    if (json_read(path, &j, &err) < 0) {
        if (err.kind != ERR_NOT_FOUND)
            log_line("%s", err.msg);
        return;
    }
    if (state_version_check(j, path, &err) < 0) {
        log_line("%s", err.msg);
        if (err.kind == ERR_CONFLICT)
            server_refuse(e->server, err.msg);
        return;
    }
    if (project_ref_new(json_object_get(j, "project"), json_object_get(j, "environment"), false,
                        &e->project, &err) < 0)
        log_line("%s: %s", path, err.msg);
}

static void adopt_keeper(void *arg, int take_fd)
{
    static const struct monitor_link_events nothing = {0};
    struct engine *e = arg;
    struct monitor_link *l = monitor_link_open(e->loop, take_fd, &nothing, NULL);
    monitor_link_mute(l);
    vec_push(&e->keepers, l);
}

static void adopt_all(struct engine *e)
{
    container_records_sweep(e->paths, e->project_name);
    struct container_list list;
    struct err err AUTOERR = ERR_INIT;
    if (container_list_read(e->paths, e->project_name, &list, &err) < 0) {
        log_line("%s", err.msg);
        server_refuse(e->server, err.msg);
        return;
    }
    for (size_t i = 0; i < list.n; i++)
        container_new(e, &list.v[i], NULL);
    container_list_release(&list);
    for (size_t i = 0; i < e->containers.n; i++)
        container_adopt(e->containers.v[i]);
    monitor_each_ended(e->paths, e->project_name, adopt_keeper, e);
    for (size_t i = 0; i < e->containers.n; i++) {
        const char *replaced = e->containers.v[i]->record.replaces;
        struct container *old = replaced ? engine_container(e, replaced) : NULL;
        if (old)
            container_remove(old, false);
    }
}

/* A monitor starts us without anywhere to write to. */
static void open_log(const struct paths *p, const char *project)
{
    char *dir AUTOFREE = paths_project_run(p, project);
    char *path AUTOFREE = path_join(dir, "supervisor.log");
    int fd AUTOCLOSE = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
}

enum { SUPERVISOR_OOM_SCORE = -500 }; /* as dockerd */

/* A hundred containers with their sockets, pidfds and relays are more than the usual 1024. */
static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* A library that calls exit() in the pool (libnftables does) would have libuv wait there for the very thread: dead,
 * we are replaced. */
static void end_at_once(void)
{
    if (gettid() != getpid())
        _exit(1);
}

int supervisor_main(const struct paths *p, const char *project, int listen_fd, int lock_fd)
{
    char *who AUTOFREE = xasprintf("supervisor %s", project);
    log_open(who, STDERR_FILENO);
    struct err err AUTOERR = ERR_INIT;
    struct supervisor s = {.listener = {listen_fd, lock_fd}};
    /* A hook or probe that outlives us must not hold the lock: nobody could take over. */
    fcntl(listen_fd, F_SETFD, FD_CLOEXEC);
    fcntl(lock_fd, F_SETFD, FD_CLOEXEC);
    struct engine *e = &s.engine;
    if (listen_fd < 0 && control_listen(p, project, &s.listener, &err) < 0) {
        if (err.kind == ERR_CONFLICT)
            return 0; /* another one is there already */
        log_line("%s", err.msg);
        return 1;
    }
    if (listen_fd < 0)
        open_log(p, project);
    /* runc is a Go program that lives for milliseconds: with one thread it starts a fifth faster. */
    setenv("GOMAXPROCS", "1", 0);
    /* The pool's threads work by turns: an arena for each would only keep memory. */
    mallopt(M_ARENA_MAX, 2);
    raise_descriptor_limit();
    /* Monitors set their own, and what runs in containers is started with 0. */
    oom_score_set(SUPERVISOR_OOM_SCORE);
    /* Containers of a monitor that died become our children: their exit codes reach us. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    atexit(end_at_once);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    uv_loop_t loop;
    uv_loop_init(&loop);
    e->loop = &loop;
    e->crun = SEALED_PROGRAM_INIT;
    e->paths = p;
    e->project_name = project;
    if (image_store_open(p, &e->images, &err) < 0) {
        log_line("%s", err.msg);
        return 1;
    }
    e->turns = turns_new(&loop);
    uv_idle_init(&loop, &e->kick);
    e->kick.data = &s;
    uv_timer_init(&loop, &e->retry);
    e->retry.data = e;
    e->reaper = reaper_new(&loop, is_known_child, e);
    e->server = server_new(e, s.listener.listen_fd);
    e->dns = dns_server_new(&loop, NULL);
    e->ports = port_publisher_new(&loop, p);
    s.guard = guard_new(e);
    load_project(e);
    adopt_all(e);
    /* A client that started us is about to speak; without one there may be nothing to do at all. */
    engine_kick(e);
    uv_run(&loop, UV_RUN_DEFAULT);
    vec_release(&e->containers);
    vec_release(&e->operations);
    vec_release(&e->line);
    project_ref_put(e->project);
    image_store_free(e->images);
    sealed_program_release(&e->crun);
    return uv_loop_close(&loop) == 0 ? 0 : 1;
}
