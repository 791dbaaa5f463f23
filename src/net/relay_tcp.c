#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/relay_internal.h"

enum {
    PIPE_SIZE = 256 * 1024,
    TURNS = 16,     /* splices a flow may do before the loop gets on with other things */
    ACCEPTS = 64,   /* the same for new connections */
    PAUSE_MS = 100, /* no file descriptors left: wait for connections to end */
};

/* One direction: from -> pipe -> to. */
struct flow {
    int from, to;
    int pipe[2];
    size_t held; /* bytes in the pipe */
    bool eof;    /* from has ended */
    bool done;   /* and to was told */
};

struct connection {
    struct relay *relay;
    struct connection *prev, *next;
    uv_poll_t client, server;
    struct flow up, down;
    bool connecting, closing;
    int open_handles;
};

static void close_pipe(struct flow *f)
{
    for (int i = 0; i < 2; i++) {
        if (f->pipe[i] >= 0)
            close(f->pipe[i]);
    }
}

static void connection_free(struct connection *c)
{
    struct relay *r = c->relay;
    close_pipe(&c->up);
    close_pipe(&c->down);
    free(c);
    relay_unref(r);
}

static void connection_handle_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    if (--c->open_handles == 0)
        connection_free(c);
}

static void connection_close(struct connection *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (c->prev)
        c->prev->next = c->next;
    else
        c->relay->peers = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->relay->peers_n--;
    uv_close((uv_handle_t *)&c->client, connection_handle_closed);
    uv_close((uv_handle_t *)&c->server, connection_handle_closed);
    close(c->up.from);
    close(c->up.to);
}

/* False when the connection is broken. */
static bool flow_pump(struct flow *f)
{
    for (int turn = 0; turn < TURNS; turn++) {
        bool moved = false;
        if (!f->eof && f->held < PIPE_SIZE) {
            ssize_t n = splice(f->from, NULL, f->pipe[1], NULL, PIPE_SIZE - f->held,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                return false;
            f->eof = n == 0;
            if (n > 0) {
                f->held += (size_t)n;
                moved = true;
            }
        }
        if (f->held) {
            ssize_t n = splice(f->pipe[0], NULL, f->to, NULL, f->held,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                return false;
            if (n > 0) {
                f->held -= (size_t)n;
                moved = true;
            }
        }
        if (!moved)
            break;
    }
    if (f->eof && !f->held && !f->done) {
        f->done = true;
        shutdown(f->to, SHUT_WR);
    }
    return true;
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* A pipe counts segments, not bytes: splice may say EAGAIN while fewer than PIPE_SIZE bytes are in
 * it. So what is held goes out before more is asked for. */
static int wants(const struct flow *in, const struct flow *out)
{
    int events = 0;
    if (!in->eof && !in->held)
        events |= UV_READABLE;
    if (out->held)
        events |= UV_WRITABLE;
    return events;
}

static void watch(uv_poll_t *poll, int events)
{
    if (events)
        uv_poll_start(poll, events, on_ready);
    else
        uv_poll_stop(poll);
}

static bool connected(struct connection *c)
{
    int e = 0;
    socklen_t len = sizeof(e);
    getsockopt(c->up.to, SOL_SOCKET, SO_ERROR, &e, &len);
    return e == 0;
}

static void connection_step(struct connection *c)
{
    if (!flow_pump(&c->up) || !flow_pump(&c->down) || (c->up.done && c->down.done)) {
        connection_close(c);
        return;
    }
    watch(&c->client, wants(&c->up, &c->down));
    watch(&c->server, wants(&c->down, &c->up));
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct connection *c = poll->data;
    (void)events;
    if (c->closing)
        return;
    if (status < 0 || (c->connecting && !connected(c))) {
        connection_close(c);
        return;
    }
    c->connecting = false;
    connection_step(c);
}

static int open_server(const struct relay *r)
{
    int fd = socket(r->target.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&r->target, r->target_len) == 0 ||
        errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

static bool open_pipe(struct flow *f)
{
    f->pipe[0] = f->pipe[1] = -1;
    if (pipe2(f->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return false;
    fcntl(f->pipe[1], F_SETPIPE_SZ, PIPE_SIZE);
    return true;
}

static void set_options(int fd)
{
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void connection_open(struct relay *r, int client)
{
    int server = open_server(r);
    struct connection *c = xcalloc(1, sizeof(*c));
    bool pipes = open_pipe(&c->up);
    pipes = open_pipe(&c->down) && pipes;
    if (server < 0 || !pipes) {
        close(client);
        if (server >= 0)
            close(server);
        close_pipe(&c->up);
        close_pipe(&c->down);
        free(c);
        return;
    }
    set_options(client);
    set_options(server);
    c->relay = r;
    r->refs++;
    c->up.from = c->down.to = client;
    c->up.to = c->down.from = server;
    c->connecting = true;
    c->open_handles = 2;
    uv_poll_init(r->loop, &c->client, client);
    uv_poll_init(r->loop, &c->server, server);
    c->client.data = c->server.data = c;
    c->next = r->peers;
    if (c->next)
        c->next->prev = c;
    r->peers = c;
    r->peers_n++;
    uv_poll_start(&c->server, UV_WRITABLE, on_ready);
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct relay *r = timer->data;
    uv_poll_start(&r->poll, UV_READABLE, on_connection);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct relay *r = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        int client = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client >= 0) {
            connection_open(r, client);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the queue: without a pause the loop would spin on it. */
            log_line("relay: cannot accept a connection: out of file descriptors or memory");
            uv_poll_stop(&r->poll);
            uv_timer_start(&r->timer, on_pause_over, PAUSE_MS, 0);
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void close_connections(struct relay *r)
{
    while (r->peers)
        connection_close(r->peers);
    uv_close((uv_handle_t *)&r->timer, relay_handle_closed);
}

struct relay *relay_tcp_new(uv_loop_t *loop, int take_fd, const struct ip_addr *target,
                            uint16_t port)
{
    struct relay *r = relay_new(loop, take_fd, target, port);
    r->close_all = close_connections;
    r->refs++;
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    uv_poll_start(&r->poll, UV_READABLE, on_connection);
    return r;
}
