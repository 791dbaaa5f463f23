#include "image/module/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"

enum { LINE_MAX_BYTES = 1 << 16, STEP_MS = 100 };
static const int64_t GRACE = 5000000000;

/* Whole lines go out; of progress bars (CR) the last state counts. */
static void put_lines(struct stream_command *c, struct strbuf *pending, bool end)
{
    size_t done = 0;
    for (;;) {
        char *start = pending->buf + done;
        size_t left = pending->len - done;
        char *newline = memchr(start, '\n', left);
        if (!newline && !(left && (end || left > LINE_MAX_BYTES)))
            break;
        size_t n = newline ? (size_t)(newline - start) : left;
        done += newline ? n + 1 : n;
        while (n && start[n - 1] == '\r')
            n--;
        char *cr = memrchr(start, '\r', n);
        char *from = cr ? cr + 1 : start;
        char *line AUTOFREE = xstrndup(from, n - (size_t)(from - start));
        c->line(c->ctx, line);
    }
    strbuf_consume(pending, done);
}

static int spawn(const struct stream_command *c, int out, pid_t *pid)
{
    int null AUTOCLOSE = open("/dev/null", O_RDONLY | O_CLOEXEC);
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&fa, null, 0);
    posix_spawn_file_actions_adddup2(&fa, out, 1);
    posix_spawn_file_actions_adddup2(&fa, out, 2);
    if (c->cwd)
        posix_spawn_file_actions_addchdir_np(&fa, c->cwd);
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    /* A group of its own: Ctrl-C is the caller's to pass on, and the end reaches grandchildren. */
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawnp(pid, c->argv[0], &fa, &attr, (char *const *)c->argv,
                          c->env ? (char *const *)c->env : environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc;
}

/* Until the process is gone and what it said is read. A grandchild may hold the pipe for ever. */
static void pump(struct stream_command *c, int fd, pid_t pid, int pidfd)
{
    struct strbuf pending AUTOBUF = STRBUF_INIT;
    char chunk[16384];
    int64_t ended = 0; /* when the group was asked to end */
    bool gone = false, open = true;
    while (open) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN},
                                {.fd = gone ? -1 : pidfd, .events = POLLIN}};
        int ready = poll(fds, 2, gone ? 0 : STEP_MS);
        if (gone && ready == 0)
            break;
        if (fds[0].revents) {
            ssize_t n = read(fd, chunk, sizeof(chunk));
            if (n > 0)
                strbuf_add(&pending, chunk, (size_t)n);
            else if (n == 0 || errno != EINTR)
                open = false;
            put_lines(c, &pending, false);
        }
        gone = gone || fds[1].revents;
        if (c->cancel && atomic_load(c->cancel) && !gone) {
            if (!ended)
                kill(-pid, SIGTERM);
            else if (time_monotonic() - ended > GRACE)
                kill(-pid, SIGKILL);
            ended = ended ? ended : time_monotonic();
        }
    }
    put_lines(c, &pending, true);
}

int stream_run(struct stream_command *c, struct err *err)
{
    int pipe_fds[2];
    pid_t pid;
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    int rc = spawn(c, pipe_fds[1], &pid);
    close(pipe_fds[1]);
    if (rc) {
        close(pipe_fds[0]);
        return err_sys(err, rc, "%s", c->argv[0]);
    }
    int pidfd AUTOCLOSE = fd_pidfd(pid);
    pump(c, pipe_fds[0], pid, pidfd);
    close(pipe_fds[0]);
    while (waitpid(pid, &c->status, 0) < 0 && errno == EINTR)
        ;
    if (c->cancel && atomic_load(c->cancel))
        return err_set(err, ERR_CANCELLED, "cancelled");
    return 0;
}
