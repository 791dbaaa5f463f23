#include "engine/reaper.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

struct child {
    uv_poll_t poll;
    struct reaper *reaper;
    struct child *next;
    int pidfd;
};

struct reaper {
    uv_loop_t *loop;
    struct child *children;
};

static void on_closed(uv_handle_t *h)
{
    struct child *c = h->data;
    close(c->pidfd);
    free(c);
}

static void forget(struct child *c)
{
    struct child **at = &c->reaper->children;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    uv_close((uv_handle_t *)&c->poll, on_closed);
}

static void on_ended(uv_poll_t *poll, int status, int events)
{
    struct child *c = poll->data;
    (void)status;
    (void)events;
    siginfo_t si;
    waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG);
    forget(c);
}

struct reaper *reaper_new(uv_loop_t *loop)
{
    struct reaper *r = xcalloc(1, sizeof(*r));
    r->loop = loop;
    return r;
}

void reaper_watch(struct reaper *r, pid_t pid)
{
    int fd = pid > 0 ? fd_pidfd(pid) : -1;
    siginfo_t si;
    if (fd < 0)
        return;
    /* ECHILD: somebody else's. */
    if (waitid((idtype_t)P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG | WNOWAIT) < 0) {
        close(fd);
        return;
    }
    struct child *c = xcalloc(1, sizeof(*c));
    c->reaper = r;
    c->pidfd = fd;
    c->poll.data = c;
    c->next = r->children;
    r->children = c;
    uv_poll_init(r->loop, &c->poll, fd);
    uv_poll_start(&c->poll, UV_READABLE, on_ended);
    uv_unref((uv_handle_t *)&c->poll);
}

void reaper_close(struct reaper *r)
{
    while (r->children)
        forget(r->children);
    free(r);
}
