#include "engine/reaper.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

struct child {
    uv_poll_t poll;
    struct reaper *reaper;
    struct child *next;
    pid_t pid;
    int pidfd;
};

struct reaper {
    uv_loop_t *loop;
    struct child *children;
    uv_signal_t sigchld;
    bool (*known)(void *arg, pid_t pid);
    void *arg;
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
    c->pid = pid;
    c->pidfd = fd;
    c->poll.data = c;
    c->next = r->children;
    r->children = c;
    uv_poll_init(r->loop, &c->poll, fd);
    uv_poll_start(&c->poll, UV_READABLE, on_ended);
    uv_unref((uv_handle_t *)&c->poll);
}

/* Of a hundred monitors that end together each would be looked up a hundred times. */
static bool is_watched(const struct reaper *r, pid_t pid)
{
    for (const struct child *c = r->children; c; c = c->next)
        if (c->pid == pid)
            return true;
    return false;
}

/* Is it in a pid namespace of a container? proc(5), /proc/PID/status, NSpid: a number a namespace. What
 * we spawn ourselves is in ours, and has somebody who waits for it. */
static bool in_container(pid_t pid)
{
    char *path AUTOFREE = xasprintf("/proc/%d/status", (int)pid);
    char *text AUTOFREE = NULL;
    if (fs_read(path, 1 << 16, &text, NULL, NULL) < 0)
        return false;
    const char *line = strstr(text, "\nNSpid:");
    int outer, inner;
    return line && sscanf(line, "\nNSpid: %d %d", &outer, &inner) == 2;
}

/* proc(5), /proc/PID/task/TID/children: a child belongs to the thread that made or inherited it. */
static void sweep_thread(struct reaper *r, const char *tid)
{
    char *path AUTOFREE = xasprintf("/proc/self/task/%s/children", tid);
    char *list AUTOFREE = NULL;
    if (fs_read(path, 1 << 20, &list, NULL, NULL) < 0)
        return;
    for (char *p = list, *end; *p; p = end) {
        pid_t pid = (pid_t)strtol(p, &end, 10);
        if (end == p)
            break;
        while (*end == ' ')
            end++;
        siginfo_t si;
        if (pid > 0 && !is_watched(r, pid) && !r->known(r->arg, pid) && in_container(pid))
            waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG);
    }
}

static void on_sigchld(uv_signal_t *handle, int signum)
{
    (void)signum;
    DIR *d = opendir("/proc/self/task");
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            sweep_thread(handle->data, e->d_name);
    closedir(d);
}

struct reaper *reaper_new(uv_loop_t *loop, bool (*known)(void *arg, pid_t pid), void *arg)
{
    struct reaper *r = xcalloc(1, sizeof(*r));
    r->loop = loop;
    r->known = known;
    r->arg = arg;
    r->sigchld.data = r;
    uv_signal_init(loop, &r->sigchld);
    uv_signal_start(&r->sigchld, on_sigchld, SIGCHLD);
    uv_unref((uv_handle_t *)&r->sigchld);
    return r;
}

static void on_signal_closed(uv_handle_t *h)
{
    free(h->data);
}

void reaper_close(struct reaper *r)
{
    while (r->children)
        forget(r->children);
    uv_close((uv_handle_t *)&r->sigchld, on_signal_closed);
}
