#include "engine/net_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "net/netns.h"

enum { ANSWER_MAX = 1024 };

struct net_probe {
    struct net_probe_events events;
    void *arg;
    uv_loop_t *loop;
    int netns; /* a copy */
    struct sockaddr_storage address;
    char *request; /* NULL: TCP only */
    uv_work_t work;
    uv_timer_t timer;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    int fd;
    struct err err;
    char answer[ANSWER_MAX];
    size_t answer_n;
    bool working, tcp_open, decided, ok, timed_out, cancelled;
    char text[ANSWER_MAX + 64];
    unsigned handles;
};

static void release(struct net_probe *p)
{
    struct net_probe_events events = p->events;
    if (!p->cancelled)
        events.done(p->arg, p->ok, p->timed_out, p->text);
    close(p->netns);
    err_release(&p->err);
    free(p->request);
    free(p);
}

static void on_closed(uv_handle_t *handle)
{
    struct net_probe *p = handle->data;
    if (!--p->handles)
        release(p);
}

/* Closes what is open, once nothing is under way in the pool. */
static void end(struct net_probe *p)
{
    if (p->working)
        return;
    if (p->tcp_open && !uv_is_closing((uv_handle_t *)&p->tcp))
        uv_close((uv_handle_t *)&p->tcp, on_closed);
    if (!uv_is_closing((uv_handle_t *)&p->timer))
        uv_close((uv_handle_t *)&p->timer, on_closed);
}

static void decide(struct net_probe *p, bool ok, const char *text)
{
    if (p->decided)
        return;
    p->decided = true;
    p->ok = ok;
    snprintf(p->text, sizeof(p->text), "%s", text);
    end(p);
}

/* RFC 9112, 4: "HTTP/1.1 200 OK". */
static void judge_answer(struct net_probe *p)
{
    int status = 0;
    char line[ANSWER_MAX];
    size_t n = strcspn(p->answer, "\r\n");
    snprintf(line, sizeof(line), "%.*s", (int)n, p->answer);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    if (sscanf(line, "HTTP/1.%*1[01] %3d", &status) != 1)
        decide(p, false,
               *line ? "the answer is no HTTP" : "the connection was closed without an answer");
    else
        decide(p, status >= 200 && status < 400, line);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct net_probe *p = handle->data;
    (void)size;
    buf->base = p->answer + p->answer_n;
    buf->len = sizeof(p->answer) - 1 - p->answer_n;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct net_probe *p = stream->data;
    (void)buf;
    if (n > 0)
        p->answer_n += (size_t)n;
    p->answer[p->answer_n] = '\0';
    /* The first line is all that is wanted. */
    if (n < 0 || strchr(p->answer, '\n') || p->answer_n == sizeof(p->answer) - 1)
        judge_answer(p);
}

static void on_written(uv_write_t *req, int status)
{
    struct net_probe *p = req->data;
    if (status < 0 && !p->decided)
        decide(p, false, uv_strerror(status));
}

static void on_connected(uv_connect_t *req, int status)
{
    struct net_probe *p = req->data;
    if (p->decided)
        return;
    if (status < 0) {
        char text[128];
        snprintf(text, sizeof(text), "connect: %s", uv_strerror(status));
        decide(p, false, text);
    } else if (!p->request) {
        decide(p, true, "connected");
    } else {
        uv_buf_t buf = uv_buf_init(p->request, (unsigned)strlen(p->request));
        p->write.data = p;
        uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read);
        if (uv_write(&p->write, (uv_stream_t *)&p->tcp, &buf, 1, on_written) < 0)
            decide(p, false, "write failed");
    }
}

static void on_timeout(uv_timer_t *timer)
{
    struct net_probe *p = timer->data;
    p->timed_out = true;
    decide(p, false, "timeout");
}

/* --- the socket, made in the container's namespace by a thread of its own */

static int make_socket(void *arg, struct err *err)
{
    struct net_probe *p = arg;
    p->fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return p->fd < 0 ? err_sys(err, errno, "socket") : 0;
}

static void work_run(uv_work_t *req)
{
    struct net_probe *p = req->data;
    netns_run(p->netns, make_socket, p, &p->err);
}

static void work_done(uv_work_t *req, int status)
{
    struct net_probe *p = req->data;
    (void)status;
    p->working = false;
    if (p->fd >= 0) {
        uv_tcp_init(p->loop, &p->tcp);
        p->tcp.data = p->connect.data = p;
        p->tcp_open = true;
        p->handles++;
        if (uv_tcp_open(&p->tcp, p->fd) < 0)
            close(p->fd);
    }
    if (p->decided) {
        end(p);
        return;
    }
    if (p->fd < 0)
        decide(p, false, p->err.msg ? p->err.msg : "no socket");
    else if (uv_tcp_connect(&p->connect, &p->tcp, (struct sockaddr *)&p->address, on_connected) < 0)
        decide(p, false, "connect failed");
}

static char *request_of(const struct port_probe *port)
{
    bool v6 = strchr(port->host, ':') != NULL;
    return xasprintf("GET %s HTTP/1.1\r\nHost: %s%s%s:%d\r\nUser-Agent: compose-healthcheck\r\n"
                     "Accept: */*\r\nConnection: close\r\n\r\n",
                     port->path, v6 ? "[" : "", port->host, v6 ? "]" : "", (int)port->port);
}

struct net_probe *net_probe_start(uv_loop_t *loop, int netns, const struct port_probe *port,
                                  int64_t timeout, const struct net_probe_events *events, void *arg)
{
    struct net_probe *p = xcalloc(1, sizeof(*p));
    p->events = *events;
    p->arg = arg;
    p->loop = loop;
    p->fd = -1;
    p->netns = fcntl(netns, F_DUPFD_CLOEXEC, 3);
    if (uv_ip4_addr(port->host, (int)port->port, (struct sockaddr_in *)&p->address) < 0)
        uv_ip6_addr(port->host, (int)port->port, (struct sockaddr_in6 *)&p->address);
    if (port->kind == PROBE_HTTP)
        p->request = request_of(port);
    uv_timer_init(loop, &p->timer);
    p->timer.data = p->work.data = p;
    p->handles = 1;
    p->working = true;
    uv_timer_start(&p->timer, on_timeout, (uint64_t)((timeout + 999999) / 1000000), 0);
    uv_queue_work(loop, &p->work, work_run, work_done);
    return p;
}

void net_probe_cancel(struct net_probe *p)
{
    if (!p || p->cancelled)
        return;
    p->cancelled = p->decided = true;
    end(p);
}
