#include "base/subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"

enum { OUTPUT_MAX = 1 << 20 };

struct stream {
    int fd; /* our end, -1 when closed */
    struct strbuf *sb;
};

/* Reads what is there; closes at the end of the stream. */
static void stream_read(struct stream *s, size_t max)
{
    char chunk[16384];
    ssize_t n = read(s->fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        close(s->fd);
        s->fd = -1;
        return;
    }
    size_t room = max > s->sb->len ? max - s->sb->len : 0;
    strbuf_add(s->sb, chunk, (size_t)n < room ? (size_t)n : room);
}

/* Moves bytes until all streams are closed and the process is gone, or the deadline passes (-1). */
static int pump(const struct subprocess *p, struct stream *streams, int *in_fd, int pidfd)
{
    int64_t deadline = p->timeout_ns ? time_monotonic() + p->timeout_ns : 0;
    size_t max = p->output_max ? p->output_max : OUTPUT_MAX;
    const char *input = p->input;
    size_t left = p->input ? p->input_len : 0;
    bool gone = false;
    while (!gone || streams[0].fd >= 0 || streams[1].fd >= 0) {
        if (*in_fd >= 0 && !left) {
            close(*in_fd);
            *in_fd = -1;
        }
        struct pollfd fds[4] = {
            {.fd = streams[0].fd, .events = POLLIN},
            {.fd = streams[1].fd, .events = POLLIN},
            {.fd = *in_fd, .events = POLLOUT},
            {.fd = gone ? -1 : pidfd, .events = POLLIN},
        };
        int wait = -1;
        if (deadline) {
            int64_t rest = deadline - time_monotonic();
            if (rest <= 0)
                return -1;
            wait = (int)(rest / 1000000) + 1;
        }
        /* Once it is gone, a grandchild may hold the pipes for ever: take what is there and stop.
         */
        if (gone)
            wait = 0;
        int n = poll(fds, 4, wait);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n == 0 && gone)
            break;
        for (int i = 0; i < 2; i++)
            if (fds[i].revents)
                stream_read(&streams[i], max);
        if (fds[2].revents) {
            ssize_t w = write(*in_fd, input, left);
            if (w > 0) {
                input += w;
                left -= (size_t)w;
            } else if (w < 0 && errno != EINTR && errno != EAGAIN) {
                left = 0;
            }
        }
        if (fds[3].revents)
            gone = true;
    }
    return 0;
}

static int spawn(const struct subprocess *p, int in, int out, int errfd, pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&fa, in, 0);
    posix_spawn_file_actions_adddup2(&fa, out, 1);
    posix_spawn_file_actions_adddup2(&fa, errfd, 2);
    if (p->cwd)
        posix_spawn_file_actions_addchdir_np(&fa, p->cwd);
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawnp(pid, p->argv[0], &fa, &attr, (char *const *)p->argv,
                          p->env ? (char *const *)p->env : environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc;
}

int subprocess_run(struct subprocess *p, struct err *err)
{
    int null AUTOCLOSE = open("/dev/null", O_RDWR | O_CLOEXEC);
    int in[2] = {-1, -1}, out[2] = {-1, -1}, er[2] = {-1, -1};
    if (null < 0 || (p->input && pipe2(in, O_CLOEXEC) < 0) ||
        (p->out && pipe2(out, O_CLOEXEC) < 0) ||
        (p->err && p->err != p->out && pipe2(er, O_CLOEXEC) < 0))
        return err_sys(err, errno, "pipe");
    int child_out = p->out ? out[1] : null;
    int child_err = !p->err ? null : p->err == p->out ? out[1] : er[1];
    pid_t pid;
    int rc = spawn(p, p->input ? in[0] : null, child_out, child_err, &pid);
    int *child_ends[] = {&in[0], &out[1], &er[1]};
    for (size_t i = 0; i < ARRAY_SIZE(child_ends); i++)
        fd_close_ptr(child_ends[i]);
    int result = 0;
    if (rc) {
        result = err_sys(err, rc, "%s", p->argv[0]);
    } else {
        if (in[1] >= 0)
            fcntl(in[1], F_SETFL, O_NONBLOCK);
        struct stream streams[2] = {{out[0], p->out}, {er[0], p->err}};
        int pidfd AUTOCLOSE = fd_pidfd(pid);
        /* A peer that closes its stdin early must not kill us. */
        sigset_t pipe_set, old;
        sigemptyset(&pipe_set);
        sigaddset(&pipe_set, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
        int timed_out = pump(p, streams, &in[1], pidfd);
        struct timespec zero = {0, 0};
        while (!sigismember(&old, SIGPIPE) && sigtimedwait(&pipe_set, NULL, &zero) > 0)
            ;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (timed_out)
            kill(pid, SIGKILL);
        while (waitpid(pid, &p->status, 0) < 0 && errno == EINTR)
            ;
        out[0] = streams[0].fd;
        er[0] = streams[1].fd;
        if (timed_out)
            result = err_set(err, ERR_TIMEOUT, "%s: no end within %lld s", p->argv[0],
                             (long long)(p->timeout_ns / 1000000000));
    }
    int *our_ends[] = {&in[1], &out[0], &er[0]};
    for (size_t i = 0; i < ARRAY_SIZE(our_ends); i++)
        fd_close_ptr(our_ends[i]);
    return result;
}
