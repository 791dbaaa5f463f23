#include "engine/operation.h"

#include <malloc.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "engine/container.h"
#include "engine/server.h"
#include "runtime/logfile.h"

static const struct operation_kind *const kinds[] = {
    &op_up,      &op_create, &op_down, &op_start, &op_stop,    &op_restart,
    &op_restore, &op_kill,   &op_rm,   &op_pause, &op_unpause, &op_run,
};

const struct operation_kind *operation_kind_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (streq(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

struct operation *operation_submit(struct engine *e, const struct operation_kind *kind,
                                   struct client *client, json_t *take_request)
{
    struct operation *op = xcalloc(1, sizeof(*op));
    op->engine = e;
    op->kind = kind;
    op->client = client;
    op->request = take_request;
    op->options = json_object_get(take_request, "options");
    op->attach = operation_flag(op, "attach");
    struct operation *current = e->operations.n ? e->operations.v[0] : NULL;
    if (current && kind->overrides && current->kind->starts && !current->cancelled) {
        current->cancelled = true;
        if (!current->failure.msg)
            err_set(&current->failure, ERR_CANCELLED, "ended by a `%s` that came meanwhile",
                    kind->name);
    } else if (current && !kind->at_once)
        operation_send(op, json_pack("{s:s, s:s+}", "event", "waiting", "message",
                                     "waiting for an operation that is in progress: ",
                                     e->operations.v[0]->kind->name));
    vec_push(&e->operations, op);
    if (kind->starts)
        engine_warm_cgroups(e);
    engine_kick(e);
    return op;
}

void operation_cancel(struct operation *op)
{
    op->client = NULL;
    op->cancelled = true;
    engine_kick(op->engine);
}

static void on_deadline(uv_timer_t *timer)
{
    struct operation *op = timer->data;
    op->expired = true;
    engine_kick(op->engine);
}

static void on_deadline_closed(uv_handle_t *h)
{
    free(h);
}

void operation_set_deadline(struct operation *op, int64_t ns)
{
    if (!op->deadline) {
        op->deadline = xcalloc(1, sizeof(*op->deadline));
        uv_timer_init(op->engine->loop, op->deadline);
        op->deadline->data = op;
    }
    uv_timer_start(op->deadline, on_deadline, (uint64_t)(ns / 1000000), 0);
}

static void operation_free(struct operation *op)
{
    if (op->kind->release)
        op->kind->release(op);
    if (op->deadline)
        uv_close((uv_handle_t *)op->deadline, on_deadline_closed);
    err_release(&op->failure);
    json_decref(op->culprit);
    json_decref(op->request);
    free(op);
}

static void operation_finish(struct operation *op)
{
    log_line("%s: %s", op->kind->name, op->failure.msg ? op->failure.msg : "done");
    if (op->client) {
        if (op->failure.msg) {
            int exit_code = op->failure.exit_code ? op->failure.exit_code : 1;
            operation_send(op, json_pack("{s:s, s:o, s:i, s:O*}", "event", "error", "message",
                                         json_text(op->failure.msg), "exit", exit_code, "path",
                                         op->culprit));
            client_finish(op->client, false);
        } else {
            operation_send(
                op, op->attach ? json_pack("{s:s}", "event", "up")
                               : json_pack("{s:s, s:i}", "event", "done", "exit", op->exit_code));
            client_finish(op->client, op->attach);
        }
    }
    operation_free(op);
    /* A project may lie quiet for weeks now: what the operation needed goes back to the system. */
    malloc_trim(0);
}

/* True when it is over. */
static bool operation_run(struct operation *op)
{
    if (!op->begun) {
        op->begun = true;
        struct err err AUTOERR = ERR_INIT;
        if (op->cancelled)
            err_set(&op->failure, ERR_CANCELLED, "cancelled");
        else if (op->kind->begin(op, &err) < 0)
            operation_fail(op, &err);
    }
    bool refused = op->failure.msg && !op->data;
    return refused || op->kind->step(op);
}

static bool none_begun(const struct engine *e)
{
    for (size_t i = 0; i < e->operations.n; i++)
        if (e->operations.v[i]->begun)
            return false;
    return true;
}

/* What an operation had stopped for a while is its own to start again; if that was killed, given up or
 * failed, it is ours. */
static void resume_due(struct engine *e)
{
    bool due = false;
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container *c = e->containers.v[i];
        bool waits = c->record.due && c->state != C_GONE;
        if (waits && c->state != C_IDLE)
            return; /* not yet */
        due |= waits;
    }
    /* Who stopped them may be about to ask again. */
    if (due && !e->handing_over && !server_awaits_request(e->server))
        operation_submit(e, &op_resume, NULL, json_object());
}

void operations_step(struct engine *e)
{
    for (size_t i = 0; i < e->operations.n;) {
        struct operation *op = e->operations.v[i];
        if ((i && !op->kind->at_once) || !operation_run(op)) {
            i++;
            continue;
        }
        vec_remove(&e->operations, i);
        operation_finish(op);
        if (none_begun(e))
            engine_sweep_gone(e);
    }
    if (!e->operations.n)
        resume_due(e);
}

void operation_send(struct operation *op, json_t *take_event)
{
    if (op->client)
        client_send(op->client, take_event);
    json_decref(take_event);
}

static json_t *progress_event(const char *kind, const char *name, const char *text,
                              const char *state)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "event", "progress", "kind", kind, "name", name,
                     "text", text, "state", state);
}

void operation_progress(struct operation *op, const char *kind, const char *name, const char *text,
                        const char *state, const char *detail)
{
    json_t *o = progress_event(kind, name, text, state);
    jset_str(o, "detail", detail);
    operation_send(op, o);
}

void operation_explain(struct operation *op, const char *kind, const char *name, const char *text,
                       const char *state, json_t *reasons)
{
    json_t *o = progress_event(kind, name, text, state);
    if (reasons)
        json_object_set(o, "reasons", reasons);
    operation_send(op, o);
}

void operation_warn(struct operation *op, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    operation_send(op, json_pack("{s:s, s:o}", "event", "warning", "message", json_text(text)));
}

void operation_fail(struct operation *op, struct err *err)
{
    if (op->failure.msg)
        err_release(err);
    else
        err_move(&op->failure, err);
}

void operation_blame(struct operation *op, json_t *take_path)
{
    if (!op->failure.msg && !op->culprit)
        op->culprit = json_incref(take_path);
    json_decref(take_path);
}

bool operation_flag(const struct operation *op, const char *name)
{
    return jbool(op->options, name, false);
}

bool operation_is_repeated(const struct operation *op)
{
    return json_object_get(op->options, "since");
}

bool operation_has_started(const struct operation *op, const struct container *c)
{
    return operation_is_repeated(op) && c->record.started >= jint(op->options, "since", 0);
}

int64_t operation_seconds(const struct operation *op, const char *name)
{
    const json_t *j = json_object_get(op->options, name);
    return json_is_number(j) ? (int64_t)(json_number_value(j) * 1e9) : -1;
}

char **operation_services(const struct operation *op)
{
    const json_t *a = json_object_get(op->request, "services");
    return json_array_size(a) ? jarray_to_strv(a) : NULL;
}

bool operation_means(char **services, const char *service)
{
    for (size_t i = 0; services && services[i]; i++)
        if (streq(services[i], service))
            return true;
    return !services;
}

char *container_last_words(const struct container *c)
{
    struct strbuf sb = STRBUF_INIT;
    char *dir AUTOFREE = paths_container(c->engine->paths, c->record.project, c->record.id);
    struct logfile *log;
    struct log_record r;
    if (logfile_open(dir, 5, 0, &log, NULL) < 0)
        return strbuf_detach(&sb);
    while (logfile_next(log, &r, NULL) == 1) {
        size_t n = r.len;
        while (n && (r.text[n - 1] == '\n' || r.text[n - 1] == '\r'))
            n--;
        strbuf_addstr(&sb, "\n  | ");
        strbuf_add(&sb, r.text, n < 500 ? n : 500);
    }
    logfile_close(log);
    return strbuf_detach(&sb);
}

char *container_cause(const struct container *c)
{
    struct strbuf sb = STRBUF_INIT;
    const struct container_record *r = &c->record;
    if (r->status == CONTAINER_EXITED && r->oom_killed)
        strbuf_addstr(&sb, "\n  it was killed, out of memory");
    if (r->health_output && *r->health_output && r->health_failing_streak) {
        size_t n = strcspn(r->health_output, "\n");
        strbuf_addstr(&sb, "\n  last probe: ");
        strbuf_add(&sb, r->health_output, n);
    }
    char *words AUTOFREE = container_last_words(c);
    strbuf_addstr(&sb, words);
    return strbuf_detach(&sb);
}
