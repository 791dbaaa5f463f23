#include "engine/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/strbuf.h"
#include "base/version.h"
#include "engine/history.h"
#include "engine/operation.h"
#include "engine/protocol.h"
#include "engine/turns.h"

enum { UNSENT_MAX = 64 << 20 };

struct client {
    struct server *server;
    uv_pipe_t pipe;
    struct strbuf in;
    struct operation *operation; /* that runs or waits for this client */
    bool follows;                /* receives container events */
    bool closing, finished;
    bool awaits_handover;
    size_t unsent; /* bytes */
};

struct server {
    struct engine *engine;
    uv_poll_t poll;
    int listen_fd, reserve; /* the latter is given up to tell a client that there are no more */
    VEC(struct client *) clients;
    char *refusal; /* what everybody is told, NULL: nothing */
    bool closing;
};

struct write_request {
    uv_write_t req;
    struct client *client;
    size_t len;
    char data[];
};

static void server_free_if_done(struct server *s)
{
    if (s->closing && !s->clients.n && !s->poll.data) {
        vec_release(&s->clients);
        free(s->refusal);
        free(s);
    }
}

static void on_client_closed(uv_handle_t *h)
{
    struct client *c = h->data;
    struct server *s = c->server;
    for (size_t i = 0; i < s->clients.n; i++)
        if (s->clients.v[i] == c) {
            vec_remove(&s->clients, i);
            break;
        }
    strbuf_release(&c->in);
    free(c);
    if (s->closing)
        server_free_if_done(s);
    else
        engine_kick(s->engine);
}

static void client_close(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (c->operation)
        operation_cancel(c->operation);
    c->operation = NULL;
    uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

static void on_written(uv_write_t *req, int status)
{
    struct write_request *w = req->data;
    struct client *c = w->client;
    c->unsent -= w->len;
    free(w);
    if (status < 0 || (c->finished && !c->unsent))
        client_close(c);
}

void client_send(struct client *c, const json_t *event)
{
    if (c->closing)
        return;
    char *text AUTOFREE = json_dumps(event, JSON_COMPACT);
    size_t n = strlen(text);
    struct write_request *w = xmalloc(sizeof(*w) + n + 1);
    memcpy(w->data, text, n);
    w->data[n] = '\n';
    w->client = c;
    w->len = n + 1;
    w->req.data = w;
    uv_buf_t buf = uv_buf_init(w->data, (unsigned)w->len);
    c->unsent += w->len;
    if (c->unsent > UNSENT_MAX || uv_write(&w->req, (uv_stream_t *)&c->pipe, &buf, 1, on_written)) {
        c->unsent -= w->len;
        free(w);
        client_close(c);
    }
}

void client_finish(struct client *c, bool keep)
{
    c->operation = NULL;
    c->follows = keep;
    if (keep)
        return;
    c->finished = true;
    if (!c->unsent)
        client_close(c);
}

static void refuse(struct client *c, const char *message)
{
    json_t *o AUTOJSON = json_pack("{s:s, s:o, s:i}", "event", "error", "message",
                                   json_text(message), "exit", 1);
    client_send(c, o);
    client_finish(c, false);
}

static void answer_ping(struct client *c)
{
    json_t *o AUTOJSON = json_pack("{s:s, s:s, s:i, s:i}", "event", "done", "version",
                                   compose_version, "pid", (int)uv_os_getpid(), "exit", 0);
    client_send(c, o);
    client_finish(c, false);
}

static void send_past(void *ctx, const json_t *event)
{
    client_send(ctx, event);
}

/* since: first what was kept from then on. An until that is over already ends it there: false. */
static bool follow(struct client *c, const json_t *options)
{
    int64_t since = jint(options, "since", 0), until = jint(options, "until", 0);
    if (since)
        history_read(c->server->engine, since, until, send_past, c);
    c->follows = !until || until > time_now();
    json_t *o AUTOJSON = json_pack("{s:s}", "event", c->follows ? "following" : "done");
    client_send(c, o);
    return c->follows;
}

/* A client has a process run in a container: told to those who follow events. */
static void tell_exec(struct client *c, const json_t *options)
{
    struct engine *e = c->server->engine;
    const struct container *of = engine_container(e, jstr(options, "name", ""));
    const char *exec_id = jstr(options, "exec_id", NULL), *command = jstr(options, "exec", NULL);
    if (of && exec_id && command)
        engine_exec_started(of, exec_id, command);
    else if (of && exec_id && json_object_get(options, "exit_code"))
        engine_exec_ended(of, exec_id, (int)jint(options, "exit_code", 0));
    client_finish(c, false);
}

static void answer_turns(struct client *c)
{
    json_t *o AUTOJSON = turns_take(c->server->engine->turns);
    json_object_set_new(o, "event", json_string("done"));
    client_send(c, o);
    client_finish(c, false);
}

struct member {
    const char *name;
    json_type type; /* JSON_TRUE: a boolean; JSON_REAL: any number */
};

static bool has_type(const json_t *j, json_type type)
{
    switch (type) {
    case JSON_TRUE:
        return json_is_boolean(j);
    case JSON_REAL:
        return json_is_number(j);
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_STRING:
    case JSON_INTEGER:
    case JSON_FALSE:
    case JSON_NULL:
        break;
    }
    return json_typeof(j) == type;
}

/* The first member of o that is unknown or of another type than it must be; NULL: none. */
static const char *odd_member(const json_t *o, const struct member *members, size_t n)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)o, key, value) {
        bool fine = false;
        for (size_t i = 0; i < n && !fine; i++)
            fine = streq(members[i].name, key) && has_type(value, members[i].type);
        if (!fine)
            return key;
    }
    return NULL;
}

/* Nobody guesses what was meant: a member that is unknown, or no boolean where it must be one, means
 * that client and supervisor are of different versions. */
static const char *odd_in_request(const json_t *request)
{
    static const struct member top[] = {
        {"v", JSON_INTEGER},      {"compose", JSON_STRING},     {"op", JSON_STRING},
        {"services", JSON_ARRAY}, {"options", JSON_OBJECT},     {"project", JSON_OBJECT},
        {"service", JSON_STRING}, {"environment", JSON_OBJECT},
    };
    static const struct member options[] = {
        {"no_deps", JSON_TRUE},        {"force_recreate", JSON_TRUE},
        {"no_recreate", JSON_TRUE},    {"always_recreate_deps", JSON_TRUE},
        {"no_start", JSON_TRUE},       {"remove_orphans", JSON_TRUE},
        {"ignore_orphans", JSON_TRUE}, {"renew_anon_volumes", JSON_TRUE},
        {"wait", JSON_TRUE},           {"wait_timeout", JSON_REAL},
        {"timeout", JSON_REAL},        {"scale", JSON_OBJECT},
        {"attach", JSON_TRUE},         {"volumes", JSON_TRUE},
        {"volumes", JSON_ARRAY},       {"signal", JSON_STRING},
        {"stop", JSON_TRUE},           {"come_back", JSON_TRUE},
        {"name", JSON_STRING},         {"command", JSON_ARRAY},
        {"entrypoint", JSON_ARRAY},    {"environment", JSON_ARRAY},
        {"labels", JSON_OBJECT},       {"user", JSON_STRING},
        {"working_dir", JSON_STRING},  {"publish", JSON_ARRAY},
        {"service_ports", JSON_TRUE},  {"use_aliases", JSON_TRUE},
        {"remove", JSON_TRUE},         {"tty", JSON_TRUE},
        {"stdin_open", JSON_TRUE},     {"renew_volumes", JSON_ARRAY},
        {"wait_for", JSON_ARRAY},      {"detach", JSON_TRUE},
        {"cap_add", JSON_ARRAY},       {"cap_drop", JSON_ARRAY},
        {"since", JSON_INTEGER},       {"until", JSON_INTEGER},
        {"exec_id", JSON_STRING},      {"exec", JSON_STRING},
        {"exit_code", JSON_INTEGER},   {"id", JSON_STRING},
        {"created", JSON_TRUE},
    };
    const char *odd = odd_member(request, top, ARRAY_SIZE(top));
    return odd ? odd
               : odd_member(json_object_get(request, "options"), options, ARRAY_SIZE(options));
}

static void take_request(struct client *c, const char *line, size_t n)
{
    json_error_t je;
    json_t *request AUTOJSON = json_loadb(line, n, JSON_REJECT_DUPLICATES, &je);
    const char *name = jstr(request, "op", NULL);
    json_int_t version = jint(request, "v", -1);
    if (!json_is_object(request) || version < 0 || !name) {
        refuse(c, "malformed request");
        return;
    }
    const char *compose = jstr(request, "compose", compose_version);
    if (version > protocol_version || version_compare(compose, compose_version) > 0) {
        log_line("compose %s takes over from %s", compose, compose_version);
        c->awaits_handover = true;
        engine_hand_over(c->server->engine);
        return;
    }
    if (version < protocol_version) {
        char *message AUTOFREE = xasprintf(
            "the project is supervised by compose %s, which no longer speaks the protocol (version "
            "%lld) of this compose %s: use compose %s, or stop the project with it first",
            compose_version, (long long)version, compose, compose_version);
        refuse(c, message);
        return;
    }
    if (c->server->refusal) {
        refuse(c, c->server->refusal);
        return;
    }
    log_trace("request %s", name);
    const char *odd = odd_in_request(request);
    if (odd) {
        char *message AUTOFREE = xasprintf("%s: unknown or malformed member \"%s\"", name, odd);
        refuse(c, message);
        return;
    }
    const struct operation_kind *kind = operation_kind_find(name);
    const json_t *options = json_object_get(request, "options");
    if (streq(name, "ping")) {
        answer_ping(c);
    } else if (streq(name, "turns")) {
        answer_turns(c);
    } else if (streq(name, "events")) {
        if (!follow(c, options))
            client_finish(c, false);
    } else if (streq(name, "exec")) {
        tell_exec(c, options);
    } else if (kind) {
        c->follows = jbool(options, "attach", false) || streq(name, "run");
        if (c->follows && json_object_get(options, "since"))
            follow(c, options);
        c->operation = operation_submit(c->server->engine, kind, c, STEAL(request));
    } else {
        char *message AUTOFREE = xasprintf("unknown operation \"%s\"", name);
        refuse(c, message);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    char *data AUTOFREE = buf->base;
    if (n < 0) {
        client_close(c);
        return;
    }
    if (c->finished || c->operation || !n)
        return; /* one request a connection */
    strbuf_add(&c->in, data, (size_t)n);
    char *end = memchr(c->in.buf, '\n', c->in.len);
    if (end)
        take_request(c, c->in.buf, (size_t)(end - c->in.buf));
    else if (c->in.len > PROTOCOL_LINE_MAX)
        refuse(c, "request too long");
}

/* No descriptor is left: one that was kept for this says so. */
static void turn_away(struct server *s)
{
    static const char sorry[] =
        "{\"event\":\"error\",\"exit\":1,\"message\":\"the supervisor of the project has "
        "too many open files: nothing was begun\"}\n";
    fd_close_ptr(&s->reserve);
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 && send(fd, sorry, sizeof(sorry) - 1, MSG_NOSIGNAL) > 0)
        log_line("too many open files: a request is refused");
    fd_close_ptr(&fd);
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct server *s = poll->data;
    (void)status;
    (void)events;
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE)
            turn_away(s);
        engine_kick(s->engine); /* the supervisor may have stayed for this one alone */
        return;
    }
    struct client *c = xcalloc(1, sizeof(*c));
    c->server = s;
    c->in = (struct strbuf)STRBUF_INIT;
    uv_pipe_init(s->engine->loop, &c->pipe, 0);
    c->pipe.data = c;
    vec_push(&s->clients, c);
    if (uv_pipe_open(&c->pipe, fd) < 0) {
        close(fd);
        client_close(c);
    } else if (uv_read_start((uv_stream_t *)&c->pipe, engine_read_buffer, on_read) < 0) {
        client_close(c);
    }
}

struct server *server_new(struct engine *e, int take_listen_fd)
{
    struct server *s = xcalloc(1, sizeof(*s));
    s->engine = e;
    s->listen_fd = take_listen_fd;
    s->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fcntl(s->listen_fd, F_SETFL, O_NONBLOCK);
    fcntl(s->listen_fd, F_SETFD, FD_CLOEXEC);
    uv_poll_init(e->loop, &s->poll, s->listen_fd);
    s->poll.data = s;
    uv_poll_start(&s->poll, UV_READABLE, on_connection);
    return s;
}

static void on_server_closed(uv_handle_t *h)
{
    struct server *s = h->data;
    h->data = NULL;
    fd_close_ptr(&s->listen_fd);
    fd_close_ptr(&s->reserve);
    server_free_if_done(s);
}

void server_close(struct server *s)
{
    s->closing = true;
    for (size_t i = 0; i < s->clients.n; i++)
        client_close(s->clients.v[i]);
    uv_close((uv_handle_t *)&s->poll, on_server_closed);
}

void server_refuse(struct server *s, const char *message)
{
    s->refusal = xstrdup(message);
}

void server_hand_over(struct server *s)
{
    json_t *event AUTOJSON = json_pack("{s:s}", "event", "handover");
    for (size_t i = 0; i < s->clients.n; i++)
        if (s->clients.v[i]->awaits_handover)
            client_send(s->clients.v[i], event);
}

bool server_has_clients(const struct server *s)
{
    return s->clients.n > 0;
}

bool server_awaits_request(const struct server *s)
{
    struct pollfd pending = {.fd = s->listen_fd, .events = POLLIN};
    for (size_t i = 0; i < s->clients.n; i++) {
        const struct client *c = s->clients.v[i];
        if (!c->operation && !c->follows && !c->finished && !c->closing && !c->awaits_handover)
            return true;
    }
    return poll(&pending, 1, 0) > 0;
}

void server_broadcast(struct server *s, const json_t *event)
{
    for (size_t i = 0; i < s->clients.n; i++)
        if (s->clients.v[i]->follows)
            client_send(s->clients.v[i], event);
}
