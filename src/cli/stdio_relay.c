#include "cli/stdio_relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { CHUNK = 64 << 10 };

static bool may_be_passed(int fd)
{
    struct stat st;
    return fstat(fd, &st) < 0 || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
}

int stdio_relay_open(struct stdio_relay *r, bool no_input, struct err *err)
{
    *r = (struct stdio_relay){.child = {0, 1, 2}, .done = eventfd(0, EFD_CLOEXEC)};
    for (int fd = 0; fd < 3; fd++)
        r->streams[fd] = (struct stdio_stream){.from = -1, .to = -1, .done = r->done};
    if (r->done < 0)
        return err_sys(err, errno, "eventfd");
    for (int fd = 0; fd < 3; fd++) {
        int ends[2];
        bool ended = fd == 0 && no_input;
        if (may_be_passed(fd) && !ended)
            continue;
        if (pipe2(ends, O_CLOEXEC) < 0)
            return err_sys(err, errno, "pipe");
        r->child[fd] = ends[fd == 0 ? 0 : 1];
        if (ended) {
            close(ends[1]);
            continue;
        }
        r->streams[fd].from = fd == 0 ? fd : ends[0];
        r->streams[fd].to = fd == 0 ? ends[1] : fd;
    }
    return 0;
}

/* Until the end of what it reads, or until nothing comes any more from who has ended. */
static void *move(void *arg)
{
    struct stdio_stream *s = arg;
    char buf[CHUNK];
    for (;;) {
        struct pollfd fds[] = {{.fd = s->from, .events = POLLIN},
                               {.fd = s->done, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (!fds[0].revents && fds[1].revents)
            break;
        if (!fds[0].revents)
            continue;
        ssize_t n = read(s->from, buf, sizeof(buf));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0 || fd_write_all(s->to, buf, (size_t)n) < 0)
            break;
    }
    /* The process sees the end of its input, or a closed pipe where nobody reads its output. */
    fd_close_ptr(s->to > STDERR_FILENO ? &s->to : &s->from);
    return NULL;
}

int stdio_relay_start(struct stdio_relay *r, struct err *err)
{
    for (int fd = 0; fd < 3; fd++) {
        struct stdio_stream *s = &r->streams[fd];
        if (r->child[fd] > STDERR_FILENO)
            fd_close_ptr(&r->child[fd]);
        if (s->from < 0)
            continue;
        int rc = pthread_create(&s->thread, NULL, move, s);
        if (rc)
            return err_sys(err, rc, "thread");
        s->running = true;
    }
    return 0;
}

void stdio_relay_close(struct stdio_relay *r)
{
    if (r->done >= 0)
        eventfd_write(r->done, 1);
    for (int fd = 0; fd < 3; fd++) {
        struct stdio_stream *s = &r->streams[fd];
        /* Our input may be waiting for somebody who no longer reads; its thread uses what is the
         * caller's, so it has to be gone as well. */
        if (s->running && fd == 0)
            pthread_cancel(s->thread);
        if (s->running)
            pthread_join(s->thread, NULL);
        s->running = false;
        int *pipe_end = fd == 0 ? &s->to : &s->from;
        if (*pipe_end > STDERR_FILENO)
            fd_close_ptr(pipe_end);
        if (r->child[fd] > STDERR_FILENO)
            fd_close_ptr(&r->child[fd]);
    }
    fd_close_ptr(&r->done);
}
