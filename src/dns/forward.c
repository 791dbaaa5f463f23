/* Forwarding: the query goes to an upstream as it came, with an ID and a source port of its own.
 * When an upstream stays silent the next one is asked too; the first usable answer wins. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "dns/internal.h"

enum {
    STAGGER_MS = 300,   /* silence after which the next upstream is asked too */
    RESEND_MS = 1500,   /* after which all are asked again */
    DEADLINE_MS = 4000, /* below the resolver's own 5 s, so that it gets the SERVFAIL */
    DEAD_MS = 1500,     /* the same when no upstream answered lately */
    BAD_MS = 10000,     /* how long a silent upstream comes last */
    IN_FIRST = 1536,    /* room for an answer; grows for TCP */
};

struct attempt {
    struct forward *forward;
    struct ip_addr addr; /* of the upstream, whose place in the list may change */
    uint64_t started;
    uv_poll_t poll;
    int fd; /* -1: over */
    uint16_t id;
    bool tcp;
    size_t sent; /* TCP: bytes of the length and the query */
    uint8_t *in; /* TCP: length and answer so far */
    size_t in_len;
};

struct forward {
    struct dns_endpoint *endpoint;
    struct forward *prev, *next;
    struct reply_to to;
    struct dns_query q;
    uint8_t *query; /* two bytes for the length (TCP), then the message */
    size_t len;
    uint64_t started, deadline; /* deadline: ms after it started */
    struct attempt attempts[UPSTREAMS_MAX];
    size_t attempts_n;
    size_t order[UPSTREAMS_MAX], order_n; /* upstreams, good ones first */
    uv_timer_t timer;
    bool resent, over;
    uint8_t *fallback; /* an answer that is used if no better one comes (SERVFAIL, REFUSED) */
    size_t fallback_len;
    size_t open_handles;
};

static void forward_free(struct forward *f)
{
    for (size_t i = 0; i < f->attempts_n; i++)
        free(f->attempts[i].in);
    struct dns_endpoint *e = f->endpoint;
    e->server->forwards--;
    if (f->to.client)
        tcp_client_unref(f->to.client);
    free(f->query);
    free(f->fallback);
    free(f);
    endpoint_unref(e);
}

static void handle_closed(uv_handle_t *handle)
{
    struct forward *f = handle->data;
    if (--f->open_handles == 0)
        forward_free(f);
}

static void attempt_poll_closed(uv_handle_t *handle)
{
    struct attempt *a = handle->data;
    uv_handle_t *owner = (uv_handle_t *)&a->forward->timer;
    handle_closed(owner);
}

static void attempt_end(struct attempt *a)
{
    if (a->fd < 0)
        return;
    uv_close((uv_handle_t *)&a->poll, attempt_poll_closed);
    close(a->fd);
    a->fd = -1;
}

static void forward_end(struct forward *f)
{
    if (f->over)
        return;
    f->over = true;
    for (size_t i = 0; i < f->attempts_n; i++)
        attempt_end(&f->attempts[i]);
    uv_close((uv_handle_t *)&f->timer, handle_closed);
    if (f->prev)
        f->prev->next = f->next;
    else
        f->endpoint->forwards = f->next;
    if (f->next)
        f->next->prev = f->prev;
}

static void reply(struct forward *f, uint8_t *msg, size_t len)
{
    dns_set_id(msg, f->q.id);
    if (f->to.client)
        tcp_reply(f->to.client, msg, len);
    else
        sendto(f->endpoint->udp_fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *)&f->to.from, sizeof(f->to.from));
    forward_end(f);
}

static void reply_failure(struct forward *f)
{
    uint8_t out[DNS_UDP_MIN + DNS_HEADER];
    if (f->fallback) {
        reply(f, f->fallback, f->fallback_len);
        return;
    }
    reply(f, out, dns_answer_error(f->query + 2, &f->q, DNS_SERVFAIL, out, sizeof(out)));
}

static struct upstream *find_upstream(struct forward *f, const struct ip_addr *addr)
{
    size_t n;
    struct upstream *all = upstreams_of(f->endpoint, &n);
    for (size_t i = 0; i < n; i++) {
        if (ip_equal(&all[i].addr, addr))
            return &all[i];
    }
    return NULL;
}

static void mark(struct forward *f, const struct attempt *a, bool good)
{
    struct upstream *u = find_upstream(f, &a->addr);
    if (u)
        u->bad_until = good ? 0 : uv_now(f->endpoint->server->loop) + BAD_MS;
}

static void forward_step(struct forward *f);

static size_t running(const struct forward *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->attempts_n; i++)
        n += f->attempts[i].fd >= 0;
    return n;
}

static void attempt_failed(struct attempt *a)
{
    mark(a->forward, a, false);
    attempt_end(a);
    forward_step(a->forward);
}

/* Another one answered first: those that had their chance come last for a while. */
static void mark_silent(struct forward *f, const struct attempt *winner)
{
    uint64_t now = uv_now(f->endpoint->server->loop);
    for (size_t i = 0; i < f->attempts_n; i++) {
        const struct attempt *a = &f->attempts[i];
        if (a != winner && a->fd >= 0 && now - a->started >= STAGGER_MS)
            mark(f, a, false);
    }
}

/* An answer that is to the point. Errors of the server are not the name's: another one may know. */
static void take_answer(struct attempt *a, uint8_t *msg, size_t len)
{
    struct forward *f = a->forward;
    enum dns_rcode rcode = dns_rcode_of(msg);
    bool poor = rcode == DNS_SERVFAIL || rcode == DNS_REFUSED || rcode == DNS_NOTIMP;
    if (!poor || len < f->q.question_end) {
        mark(f, a, true);
        mark_silent(f, a);
        reply(f, msg, len);
        return;
    }
    if (!f->fallback) {
        f->fallback = xmemdup(msg, len);
        f->fallback_len = len;
    }
    attempt_end(a);
    forward_step(f);
}

static void read_udp(struct attempt *a)
{
    uint8_t buf[DNS_MESSAGE_MAX];
    for (;;) {
        ssize_t n = recv(a->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            attempt_failed(a);
            return;
        }
        struct forward *f = a->forward;
        if (!dns_answers(buf, (size_t)n, a->id, f->query + 2, &f->q))
            continue; /* not an answer to this: late, or forged */
        take_answer(a, buf, (size_t)n);
        return;
    }
}

static bool write_tcp(struct attempt *a)
{
    struct forward *f = a->forward;
    uint8_t head[4] = {(uint8_t)(f->len >> 8), (uint8_t)f->len, (uint8_t)(a->id >> 8),
                       (uint8_t)a->id};
    while (a->sent < f->len + 2) {
        /* The first four bytes are this attempt's own: length and ID. */
        const uint8_t *from = a->sent < 4 ? head + a->sent : f->query + a->sent;
        size_t n = a->sent < 4 ? 4 - a->sent : f->len + 2 - a->sent;
        ssize_t w = send(a->fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (w < 0)
            return errno == EAGAIN || errno == EINTR || errno == ENOTCONN;
        a->sent += (size_t)w;
    }
    return true;
}

static void read_tcp(struct attempt *a)
{
    struct forward *f = a->forward;
    if (!a->in)
        a->in = xmalloc(DNS_MESSAGE_MAX + 2);
    for (;;) {
        size_t want = 2;
        if (a->in_len >= 2)
            want = 2 + (size_t)(a->in[0] << 8 | a->in[1]);
        if (a->in_len >= 2 && a->in_len == want) {
            if (dns_answers(a->in + 2, want - 2, a->id, f->query + 2, &f->q))
                take_answer(a, a->in + 2, want - 2);
            else
                attempt_failed(a);
            return;
        }
        ssize_t n = recv(a->fd, a->in + a->in_len, want - a->in_len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            attempt_failed(a);
            return;
        }
        a->in_len += (size_t)n;
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct attempt *a = poll->data;
    if (a->fd < 0 || a->forward->over)
        return;
    if (!a->tcp) {
        read_udp(a);
        return;
    }
    if (status < 0 || !write_tcp(a)) {
        attempt_failed(a);
        return;
    }
    if (a->sent == a->forward->len + 2)
        uv_poll_start(&a->poll, UV_READABLE, on_ready);
    if (events & UV_READABLE)
        read_tcp(a);
}

static bool send_udp(struct attempt *a)
{
    struct forward *f = a->forward;
    dns_set_id(f->query + 2, a->id);
    ssize_t n = send(a->fd, f->query + 2, f->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n >= 0 || errno == EAGAIN || errno == ENOBUFS;
}

/* False: this upstream cannot be asked at all. */
static bool attempt_start(struct forward *f, size_t index)
{
    size_t n;
    struct upstream *all = upstreams_of(f->endpoint, &n);
    struct attempt *a = &f->attempts[f->attempts_n];
    if (index >= n)
        return false; /* the host's list changed meanwhile */
    bool tcp = f->to.client != NULL;
    int fd = upstream_socket(f->endpoint, &all[index], tcp ? SOCK_STREAM : SOCK_DGRAM);
    if (fd < 0) {
        all[index].bad_until = uv_now(f->endpoint->server->loop) + BAD_MS;
        return false;
    }
    *a = (struct attempt){.forward = f,
                          .addr = all[index].addr,
                          .started = uv_now(f->endpoint->server->loop),
                          .fd = fd,
                          .tcp = tcp};
    if (getrandom(&a->id, sizeof(a->id), 0) != sizeof(a->id))
        a->id = (uint16_t)uv_hrtime();
    f->attempts_n++;
    f->open_handles++;
    uv_poll_init(f->endpoint->server->loop, &a->poll, fd);
    a->poll.data = a;
    uv_poll_start(&a->poll, tcp ? UV_WRITABLE | UV_READABLE : UV_READABLE, on_ready);
    if (!tcp && !send_udp(a)) {
        mark(f, a, false);
        attempt_end(a);
        return false;
    }
    return true;
}

/* Asks the next upstream that can be asked; false: there is none left. */
static bool attempt_next(struct forward *f)
{
    while (f->order_n) {
        size_t index = f->order[0];
        f->order_n--;
        memmove(f->order, f->order + 1, f->order_n * sizeof(f->order[0]));
        if (attempt_start(f, index))
            return true;
    }
    return false;
}

static bool all_bad(struct forward *f)
{
    size_t n;
    struct upstream *all = upstreams_of(f->endpoint, &n);
    uint64_t now = uv_now(f->endpoint->server->loop);
    for (size_t i = 0; i < n; i++) {
        if (all[i].bad_until <= now)
            return false;
    }
    return true;
}

static void resend(struct forward *f)
{
    f->resent = true;
    for (size_t i = 0; i < f->attempts_n; i++) {
        if (f->attempts[i].fd >= 0 && !f->attempts[i].tcp)
            send_udp(&f->attempts[i]);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct forward *f = timer->data;
    uint64_t age = uv_now(timer->loop) - f->started;
    if (age >= f->deadline) {
        reply_failure(f);
        return;
    }
    /* Silence counts against an upstream from the second round on: answers may take a while. */
    if (age >= RESEND_MS && !f->resent) {
        for (size_t i = 0; i < f->attempts_n; i++) {
            if (f->attempts[i].fd >= 0)
                mark(f, &f->attempts[i], false);
        }
        resend(f);
        return;
    }
    attempt_next(f);
}

/* Something ended: ask the next one, or give up when nobody is left to wait for. */
static void forward_step(struct forward *f)
{
    if (f->over || attempt_next(f) || running(f))
        return;
    reply_failure(f);
}

/* Upstreams in the order of the file, those that were silent lately last. */
static void choose_order(struct forward *f)
{
    size_t n;
    const struct upstream *all = upstreams_of(f->endpoint, &n);
    uint64_t now = uv_now(f->endpoint->server->loop);
    for (int bad = 0; bad < 2; bad++) {
        for (size_t i = 0; i < n; i++) {
            if ((all[i].bad_until > now) == (bad == 1))
                f->order[f->order_n++] = i;
        }
    }
}

bool forward_start(struct dns_endpoint *e, const uint8_t *msg, size_t len,
                   const struct dns_query *q, const struct reply_to *to)
{
    struct dns_server *s = e->server;
    if (s->forwards >= s->max_forwards)
        return false;
    struct forward *f = xcalloc(1, sizeof(*f));
    s->forwards++;
    f->endpoint = endpoint_ref(e);
    f->to = *to;
    if (to->client)
        tcp_client_ref(to->client);
    f->q = *q;
    f->query = xmalloc(len + 2);
    memcpy(f->query + 2, msg, len);
    f->len = len;
    f->started = uv_now(s->loop);
    f->open_handles = 1;
    f->next = e->forwards;
    if (f->next)
        f->next->prev = f;
    e->forwards = f;
    uv_timer_init(s->loop, &f->timer);
    f->timer.data = f;
    choose_order(f);
    f->deadline = all_bad(f) ? DEAD_MS : DEADLINE_MS;
    uv_timer_start(&f->timer, on_timer, STAGGER_MS, STAGGER_MS);
    if (!attempt_next(f)) {
        forward_end(f);
        return false;
    }
    if (to->client)
        tcp_wait(to->client);
    return true;
}

void forward_cancel_all(struct dns_endpoint *e)
{
    while (e->forwards)
        forward_end(e->forwards);
}
