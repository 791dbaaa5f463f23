#include "engine/hooks.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "engine/container.h"
#include "engine/exec_job.h"
#include "engine/server.h"
#include "runtime/bundle.h"

enum { LINE_MAX_BYTES = 16 << 10 };

struct hook_output {
    struct engine *engine;
    char *id, *name, *service;
    struct strbuf line; /* unfinished */
};

struct hook_output *hook_output_new(struct engine *e, const char *id, const char *name,
                                    const char *service)
{
    struct hook_output *o = xcalloc(1, sizeof(*o));
    *o = (struct hook_output){.engine = e,
                              .id = xstrdup(id),
                              .name = xstrdup(name),
                              .service = xstrdup(service),
                              .line = STRBUF_INIT};
    return o;
}

static void tell_line(struct hook_output *o)
{
    json_t *event AUTOJSON = json_pack("{s:s, s:s, s:s, s:s}", "event", "hook", "id", o->id, "name",
                                       o->name, "service", o->service);
    jset_str(event, "text", o->line.buf);
    server_broadcast(o->engine->server, event);
    strbuf_setlen(&o->line, 0);
}

void hook_output_add(struct hook_output *o, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (data[i] == '\n' || o->line.len >= LINE_MAX_BYTES)
            tell_line(o);
        if (data[i] != '\n' && data[i])
            strbuf_addch(&o->line, data[i]);
    }
}

void hook_output_free(struct hook_output *o)
{
    if (!o)
        return;
    if (o->line.len)
        tell_line(o);
    strbuf_release(&o->line);
    free(o->id);
    free(o->name);
    free(o->service);
    free(o);
}

struct hooks {
    struct container *c;
    const char *kind;
    const struct hook *list;
    size_t n, at;
    void (*done)(struct container *c, struct err *err);
    struct exec_job *job;
    char *process_file;
    struct hook_output *output;
    char exec_id[65];
    uv_timer_t *defer; /* begins the first one, in a turn of its own */
};

static void begin_next(struct hooks *h);

static void on_freed(uv_handle_t *handle)
{
    free(handle);
}

void hooks_note(struct container *c, const char *kind, size_t at)
{
    char *now AUTOFREE = kind ? xasprintf("%s[%zu]", kind, at) : NULL;
    if ((!now && !c->record.hook) || (now && c->record.hook && streq(now, c->record.hook)))
        return;
    free(c->record.hook);
    c->record.hook = STEAL(now);
    container_save(c);
}

int hooks_noted(const struct container *c, const char *kind)
{
    size_t n = strlen(kind);
    const char *hook = c->record.hook;
    return hook && starts_with(hook, kind) && hook[n] == '[' ? atoi(hook + n + 1) : -1;
}

static char *pid_file_of(const struct container *c)
{
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    return path_join(run, "hook.pid");
}

/* Through a descriptor: nobody who gets its number meanwhile is hit. what: stands in the file of /proc. */
static void kill_if(pid_t pid, const char *file, const char *what)
{
    char *path AUTOFREE = xasprintf("/proc/%d/%s", (int)pid, file), *text AUTOFREE = NULL;
    size_t n = 0;
    int fd AUTOCLOSE = fd_pidfd(pid);
    if (fd >= 0 && fs_read(path, 64 << 10, &text, &n, NULL) == 0 &&
        memmem(text, n, what, strlen(what)))
        syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

void hooks_end_orphan(const struct container *c)
{
    char *pid_file AUTOFREE = pid_file_of(c), *text AUTOFREE = NULL;
    /* First the runtime, which may be about to start it. */
    DIR *proc = opendir("/proc");
    for (struct dirent *e; proc && (e = readdir(proc));)
        if (atoi(e->d_name) > 1)
            kill_if(atoi(e->d_name), "cmdline", pid_file);
    if (proc)
        closedir(proc);
    if (fs_read(pid_file, 64, &text, NULL, NULL) == 0 && atoi(text) > 1)
        kill_if(atoi(text), "cgroup", c->record.id);
    unlink(pid_file);
}

static void hooks_free(struct hooks *h)
{
    if (h->process_file)
        unlink(h->process_file);
    free(h->process_file);
    hook_output_free(h->output);
    uv_close((uv_handle_t *)h->defer, on_freed);
    free(h);
}

static void on_output(void *arg, const char *data, size_t n)
{
    struct hooks *h = arg;
    hook_output_add(h->output, data, n);
}

/* Hands over and is gone. */
static void finish(struct hooks *h, struct err *err)
{
    struct container *c = h->c;
    void (*done)(struct container *, struct err *) = h->done;
    hooks_free(h);
    hooks_note(c, NULL, 0);
    done(c, err);
}

static void on_ended(void *arg, int code, bool timed_out)
{
    struct hooks *h = arg;
    struct err err AUTOERR = ERR_INIT;
    (void)timed_out; /* it has no time limit */
    h->job = NULL;
    hook_output_free(h->output);
    h->output = NULL;
    engine_exec_ended(h->c, h->exec_id, code);
    if (code) {
        err_set(&err, ERR_INVALID, "%s hook exited with status %d", h->c->record.service, code);
        finish(h, &err);
    } else if (++h->at < h->n) {
        begin_next(h);
    } else {
        finish(h, NULL);
    }
}

static char **environment_of(const struct hook *hook)
{
    char **env = NULL;
    for (size_t i = 0; i < hook->environment.n; i++) {
        const struct key_value *kv = &hook->environment.v[i];
        char *text AUTOFREE = kv->value ? xasprintf("%s=%s", kv->key, kv->value) : xstrdup(kv->key);
        strv_push(&env, text);
    }
    return env;
}

static int start_one(struct hooks *h, const struct hook *hook, struct err *err)
{
    static const struct exec_job_events events = {.output = on_output, .done = on_ended};
    struct container *c = h->c;
    const struct paths *paths = c->engine->paths;
    char **env AUTOSTRV = environment_of(hook);
    const struct exec_request r = {
        .id = c->record.id,
        .command = hook->command.v,
        .environment = (const char *const *)env,
        .user = hook->user,
        .working_dir = hook->working_dir,
        .privileged = hook->privileged,
    };
    if (h->process_file)
        unlink(h->process_file);
    free(h->process_file);
    h->process_file = NULL;
    if (!hook->command.n)
        return err_set(err, ERR_INVALID, "a hook without a command");
    struct oci_runtime rt;
    if (exec_process_write(paths, &r, &h->process_file, err) < 0 ||
        oci_runtime_choose(c->record.runtime, paths->run, &rt, err) < 0)
        return -1;
    char *pid_file AUTOFREE = pid_file_of(c);
    char **argv AUTOSTRV = oci_exec_argv(&rt, c->record.id, h->process_file, pid_file);
    oci_runtime_release(&rt);
    return exec_job_start(c->engine->loop, argv, pid_file, 0, &events, h, &h->job, err);
}

static void begin_next(struct hooks *h)
{
    struct err err AUTOERR = ERR_INIT;
    const struct container_record *r = &h->c->record;
    log_trace("%s: %s[%zu]", r->name, h->kind, h->at);
    hooks_note(h->c, h->kind, h->at);
    h->output = hook_output_new(h->c->engine, r->id, r->name, r->service);
    if (start_one(h, &h->list[h->at], &err) < 0) {
        err_wrap(&err, "%s hook", h->c->record.service);
        finish(h, &err);
        return;
    }
    char *text AUTOFREE = exec_text(h->list[h->at].command.v);
    random_hex(32, h->exec_id);
    engine_exec_started(h->c, h->exec_id, text);
}

static void on_begin(uv_timer_t *timer)
{
    begin_next(timer->data);
}

struct hooks *hooks_start(struct container *c, const char *kind, const struct hook *list, size_t n,
                          size_t at, void (*done)(struct container *c, struct err *err))
{
    struct hooks *h = xcalloc(1, sizeof(*h));
    *h = (struct hooks){.c = c, .kind = kind, .list = list, .n = n, .at = at, .done = done};
    h->defer = xcalloc(1, sizeof(*h->defer));
    uv_timer_init(c->engine->loop, h->defer);
    h->defer->data = h;
    uv_timer_start(h->defer, on_begin, 0, 0);
    return h;
}

void hooks_cancel(struct hooks *h)
{
    if (!h)
        return;
    struct container *c = h->c;
    exec_job_cancel(h->job);
    hooks_free(h);
    if (!c->closing) /* else the next supervisor goes on with it */
        hooks_note(c, NULL, 0);
}
