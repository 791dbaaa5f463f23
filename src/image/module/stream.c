#include "image/module/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sched.h>

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

/* In the copy of a process with threads: only what is safe in a signal handler. Returns where it
 * could not become the program. */
static void become(const struct stream_command *c, int null, int out)
{
    struct pollfd reader = {.fd = out, .events = POLLOUT};
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* ours is the thread that waits for it */
    /* Ours may have ended before that: nobody reads then. */
    if (poll(&reader, 1, 0) < 0 || reader.revents & POLLERR)
        return;
    setpgid(0, 0); /* Ctrl-C is the caller's to pass on */
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
        dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        return;
    execve(c->argv[0], (char *const *)c->argv, (char *const *)c->env);
}

/* failure: a pipe that says errno where the program could not be started. */
static int spawn(const struct stream_command *c, int out, int failure, pid_t *pid, int *pidfd)
{
    struct clone_args how = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_PIDFD | CLONE_CLEAR_SIGHAND, /* Linux 5.5 */
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
    };
    int null AUTOCLOSE = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0)
        return -1;
    *pid = (pid_t)syscall(SYS_clone3, &how, sizeof(how));
    if (*pid == 0) {
        become(c, null, out);
        int why = errno;
        if (write(failure, &why, sizeof(why)) < 0)
            _exit(126);
        _exit(127);
    }
    return *pid < 0 ? -1 : 0;
}

/* Until the process is gone and what it said is read. A grandchild may hold the pipe for ever. */
static void pump(struct stream_command *c, int fd, pid_t pid, int pidfd)
{
    struct strbuf pending AUTOBUF = STRBUF_INIT;
    char chunk[16384];
    int64_t ended = 0; /* when it was asked to end */
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
                kill(pid, SIGTERM);
            else if (time_monotonic() - ended > GRACE)
                kill(pid, SIGKILL);
            ended = ended ? ended : time_monotonic();
        }
    }
    put_lines(c, &pending, true);
}

int stream_run(struct stream_command *c, struct err *err)
{
    int out[2], failure[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_sys(err, errno, "pipe");
    int said AUTOCLOSE = out[0];
    if (pipe2(failure, O_CLOEXEC) < 0) {
        close(out[1]);
        return err_sys(err, errno, "pipe");
    }
    int failed AUTOCLOSE = failure[0], pidfd AUTOCLOSE = -1, why = 0;
    pid_t pid;
    int rc = spawn(c, out[1], failure[1], &pid, &pidfd);
    why = errno;
    close(out[1]);
    close(failure[1]);
    if (rc < 0)
        return err_sys(err, why, "%s", c->argv[0]);
    bool started = read(failed, &why, sizeof(why)) <= 0;
    if (started)
        pump(c, said, pid, pidfd);
    while (waitpid(pid, &c->status, 0) < 0 && errno == EINTR)
        ;
    if (!started)
        return err_sys(err, why, "%s", c->argv[0]);
    if (c->cancel && atomic_load(c->cancel))
        return err_set(err, ERR_CANCELLED, "cancelled");
    return 0;
}
