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

/* What our input is read from. A terminal may have other readers, who can be faster than we are between
 * poll() and read(): it is opened once more for reads that do not wait, as the flag would be everybody's
 * on stdin itself. */
static int input_source(void)
{
    int own = isatty(STDIN_FILENO)
                  ? open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
                  : -1;
    return own >= 0 ? own : STDIN_FILENO;
}

int stdio_relay_open(struct stdio_relay *r, bool no_input, struct err *err)
{
    *r = (struct stdio_relay){.child = {0, 1, 2}, .done = eventfd(0, EFD_CLOEXEC)};
    for (int fd = 0; fd < 3; fd++)
        r->streams[fd] = (struct stdio_stream){
            .from = -1, .to = -1, .done = r->done, .is_input = fd == 0};
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
        if (fd == 0) {
            /* Nothing that its thread does may wait longer than the process lives. */
            r->streams[fd].from = input_source();
            r->streams[fd].to = ends[1];
            fcntl(ends[1], F_SETFL, O_NONBLOCK);
        } else {
            r->streams[fd].from = ends[0];
            r->streams[fd].to = fd;
        }
    }
    return 0;
}

/* Waits until `fd` is ready. -1: it will not be, or what it is for is over: a process that has ended
 * needs no input. */
static int wait_ready(const struct stdio_stream *s, int fd, short events, bool until_done)
{
    struct pollfd fds[] = {{.fd = fd, .events = events},
                           {.fd = until_done ? s->done : -1, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return -1;
    return fds[0].revents && !(s->is_input && fds[1].revents) ? 0 : -1;
}

static int pass_on(struct stdio_stream *s, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(s->to, p, n);
        if (w >= 0) {
            p += w;
            n -= (size_t)w;
        } else if (errno == EAGAIN) {
            if (wait_ready(s, s->to, POLLOUT, s->is_input) < 0)
                return -1;
        } else if (errno != EINTR) {
            s->error = errno;
            return -1;
        }
    }
    return 0;
}

/* Until the end of what it reads, or until nothing comes any more from who has ended. */
static void *move(void *arg)
{
    struct stdio_stream *s = arg;
    char buf[CHUNK];
    while (wait_ready(s, s->from, POLLIN, true) == 0) {
        ssize_t n = read(s->from, buf, sizeof(buf));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0 || pass_on(s, buf, (size_t)n) < 0)
            break;
    }
    /* The process sees the end of its input, or a closed pipe where nobody reads its output. */
    fd_close_ptr(s->is_input ? &s->to : &s->from);
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
        if (s->running)
            pthread_join(s->thread, NULL);
        s->running = false;
        if (s->from > STDERR_FILENO)
            fd_close_ptr(&s->from);
        if (s->to > STDERR_FILENO)
            fd_close_ptr(&s->to);
        if (r->child[fd] > STDERR_FILENO)
            fd_close_ptr(&r->child[fd]);
    }
    fd_close_ptr(&r->done);
}
