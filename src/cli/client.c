#include "cli/client.h"

#include <errno.h>
#include <signal.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "base/version.h"
#include "engine/control.h"
#include "engine/protocol.h"
#include "model/decode.h"
#include "runtime/oci.h"

enum {
    DEATHS_MAX = 10, /* of supervisors, one soon after the other */
    SOON_MS = 5000,
};

struct client {
    uv_pipe_t pipe;
    const struct paths *paths;
    char *project;
    json_t *request; /* to be sent again, see take_death() */
    int deaths;      /* supervisors that died, one soon after the other */
    uint64_t asked;  /* when the present one was, uv_now() */
    int64_t began;   /* when the first one was, ns since the epoch */
    bool answered;   /* an event has come */
    bool resumes;    /* may be asked twice, and has not been done yet */
    bool follows;    /* container events, which another supervisor goes on with */
    bool replaying;  /* it tells of what was before it */
    bool again;      /* the pipe is being closed to connect anew */
    int64_t last;    /* time of the last container event, ns since the epoch */
    struct client_handler handler;
    struct strbuf in;
    size_t scanned; /* bytes of in that hold no newline */
    char chunk[64 << 10];
    struct err err;
    bool finished; /* "done" or "error" has come */
    bool closing;
};

json_t *request_new(const char *op, const char *const *services)
{
    json_t *r = json_pack("{s:i, s:s, s:s, s:{}}", "v", protocol_version, "compose",
                          compose_version, "op", op, "options");
    if (services && *services)
        json_object_set_new(r, "services", jarray_from_strv(services));
    return r;
}

static void add_variables(json_t *environment, const struct file_object *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = objects[i].environment;
        if (name)
            jset_str(environment, name, getenv(name));
    }
}

void request_project(json_t *request, const struct project *p)
{
    json_t *environment = json_object();
    add_variables(environment, p->secrets, p->secrets_n);
    add_variables(environment, p->configs, p->configs_n);
    json_object_set_new(request, "project", project_to_json(p));
    json_object_set_new(request, "environment", environment);
}

void request_json(json_t *request, const char *name, json_t *take_value)
{
    json_object_set_new(json_object_get(request, "options"), name, take_value);
}

void request_bool(json_t *request, const char *name, bool value)
{
    if (value)
        request_json(request, name, json_true());
}

void request_int(json_t *request, const char *name, int64_t value)
{
    request_json(request, name, json_integer(value));
}

void request_str(json_t *request, const char *name, const char *value)
{
    if (value)
        request_json(request, name, json_text(value));
}

static int connect_client(struct client *c, uv_loop_t *loop, bool start, struct err *err);

static void on_close(uv_handle_t *h)
{
    struct client *c = container_of((uv_pipe_t *)h, struct client, pipe);
    if (c->again && !c->closing) {
        c->again = false;
        if (connect_client(c, h->loop, true, &c->err) == 0)
            return;
    }
    c->handler.closed(c->handler.ctx, c->err.msg ? &c->err : NULL);
}

static void client_close(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (!c->again)
        uv_close((uv_handle_t *)&c->pipe, on_close);
}

void client_cancel(struct client *c)
{
    client_close(c);
}

/* False: the supervisor before this one has told of it. */
static bool is_news(struct client *c, const json_t *event)
{
    int64_t time = jint(event, "time", 0);
    if (c->replaying && time <= c->last)
        return false;
    c->last = time;
    return true;
}

/* The operation once more: what is done already since it was first asked for is not done twice. */
static void ask_on(struct client *c)
{
    if (!json_object_get(json_object_get(c->request, "options"), "since"))
        request_int(c->request, "since", c->began);
    c->replaying = true;
}

/* What is asked of the next supervisor: events from the last one on. */
static void follow_on(struct client *c)
{
    json_t *request = request_new("events", NULL);
    json_t *until = json_object_get(json_object_get(c->request, "options"), "until");
    request_int(request, "since", c->last);
    if (until)
        request_json(request, "until", json_incref(until));
    json_decref(c->request);
    c->request = request;
    c->replaying = true;
}

static void handle_line(struct client *c, const char *line, size_t n)
{
    json_error_t at;
    json_t *event AUTOJSON = json_loadb(line, n, JSON_ALLOW_NUL, &at);
    const char *name = jstr(event, "event", NULL);
    if (!name) {
        err_set(&c->err, ERR_CORRUPT, "the supervisor said something unreadable: %.80s", line);
        client_close(c);
        return;
    }
    if (streq(name, "handover"))
        return; /* it closes now, and has not begun */
    c->answered = true;
    if (streq(name, "done") || streq(name, "error"))
        c->finished = true;
    if (streq(name, "up")) {
        c->follows = c->resumes;
        c->resumes = false;
    }
    if (streq(name, "created"))
        request_bool(c->request, "created", true);
    if (streq(name, "following"))
        c->replaying = false;
    if (!streq(name, "container") || is_news(c, event))
        c->handler.event(c->handler.ctx, name, event);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct client *c = container_of((uv_pipe_t *)h, struct client, pipe);
    (void)suggested;
    *buf = uv_buf_init(c->chunk, sizeof(c->chunk));
}

/* A supervisor that was killed still accepts while the kernel takes it apart: one that said nothing has not begun.
 * Of what it did begin nearly everything may be asked for again: the next one goes on from what there is. False:
 * this is the end. */
static bool take_death(struct client *c)
{
    bool again = !c->answered || c->resumes || c->follows;
    if (uv_now(c->pipe.loop) - c->asked > SOON_MS)
        c->deaths = 0;
    if (again && ++c->deaths < DEATHS_MAX) {
        strbuf_setlen(&c->in, 0);
        c->scanned = 0;
        c->again = true;
        if (c->answered && c->resumes)
            ask_on(c);
        else if (c->answered && c->follows)
            follow_on(c);
        uv_close((uv_handle_t *)&c->pipe, on_close);
        return true;
    }
    char *dir AUTOFREE = paths_project_run(c->paths, c->project);
    if (again)
        err_set(&c->err, ERR_UNAVAILABLE,
                "the supervisor of project \"%s\" ended %d times, one soon after the other: "
                "%s/supervisor.log may say why",
                c->project, c->deaths, dir);
    else
        err_set(&c->err, ERR_UNAVAILABLE,
                "the supervisor of the project ended; the containers run on, try again");
    return false;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = container_of((uv_pipe_t *)s, struct client, pipe);
    if (n < 0) {
        if (c->closing || c->finished || !take_death(c))
            client_close(c);
        return;
    }
    strbuf_add(&c->in, buf->base, (size_t)n);
    char *newline;
    while (!c->closing &&
           (newline = memchr(c->in.buf + c->scanned, '\n', c->in.len - c->scanned))) {
        size_t len = (size_t)(newline - c->in.buf);
        handle_line(c, c->in.buf, len);
        strbuf_consume(&c->in, len + 1);
        c->scanned = 0;
    }
    c->scanned = c->in.len;
    if (c->in.len > PROTOCOL_LINE_MAX) {
        err_set(&c->err, ERR_CORRUPT, "the supervisor sent a line that is too long");
        client_close(c);
    }
}

/* Operations come to the same when they are asked for twice; a signal that a container may have got already
 * and lived on does not. */
static bool may_be_asked_twice(const json_t *request)
{
    const char *op = jstr(request, "op", "");
    const json_t *options = json_object_get(request, "options");
    return !streq(op, "events") &&
           (!streq(op, "kill") || signal_by_name(jstr(options, "signal", "SIGKILL")) == SIGKILL);
}

static int connect_client(struct client *c, uv_loop_t *loop, bool start, struct err *err)
{
    int fd AUTOCLOSE = -1;
    char *text AUTOFREE = json_dumps(c->request, JSON_COMPACT);
    char *line AUTOFREE = xasprintf("%s\n", text);
    if (control_connect(c->paths, c->project, start, &fd, err) < 0)
        return -1;
    /* One that has gone in between shows when we read. */
    if (fd_write_all(fd, line, strlen(line)) < 0 && errno != EPIPE && errno != ECONNRESET)
        return err_sys(err, errno, "send to the supervisor");
    uv_pipe_init(loop, &c->pipe, 0);
    c->asked = uv_now(loop);
    int rc = uv_pipe_open(&c->pipe, fd);
    if (rc < 0) {
        /* A handle that was initialised is closed on the loop: told there. */
        err_set(&c->err, ERR_IO, "open the supervisor's socket: %s", uv_strerror(rc));
        client_close(c);
        return 0;
    }
    (void)STEAL_FD(fd);
    uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
    return 0;
}

int client_open(uv_loop_t *loop, const struct paths *paths, const char *project, bool start,
                const json_t *request, const struct client_handler *handler, struct client **out,
                struct err *err)
{
    struct client *c = xcalloc(1, sizeof(*c));
    c->paths = paths;
    c->project = xstrdup(project);
    c->request = json_copy((json_t *)request);
    json_object_set_new(c->request, "options", json_copy(json_object_get(request, "options")));
    c->resumes = may_be_asked_twice(request);
    c->follows = streq(jstr(request, "op", ""), "events");
    c->last = c->began = time_now();
    c->handler = *handler;
    c->in = (struct strbuf)STRBUF_INIT;
    if (connect_client(c, loop, start, err) < 0) {
        client_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    free(c->project);
    json_decref(c->request);
    strbuf_release(&c->in);
    err_release(&c->err);
    free(c);
}
