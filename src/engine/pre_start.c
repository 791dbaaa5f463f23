#include "engine/pre_start.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/container.h"
#include "engine/hooks.h"
#include "engine/mounts.h"
#include "engine/oneoff.h"
#include "runtime/logfile.h"

static const char label[] = "com.docker.compose.hook"; /* as docker compose 5 has it */

enum { LINES_A_TURN = 200 };

enum stage { STAGE_NEXT, STAGE_PREPARING, STAGE_RUNNING, STAGE_REMOVING, STAGE_OVER };

/* The steps before the start of one container. */
struct pre_start {
    struct operation *op;
    struct container *c;
    bool whole; /* also those that are there once for the service: it starts first */
    size_t at;  /* the step */
    enum stage stage;
    struct oneoff task;
    struct container *step;
    bool failed;

    /* what the step says */
    struct logfile *log;
    struct hook_output *output;
    uv_poll_t *more; /* NULL: not watched */
};

bool pre_start_made(const struct container *c)
{
    return streq(jstr(c->record.labels, label, ""), "pre_start");
}

char *pre_start_name(const char *separator, const char *container, size_t i)
{
    return xasprintf("%s%spre_start%s%zu", container, separator, separator, i + 1);
}

static void tell(const struct pre_start *s, const char *text, const char *state)
{
    operation_progress(s->op, "Container", s->step->record.name, text, state, NULL);
}

/* --- its section --- */

static void take(json_t *to, const char *key, const json_t *from)
{
    json_t *value = json_object_get(from, key);
    if (value && !json_is_null(value))
        json_object_set(to, key, value);
}

/* What a step has of its service is the environment, what is mounted and the networks; the rest is its own,
 * or the image's (compose-spec, 05-services.md, and docker compose, pkg/compose/pre_start.go). */
static json_t *section_of(const json_t *service, const json_t *step)
{
    static const char *const shared[] = {
        "image",      "build",        "platform",       "runtime",     "pull_policy",
        "volumes",    "volumes_from", "tmpfs",          "configs",     "secrets",
        "networks",   "network_mode", "extra_hosts",    "dns",         "dns_opt",
        "dns_search", "links",        "external_links", "working_dir", "environment"};
    static const char *const own[] = {"image", "command", "user", "privileged", "working_dir"};
    json_t *s = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
        take(s, shared[i], service);
    if (!json_is_string(json_object_get(step, "image")))
        take(s, "user", service);
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        take(s, own[i], step);
    json_t *environment = json_copy(json_object_get(s, "environment"));
    if (!json_is_object(environment)) {
        json_decref(environment);
        environment = json_object();
    }
    json_object_update(environment, json_object_get(step, "environment"));
    json_object_set_new(s, "environment", environment);
    json_object_set_new(s, "healthcheck", json_pack("{s:b}", "disable", 1));
    return s;
}

/* --- anonymous volumes --- */

static const struct hook *hook_of(const struct pre_start *s)
{
    return &s->c->service->pre_start[s->at];
}

/* A volume that the image of the step wants and the service does not know is the step's own. */
static bool is_shared(const struct pre_start *s, const struct container_mount *m)
{
    return m->anonymous && m->name &&
           (!hook_of(s)->image || service_mount_at(s->c->service, m->target));
}

static bool has_volume(const struct container_record *r, const char *name)
{
    for (size_t i = 0; i < r->mounts_n; i++)
        if (r->mounts[i].name && streq(r->mounts[i].name, name))
            return true;
    return false;
}

static void add_mount(struct container_record *r, const struct container_mount *m)
{
    r->mounts = xrealloc(r->mounts, (r->mounts_n + 1) * sizeof(*r->mounts));
    r->mounts[r->mounts_n++] = container_mount_copy(m);
}

static void lend_volumes(const struct pre_start *s)
{
    for (size_t i = 0; i < s->c->record.mounts_n; i++)
        if (is_shared(s, &s->c->record.mounts[i]))
            add_mount(&s->step->record, &s->c->record.mounts[i]);
}

/* What the step has left in anonymous volumes is there for the container; they do not go with the
 * step. */
static void take_volumes(const struct pre_start *s)
{
    for (size_t i = 0; i < s->step->record.mounts_n; i++) {
        struct container_mount *m = &s->step->record.mounts[i];
        if (!is_shared(s, m))
            continue;
        if (!has_volume(&s->c->record, m->name))
            add_mount(&s->c->record, m);
        m->anonymous = false;
    }
    container_save(s->step);
    container_save(s->c);
}

/* --- what it says --- */

static void on_more(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    engine_kick(poll->data);
}

static void on_freed(uv_handle_t *handle)
{
    free(handle);
}

static void begin_listening(struct pre_start *s)
{
    const struct container_record *r = &s->step->record;
    struct engine *e = s->op->engine;
    char *dir AUTOFREE = paths_container(e->paths, r->project, r->id);
    char *who AUTOFREE = xasprintf("%s pre_start[%zu]", s->c->record.service, s->at);
    struct err err AUTOERR = ERR_INIT;
    s->output = hook_output_new(e, r->id, who, s->c->record.service);
    if (logfile_open(dir, -1, 0, &s->log, &err) < 0) {
        log_line("%s: %s", r->name, err.msg);
        return;
    }
    int fd = logfile_fd(s->log);
    if (fd < 0)
        return;
    s->more = xcalloc(1, sizeof(*s->more));
    s->more->data = e;
    uv_poll_init(e->loop, s->more, fd);
    uv_poll_start(s->more, UV_READABLE, on_more);
}

/* False: there is more than one turn should take. */
static bool listen_to(struct pre_start *s)
{
    struct log_record r;
    for (int i = 0; s->log && i < LINES_A_TURN; i++) {
        if (logfile_next(s->log, &r, NULL) != 1)
            return true;
        hook_output_add(s->output, r.text, r.len);
    }
    engine_kick(s->op->engine);
    return !s->log;
}

static void end_listening(struct pre_start *s)
{
    if (s->more) {
        uv_poll_stop(s->more);
        uv_close((uv_handle_t *)s->more, on_freed);
    }
    s->more = NULL;
    logfile_close(s->log);
    s->log = NULL;
    hook_output_free(s->output);
    s->output = NULL;
}

/* --- one step --- */

static void fail(struct pre_start *s, struct err *take_why)
{
    s->failed = true;
    operation_blame(s->op, json_pack("[s, s, s, i]", "services", s->c->record.service, "pre_start",
                                     (int)s->at));
    operation_fail(s->op, take_why);
}

/* It could not even be run. */
static void fail_early(struct pre_start *s, struct err *take_why)
{
    err_wrap(take_why, "service \"%s\" pre_start[%zu]", s->c->record.service, s->at);
    fail(s, take_why);
}

static void begin_step(struct pre_start *s)
{
    struct err err AUTOERR = ERR_INIT;
    const char *name = s->c->record.service;
    const struct project_ref *from = s->c->project;
    const json_t *service = json_object_get(project_services(from->json), name);
    const json_t *step = json_array_get(json_object_get(service, "pre_start"), s->at);
    log_trace("%s: pre_start[%zu]", s->c->record.name, s->at);
    s->stage = STAGE_PREPARING;
    if (oneoff_begin(&s->task, s->op, from, name, section_of(service, step), &err) < 0) {
        fail_early(s, &err);
        s->stage = STAGE_OVER;
    }
}

static void next_step(struct pre_start *s)
{
    const struct service *service = s->c->service;
    while (s->at < service->pre_start_n && !s->whole && !hook_of(s)->per_replica)
        s->at++;
    if (s->at == service->pre_start_n || s->op->cancelled || s->op->failure.msg)
        s->stage = STAGE_OVER;
    else
        begin_step(s);
}

static char *name_of(const struct pre_start *s)
{
    return pre_start_name(s->task.ref->project->separator, s->c->record.name, s->at);
}

static int make_step(struct pre_start *s, struct err *err)
{
    struct engine *e = s->op->engine;
    char *name AUTOFREE = name_of(s);
    json_t *labels AUTOJSON = json_pack("{s:s}", label, "pre_start");
    struct container_spec spec = {.name = name, .number = (int)s->at + 1, .labels = labels};
    s->step = oneoff_create(&s->task, e, &spec, err);
    if (!s->step)
        return -1;
    s->step->record.hide_aliases = true; /* nobody is to find it under the service's name */
    lend_volumes(s);
    container_save(s->step);
    engine_container_event(e, s->step, "create", NULL);
    return 0;
}

/* The one of a supervisor that is gone is still being removed. */
static bool is_in_the_way(const struct pre_start *s)
{
    char *name AUTOFREE = name_of(s);
    const struct container *old = engine_container_by_name(s->op->engine, name);
    return old && pre_start_made(old) && old->remove_wanted && !s->op->cancelled;
}

static void start_step(struct pre_start *s)
{
    struct err err AUTOERR = ERR_INIT;
    if (is_in_the_way(s) || !oneoff_ready(&s->task, &err))
        return;
    bool stop = s->op->cancelled || s->op->failure.msg;
    if (err.msg || (!stop && make_step(s, &err) < 0))
        fail_early(s, &err);
    if (stop || s->failed) {
        oneoff_release(&s->task);
        s->stage = STAGE_OVER;
        return;
    }
    s->stage = STAGE_RUNNING;
    tell(s, "Starting", "working");
    container_start(s->step);
    begin_listening(s);
}

static void judge_step(struct pre_start *s)
{
    const struct container *c = s->step;
    struct err err AUTOERR = ERR_INIT;
    if (c->launch_failed) {
        err_set(&err, ERR_INVALID, "%s", c->record.error);
        fail_early(s, &err);
    } else if (c->record.exit_code) {
        char *words AUTOFREE = container_last_words(c);
        err_set(&err, ERR_INVALID, "service \"%s\" pre_start[%zu] exited with code %d%s",
                s->c->record.service, s->at, c->record.exit_code, words);
        fail(s, &err);
    }
    tell(s, s->failed ? "Error" : "Exited", s->failed ? "error" : "done");
}

static void run_step(struct pre_start *s)
{
    if (s->op->cancelled && !s->step->stop_wanted && s->step->state != C_IDLE)
        container_stop(s->step, 0);
    if (!listen_to(s) || s->step->state != C_IDLE || s->step->start_wanted)
        return;
    end_listening(s);
    if (s->op->cancelled)
        s->failed = true;
    else
        judge_step(s);
    take_volumes(s);
    s->stage = STAGE_REMOVING;
    container_remove(s->step, true);
}

static void remove_step(struct pre_start *s)
{
    if (s->step->state == C_IDLE && s->step->fault.msg && !s->step->remove_wanted)
        operation_warn(s->op, "%s: %s", s->step->record.name, s->step->fault.msg);
    else if (s->step->state != C_GONE)
        return;
    s->step = NULL;
    oneoff_release(&s->task);
    s->at++;
    s->stage = s->failed ? STAGE_OVER : STAGE_NEXT;
}

static void step(struct pre_start *s)
{
    enum stage before;
    do {
        before = s->stage;
        switch (s->stage) {
        case STAGE_NEXT:
            next_step(s);
            break;
        case STAGE_PREPARING:
            start_step(s);
            break;
        case STAGE_RUNNING:
            run_step(s);
            break;
        case STAGE_REMOVING:
            remove_step(s);
            break;
        case STAGE_OVER:
            break;
        }
    } while (s->stage != before);
}

/* --- all of them --- */

static bool runs(const struct engine *e, const char *service)
{
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container *c = e->containers.v[i];
        if (!c->record.oneoff && streq(c->record.service, service) && c->state != C_IDLE &&
            c->state != C_GONE)
            return true;
    }
    return false;
}

static struct pre_start *find(const struct pre_starts *list, const struct container *c)
{
    for (size_t i = 0; i < list->v.n; i++)
        if (list->v.v[i]->c == c)
            return list->v.v[i];
    return NULL;
}

/* The one whose steps are those of the service as a whole, NULL: none yet. */
static struct pre_start *find_leader(const struct pre_starts *list, const char *service)
{
    for (size_t i = 0; i < list->v.n; i++)
        if (list->v.v[i]->whole && streq(list->v.v[i]->c->record.service, service))
            return list->v.v[i];
    return NULL;
}

static bool is_done(const struct pre_start *s)
{
    return s->stage == STAGE_OVER && !s->failed && s->at == s->c->service->pre_start_n;
}

enum verdict pre_starts_judge(struct pre_starts *list, struct operation *op, struct container *c)
{
    const struct service *service = container_service(c);
    if (!service || !service->pre_start_n)
        return HOLDS;
    struct pre_start *s = find(list, c), *leader = find_leader(list, service->name);
    if (!s && leader && !is_done(leader))
        return leader->failed ? BROKEN : PENDING;
    if (!s) {
        s = xcalloc(1, sizeof(*s));
        *s = (struct pre_start){
            .op = op, .c = c, .whole = !leader && !runs(op->engine, service->name)};
        vec_push(&list->v, s);
        step(s);
    }
    return is_done(s) ? HOLDS : s->failed ? BROKEN : PENDING;
}

void pre_starts_step(struct pre_starts *list)
{
    for (size_t i = 0; i < list->v.n; i++)
        step(list->v.v[i]);
}

bool pre_starts_busy(const struct pre_starts *list)
{
    for (size_t i = 0; i < list->v.n; i++)
        if (list->v.v[i]->stage != STAGE_OVER)
            return true;
    return false;
}

void pre_starts_release(struct pre_starts *list)
{
    for (size_t i = 0; i < list->v.n; i++)
        free(list->v.v[i]);
    vec_release(&list->v);
}
