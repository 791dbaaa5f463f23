/* Queries over TCP: messages behind a two-byte length, any number of them a connection, answered in
 * any order (RFC 7766). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "dns/internal.h"

enum { READ_SIZE = 4096, ANSWER_MAX = 16384 };

struct tcp_client {
    struct dns_endpoint *endpoint;
    struct tcp_client *prev, *next;
    int fd; /* -1: closed */
    uv_poll_t poll;
    uv_timer_t idle;
    struct strbuf in, out;
    size_t pending; /* forwarded, not answered yet */
    bool eof;
    size_t refs; /* the handles and the forwards */
};

struct tcp_client *tcp_client_ref(struct tcp_client *c)
{
    c->refs++;
    return c;
}

void tcp_client_unref(struct tcp_client *c)
{
    if (--c->refs)
        return;
    struct dns_endpoint *e = c->endpoint;
    strbuf_release(&c->in);
    strbuf_release(&c->out);
    free(c);
    endpoint_unref(e);
}

void tcp_wait(struct tcp_client *c)
{
    c->pending++;
}

static void handle_closed(uv_handle_t *handle)
{
    tcp_client_unref(handle->data);
}

static void client_close(struct tcp_client *c)
{
    if (c->fd < 0)
        return;
    if (c->prev)
        c->prev->next = c->next;
    else
        c->endpoint->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->endpoint->clients_n--;
    uv_close((uv_handle_t *)&c->poll, handle_closed);
    uv_close((uv_handle_t *)&c->idle, handle_closed);
    close(c->fd);
    c->fd = -1;
}

static void on_idle(uv_timer_t *timer)
{
    struct tcp_client *c = timer->data;
    if (!c->pending)
        client_close(c);
}

static void add_answer(struct tcp_client *c, const uint8_t *msg, size_t len)
{
    uint8_t head[2] = {(uint8_t)(len >> 8), (uint8_t)len};
    strbuf_add(&c->out, head, 2);
    strbuf_add(&c->out, msg, len);
}

/* False: the connection is broken. */
static bool flush(struct tcp_client *c)
{
    while (c->out.len) {
        ssize_t n = send(c->fd, c->out.buf, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        strbuf_consume(&c->out, (size_t)n);
    }
    return true;
}

static bool may_take_more(const struct tcp_client *c)
{
    return c->pending < TCP_PENDING && c->out.len < TCP_OUT_MAX;
}

/* Works off whole messages; what is forwarded is answered later. */
static void take_messages(struct tcp_client *c)
{
    struct reply_to to = {.client = c};
    uint8_t out[ANSWER_MAX];
    size_t at = 0;
    while (c->in.len - at >= 2 && may_take_more(c)) {
        const uint8_t *p = (const uint8_t *)c->in.buf + at;
        size_t len = (size_t)(p[0] << 8 | p[1]);
        if (c->in.len - at < 2 + len)
            break;
        size_t n = dns_take(c->endpoint, p + 2, len, &to, out, sizeof(out));
        if (n)
            add_answer(c, out, n);
        at += 2 + len;
    }
    strbuf_consume(&c->in, at);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void client_step(struct tcp_client *c)
{
    take_messages(c);
    if (!flush(c) || (c->eof && !c->pending && !c->out.len)) {
        client_close(c);
        return;
    }
    int events = (c->out.len ? UV_WRITABLE : 0) | (!c->eof && may_take_more(c) ? UV_READABLE : 0);
    if (events)
        uv_poll_start(&c->poll, events, on_ready);
    else
        uv_poll_stop(&c->poll);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct tcp_client *c = poll->data;
    char buf[READ_SIZE];
    if (status < 0) {
        client_close(c);
        return;
    }
    if (events & UV_READABLE) {
        ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            client_close(c);
            return;
        }
        c->eof |= n == 0;
        if (n > 0) {
            strbuf_add(&c->in, buf, (size_t)n);
            uv_timer_again(&c->idle);
        }
    }
    client_step(c);
}

void tcp_reply(struct tcp_client *c, const uint8_t *msg, size_t len)
{
    if (c->fd < 0)
        return;
    c->pending--;
    add_answer(c, msg, len);
    client_step(c);
}

static void client_open(struct dns_endpoint *e, int fd)
{
    struct tcp_client *c = xcalloc(1, sizeof(*c));
    c->endpoint = endpoint_ref(e);
    c->fd = fd;
    c->in = c->out = (struct strbuf)STRBUF_INIT;
    c->refs = 2;
    uv_poll_init(e->server->loop, &c->poll, fd);
    uv_timer_init(e->server->loop, &c->idle);
    c->poll.data = c->idle.data = c;
    c->next = e->clients;
    if (c->next)
        c->next->prev = c;
    e->clients = c;
    e->clients_n++;
    uv_timer_start(&c->idle, on_idle, TCP_IDLE_MS, TCP_IDLE_MS);
    uv_poll_start(&c->poll, UV_READABLE, on_ready);
}

void tcp_on_connection(uv_poll_t *poll, int status, int events)
{
    struct dns_endpoint *e = poll->data;
    (void)status;
    (void)events;
    for (;;) {
        int fd = accept4(e->tcp_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        if (e->clients_n >= TCP_CONNECTIONS)
            close(fd);
        else
            client_open(e, fd);
    }
}

void tcp_close_clients(struct dns_endpoint *e)
{
    while (e->clients)
        client_close(e->clients);
}
