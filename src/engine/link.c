#include "engine/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/strbuf.h"

enum { LINE_MAX_BYTES = 8192 };

struct monitor_link {
    uv_poll_t poll;
    int fd;
    struct strbuf in;
    struct monitor_link_events events;
    void *arg;
    bool closed;
};

static void on_closed(uv_handle_t *h)
{
    struct monitor_link *l = h->data;
    close(l->fd);
    strbuf_release(&l->in);
    free(l);
}

void monitor_link_close(struct monitor_link *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    uv_poll_stop(&l->poll);
    uv_close((uv_handle_t *)&l->poll, on_closed);
}

void monitor_link_leave(struct monitor_link *l)
{
    static const char leave[] = "leave\n";
    if (l && !l->closed && send(l->fd, leave, sizeof(leave) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        errno = 0; /* it has gone */
    monitor_link_close(l);
}

void monitor_link_mute(struct monitor_link *l)
{
    uv_poll_stop(&l->poll);
}

/* Takes a descriptor that came along, if any. */
static void take_fd(struct monitor_link *l, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
            c->cmsg_len != CMSG_LEN(sizeof(int)))
            continue;
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        if (l->events.tty)
            l->events.tty(l->arg, fd);
        else
            close(fd);
    }
}

static void take_lines(struct monitor_link *l)
{
    char *end;
    while (!l->closed && (end = memchr(l->in.buf, '\n', l->in.len))) {
        *end = '\0';
        size_t n = (size_t)(end - l->in.buf) + 1;
        struct monitor_status st;
        bool known = monitor_status_parse(l->in.buf, &st);
        strbuf_consume(&l->in, n);
        if (known)
            l->events.status(l->arg, &st);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct monitor_link *l = poll->data;
    (void)events;
    char chunk[4096];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {chunk, sizeof(chunk)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = status < 0 ? 0 : recvmsg(l->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        take_fd(l, &msg);
        strbuf_add(&l->in, chunk, (size_t)n);
        take_lines(l);
        if (l->closed || l->in.len < LINE_MAX_BYTES)
            return;
    }
    uv_poll_stop(&l->poll);
    l->events.lost(l->arg);
}

struct monitor_link *monitor_link_open(uv_loop_t *loop, int take_fd,
                                       const struct monitor_link_events *events, void *arg)
{
    static const char hello[] = "supervisor fd\n";
    struct monitor_link *l = xcalloc(1, sizeof(*l));
    l->fd = take_fd;
    l->in = (struct strbuf)STRBUF_INIT;
    l->events = *events;
    l->arg = arg;
    /* A monitor that died in between shows as end of file at the first read. */
    if (send(l->fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) < 0)
        errno = 0;
    uv_poll_init(loop, &l->poll, l->fd);
    l->poll.data = l;
    uv_poll_start(&l->poll, UV_READABLE, on_readable);
    return l;
}
