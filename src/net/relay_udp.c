#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/relay_internal.h"

enum {
    SESSIONS_MAX = 1024,
    IDLE_MS = 90 * 1000,
    SWEEP_MS = 10 * 1000,
    PACKETS = 64, /* a turn of the loop */
    PACKET_MAX = 65536,
};

/* One client: its own socket towards the container, so that answers find their way back. */
struct session {
    struct relay *relay;
    struct session *prev, *next; /* the one used last first */
    uv_poll_t poll;
    int fd;
    struct sockaddr_storage client;
    socklen_t client_len;
    /* Answers leave from the address that was asked. */
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    size_t control_len;
    uint64_t used; /* uv_now() */
    bool closing;
};

static void session_closed(uv_handle_t *handle)
{
    struct session *s = handle->data;
    struct relay *r = s->relay;
    free(s);
    relay_unref(r);
}

static void unlink_session(struct session *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        s->relay->peers = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->prev = s->next = NULL;
}

static void link_session(struct session *s)
{
    s->next = s->relay->peers;
    if (s->next)
        s->next->prev = s;
    s->relay->peers = s;
}

static void session_close(struct session *s)
{
    s->closing = true;
    unlink_session(s);
    s->relay->peers_n--;
    uv_close((uv_handle_t *)&s->poll, session_closed);
    close(s->fd);
}

static void session_use(struct session *s)
{
    s->used = uv_now(s->relay->loop);
    unlink_session(s);
    link_session(s);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
    struct session *s = poll->data;
    char buf[PACKET_MAX];
    (void)status;
    (void)events;
    for (int i = 0; i < PACKETS; i++) {
        ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0)
            break; /* nothing more, or the container refused: the client will ask again */
        struct iovec iov = {.iov_base = buf, .iov_len = (size_t)n};
        struct msghdr msg = {.msg_name = &s->client,
                             .msg_namelen = s->client_len,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = s->control_len ? s->control : NULL,
                             .msg_controllen = s->control_len};
        sendmsg(s->relay->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        session_use(s);
    }
}

/* The source address of answers, from the packet info of the question; the interface is left open.
 */
static void keep_address(struct session *s, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO;
        bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO;
        if (!v4 && !v6)
            continue;
        struct cmsghdr *out = (struct cmsghdr *)s->control;
        size_t size = v6 ? sizeof(struct in6_pktinfo) : sizeof(struct in_pktinfo);
        memset(s->control, 0, sizeof(s->control));
        out->cmsg_level = c->cmsg_level;
        out->cmsg_type = c->cmsg_type;
        out->cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(out), CMSG_DATA(c), size);
        if (v4) {
            struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(out);
            info->ipi_spec_dst = info->ipi_addr;
            info->ipi_ifindex = 0;
        } else {
            struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(out);
            if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
                info->ipi6_ifindex = 0;
        }
        s->control_len = CMSG_SPACE(size);
    }
}

static struct session *session_open(struct relay *r, struct msghdr *msg)
{
    int fd = socket(r->target.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&r->target, r->target_len) < 0) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (r->peers_n >= SESSIONS_MAX) {
        struct session *oldest = r->peers;
        while (oldest->next)
            oldest = oldest->next;
        session_close(oldest);
    }
    struct session *s = xcalloc(1, sizeof(*s));
    s->relay = r;
    r->refs++;
    s->fd = fd;
    memcpy(&s->client, msg->msg_name, msg->msg_namelen);
    s->client_len = msg->msg_namelen;
    keep_address(s, msg);
    uv_poll_init(r->loop, &s->poll, fd);
    s->poll.data = s;
    uv_poll_start(&s->poll, UV_READABLE, on_answer);
    link_session(s);
    r->peers_n++;
    return s;
}

static struct session *session_find(struct relay *r, struct msghdr *msg)
{
    for (struct session *s = r->peers; s; s = s->next) {
        if (s->client_len == msg->msg_namelen &&
            memcmp(&s->client, msg->msg_name, s->client_len) == 0)
            return s;
    }
    return session_open(r, msg);
}

static void on_packet(uv_poll_t *poll, int status, int events)
{
    struct relay *r = poll->data;
    char buf[PACKET_MAX];
    (void)status;
    (void)events;
    for (int i = 0; i < PACKETS; i++) {
        struct sockaddr_storage from = {0};
        _Alignas(struct cmsghdr) char control[256];
        struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
        struct msghdr msg = {.msg_name = &from,
                             .msg_namelen = sizeof(from),
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(r->fd, &msg, MSG_DONTWAIT);
        if (n < 0)
            return;
        struct session *s = session_find(r, &msg);
        if (!s)
            continue;
        session_use(s);
        send(s->fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct relay *r = timer->data;
    uint64_t now = uv_now(r->loop);
    for (struct session *s = r->peers, *next; s; s = next) {
        next = s->next;
        if (now - s->used >= IDLE_MS)
            session_close(s);
    }
}

static void close_sessions(struct relay *r)
{
    while (r->peers)
        session_close(r->peers);
    uv_close((uv_handle_t *)&r->timer, relay_handle_closed);
}

struct relay *relay_udp_new(uv_loop_t *loop, int take_fd, const struct ip_addr *target,
                            uint16_t port)
{
    struct relay *r = relay_new(loop, take_fd, target, port);
    r->close_all = close_sessions;
    r->refs++;
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, on_sweep, SWEEP_MS, SWEEP_MS);
    uv_poll_start(&r->poll, UV_READABLE, on_packet);
    return r;
}
