#include "dns/server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "dns/internal.h"
#include "net/netns.h"
#include "net/nft.h"

enum { DEFAULT_FORWARDS = 1024, DEFAULT_TTL = 600, LISTEN_BACKLOG = 64, ADDRESSES_MAX = 256 };

/* Answers. */

/* xorshift64*: the order of answers is no secret. */
static uint32_t next_random(struct dns_server *s)
{
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return (uint32_t)((s->random * UINT64_C(2685821657736338717)) >> 32);
}

static const struct zone_name *find_name(const struct dns_endpoint *e, const struct dns_query *q)
{
    const char *name = q->name;
    size_t len = q->name_len;
    for (size_t i = 0; i < e->links_n; i++) {
        if (streq(e->links[i].alias, name)) {
            name = e->links[i].name;
            len = strlen(name);
            break;
        }
    }
    for (size_t i = 0; i < e->zones_n; i++) {
        const struct zone_name *n = zone_find(e->zones[i], name, len);
        if (n)
            return n;
    }
    return NULL;
}

static void add_addresses(struct dns_writer *w, struct dns_server *s, const struct zone_name *n,
                          bool six)
{
    const struct ip_addr *found[ADDRESSES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < n->owners.n && count < ADDRESSES_MAX; i++) {
        const struct zone_owner *o = n->owners.v[i];
        const struct ip_addr *a = six ? &o->ipv6 : &o->ipv4;
        if (a->family)
            found[count++] = a;
    }
    /* Fisher-Yates, as it goes: clients take the first one, and all shall get their share. */
    for (size_t i = 0; i < count; i++) {
        size_t pick = count - i > 1 ? i + next_random(s) % (count - i) : i;
        const struct ip_addr *a = found[pick];
        found[pick] = found[i];
        dns_answer_address(w, a, s->ttl);
    }
}

static bool answer_reverse(struct dns_endpoint *e, struct dns_writer *w, const struct dns_query *q)
{
    struct ip_addr a;
    char name[DNS_NAME_MAX + 1];
    if (!dns_parse_reverse(q->name, &a))
        return false;
    for (size_t i = 0; i < e->zones_n; i++) {
        if (zone_find_address(e->zones[i], &a, name, sizeof(name))) {
            dns_answer_pointer(w, name, e->server->ttl);
            return true;
        }
    }
    return false;
}

/* Answers from the zones. Returns the answer's length in out (at most max octets, size bytes of
 * room), 0: not ours, to be forwarded. */
static size_t dns_answer_local(struct dns_endpoint *e, const uint8_t *query,
                               const struct dns_query *q, uint8_t *out, size_t size, size_t max)
{
    struct dns_writer w;
    bool internet = q->class == DNS_CLASS_IN || q->class == DNS_CLASS_ANY;
    if (!q->plain)
        return 0;
    if (q->type == DNS_PTR && internet) {
        dns_answer_begin(&w, out, size, max, query, q);
        return answer_reverse(e, &w, q) ? dns_answer_end(&w, q, DNS_NOERROR) : 0;
    }
    const struct zone_name *n = find_name(e, q);
    bool address = internet && (q->type == DNS_A || q->type == DNS_AAAA);
    /* A single label with ndots set: the resolver shall go on with its search list, as Docker has
     * it. */
    bool single = address && (e->ndots_set || e->server->host_ndots) && q->name_len &&
                  !strchr(q->name, '.');
    if (!n && !single)
        return 0;
    dns_answer_begin(&w, out, size, max, query, q);
    if (n && internet && (q->type == DNS_A || q->type == DNS_ANY))
        add_addresses(&w, e->server, n, false);
    if (n && internet && (q->type == DNS_AAAA || q->type == DNS_ANY))
        add_addresses(&w, e->server, n, true);
    /* No record of this type: NODATA. The name is ours, nobody else is asked. */
    return dns_answer_end(&w, q, DNS_NOERROR);
}

size_t dns_answer_error(const uint8_t *query, const struct dns_query *q, enum dns_rcode rcode,
                        uint8_t *out, size_t size)
{
    struct dns_writer w;
    dns_answer_begin(&w, out, size, DNS_UDP_MIN, query, q);
    return dns_answer_end(&w, q, rcode);
}

size_t dns_take(struct dns_endpoint *e, const uint8_t *msg, size_t len, const struct reply_to *to,
                uint8_t *out, size_t size)
{
    struct dns_query q;
    enum dns_rcode rcode;
    switch (dns_query_parse(msg, len, &q, &rcode)) {
    case DNS_QUERY_DROP:
        return 0;
    case DNS_QUERY_REFUSE:
        return dns_answer_error(msg, &q, rcode, out, size);
    case DNS_QUERY_OK:
        break;
    }
    size_t max = to->client ? DNS_MESSAGE_MAX : q.udp_size;
    size_t n = dns_answer_local(e, msg, &q, out, size, max);
    if (n)
        return n;
    if (!e->no_forward && forward_start(e, msg, len, &q, to))
        return 0;
    return dns_answer_error(msg, &q, DNS_SERVFAIL, out, size);
}

/* Endpoints. */

struct dns_endpoint *endpoint_ref(struct dns_endpoint *e)
{
    e->refs++;
    return e;
}

void endpoint_unref(struct dns_endpoint *e)
{
    if (--e->refs)
        return;
    struct dns_server *s = e->server;
    void (*closed)(void *) = e->closed;
    void *arg = e->closed_arg;
    for (size_t i = 0; i < e->links_n; i++) {
        free((char *)e->links[i].alias);
        free((char *)e->links[i].name);
    }
    free(e->links);
    free(e->zones);
    free(e->id);
    free(e->netns);
    err_release(&e->err);
    free(e);
    if (closed)
        closed(arg);
    server_part_closed(s);
}

/* *port 0: whatever is free, the container may want any other; set to what it is. */
static int bind_socket(int type, uint16_t *port, struct err *err)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f00000b), .sin_port = htons(*port)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0) ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(err, e, "open the DNS socket");
    }
    *port = ntohs(addr.sin_port);
    return fd;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int bind_both(struct dns_endpoint *e, uint16_t *udp_port, uint16_t *tcp_port,
                     struct err *err)
{
    int buffer = 1024 * 1024;
    e->udp_fd = bind_socket(SOCK_DGRAM, udp_port, err);
    if (e->udp_fd < 0)
        return -1;
    setsockopt(e->udp_fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    e->tcp_fd = bind_socket(SOCK_STREAM, tcp_port, err);
    return e->tcp_fd < 0 ? -1 : 0;
}

/* In the container's namespace. */
static int open_sockets(void *arg, struct err *err)
{
    struct dns_endpoint *e = arg;
    uint16_t udp_port = 0, tcp_port = 0;
    struct err redirect AUTOERR = ERR_INIT;
    if (bind_both(e, &udp_port, &tcp_port, err) < 0)
        return -1;
    if (nft_dns_redirect(udp_port, tcp_port, &redirect) == 0)
        return 0;
    if (redirect.errnum == EMFILE || redirect.errnum == ENFILE) {
        err_move(err, &redirect);
        return -1;
    }
    /* A kernel that cannot translate addresses in namespaces: port 53 itself, which the container then
     * cannot have. */
    log_line("dns: container %.12s: %s", e->id, redirect.msg);
    close_fd(&e->udp_fd);
    close_fd(&e->tcp_fd);
    udp_port = tcp_port = 53;
    return bind_both(e, &udp_port, &tcp_port, err);
}

static void open_work(uv_work_t *work)
{
    struct dns_endpoint *e = work->data;
    e->netns_fd = open(e->netns, O_RDONLY | O_CLOEXEC);
    if (e->netns_fd < 0)
        err_sys(&e->err, errno, "open network namespace %s", e->netns);
    else
        netns_run(e->netns_fd, open_sockets, e, &e->err);
}

static void poll_closed(uv_handle_t *handle)
{
    endpoint_unref(handle->data);
}

/* Lets go of everything; the endpoint is freed with its last handle. */
static void endpoint_shut(struct dns_endpoint *e)
{
    e->state = ENDPOINT_CLOSING;
    forward_cancel_all(e);
    tcp_close_clients(e);
    if (e->polling) {
        uv_close((uv_handle_t *)&e->udp, poll_closed);
        uv_close((uv_handle_t *)&e->tcp, poll_closed);
        e->polling = false;
    }
    close_fd(&e->udp_fd);
    close_fd(&e->tcp_fd);
    close_fd(&e->netns_fd);
}

static void start_polling(struct dns_endpoint *e)
{
    uv_poll_init(e->server->loop, &e->udp, e->udp_fd);
    uv_poll_init(e->server->loop, &e->tcp, e->tcp_fd);
    e->udp.data = e->tcp.data = e;
    e->polling = true;
    e->refs += 2;
    uv_poll_start(&e->udp, UV_READABLE, udp_on_readable);
    uv_poll_start(&e->tcp, UV_READABLE, tcp_on_connection);
    if (!e->own_n)
        close_fd(&e->netns_fd); /* only needed to ask upstreams from within */
}

static void open_done(uv_work_t *work, int status)
{
    struct dns_endpoint *e = work->data;
    (void)status;
    if (e->state == ENDPOINT_CLOSING) {
        endpoint_shut(e); /* closed while it was opening */
        err_release(&e->err);
        err_set(&e->err, ERR_CANCELLED, "DNS for container %.12s was closed", e->id);
    } else if (e->err.msg) {
        endpoint_shut(e);
        err_wrap(&e->err, "DNS for container %.12s", e->id);
    } else {
        e->state = ENDPOINT_OPEN;
        start_polling(e);
    }
    if (e->opened)
        e->opened(e->opened_arg, e->err.msg ? &e->err : NULL);
    endpoint_unref(e); /* the work's */
}

static char *lower_dup(const char *s)
{
    char *copy = xstrdup(s);
    for (char *p = copy; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return copy;
}

static void take_view(struct dns_endpoint *e, const struct dns_view *view)
{
    const char *const *networks = view->networks;
    size_t n = 0;
    while (networks && networks[n])
        n++;
    e->zones = xcalloc(n + 1, sizeof(struct dns_zone *));
    for (size_t i = 0; i < n; i++)
        e->zones[e->zones_n++] = dns_zone(e->server, networks[i]);
    e->links = xcalloc(view->links_n + 1, sizeof(*e->links));
    for (size_t i = 0; i < view->links_n; i++)
        e->links[e->links_n++] = (struct dns_link){.alias = lower_dup(view->links[i].alias),
                                                   .name = lower_dup(view->links[i].name)};
    for (const char *const *u = view->upstreams; u && *u && e->own_n < UPSTREAMS_MAX; u++) {
        if (ip_parse(*u, &e->own[e->own_n].addr))
            e->own_n++;
        else
            log_line("dns: container %.12s: \"%s\" is not an IP address", e->id, *u);
    }
    e->no_forward = view->no_forward;
    e->ndots_set = view->ndots_set;
}

void dns_endpoint_open(struct dns_server *s, const char *id, const char *netns,
                       const struct dns_view *view, dns_endpoint_cb done, void *arg,
                       struct dns_endpoint **out)
{
    struct dns_endpoint *e = xcalloc(1, sizeof(*e));
    e->server = s;
    e->id = xstrdup(id);
    e->netns = xstrdup(netns);
    e->udp_fd = e->tcp_fd = e->netns_fd = -1;
    e->refs = 2; /* the caller's, until dns_endpoint_close(), and the work's */
    e->opened = done;
    e->opened_arg = arg;
    e->work.data = e;
    take_view(e, view);
    s->open_parts++;
    e->next = s->endpoints;
    if (e->next)
        e->next->prev = e;
    s->endpoints = e;
    *out = e;
    uv_queue_work(s->loop, &e->work, open_work, open_done);
}

void dns_endpoint_close(struct dns_endpoint *e, void (*done)(void *arg), void *arg)
{
    bool opening = e->state == ENDPOINT_OPENING;
    e->closed = done;
    e->closed_arg = arg;
    if (e->prev)
        e->prev->next = e->next;
    else
        e->server->endpoints = e->next;
    if (e->next)
        e->next->prev = e->prev;
    if (opening)
        e->state = ENDPOINT_CLOSING; /* the worker has it: open_done() goes on */
    else
        endpoint_shut(e);
    endpoint_unref(e);
}

/* The server. */

struct dns_server *dns_server_new(uv_loop_t *loop, const struct dns_options *options)
{
    struct dns_server *s = xcalloc(1, sizeof(*s));
    struct dns_options o = options ? *options : (struct dns_options){0};
    s->loop = loop;
    s->resolv_conf = o.resolv_conf ? xstrdup(o.resolv_conf) : NULL;
    s->max_forwards = o.max_forwards ? o.max_forwards : DEFAULT_FORWARDS;
    s->ttl = o.ttl ? o.ttl : DEFAULT_TTL;
    s->random = uv_hrtime() | 1;
    s->batch = udp_batch_new();
    upstreams_refresh(s);
    return s;
}

struct dns_zone *dns_zone(struct dns_server *s, const char *network)
{
    struct dns_zone *z = map_get(&s->zones, network);
    if (!z) {
        z = zone_new(s, network);
        s->open_parts++;
        map_set(&s->zones, network, z);
    }
    return z;
}

int dns_zone_watch(struct dns_zone *z, const char *dir, struct err *err)
{
    return zone_watch(z, z->server->loop, dir, err);
}

void server_part_closed(struct dns_server *s)
{
    if (--s->open_parts || !s->closing)
        return;
    void (*done)(void *) = s->done;
    void *arg = s->done_arg;
    map_release(&s->zones);
    free(s->batch);
    free(s->resolv_conf);
    free(s);
    if (done)
        done(arg);
}

void dns_server_close(struct dns_server *s, void (*done)(void *arg), void *arg)
{
    s->done = done;
    s->done_arg = arg;
    s->closing = true;
    s->open_parts++; /* holds the server while its parts are walked */
    while (s->endpoints)
        dns_endpoint_close(s->endpoints, NULL, NULL);
    map_foreach (&s->zones, it) {
        zone_close(it->value);
    }
    server_part_closed(s);
}
