/* The OCI runtime and the container's first process, from `run` to `delete`.
 *
 *   starting   `RUNTIME run --detach` is under way; its standard streams are the container's
 *   running    the container's process is our child (we are its subreaper), or adopted
 *   draining   it has ended; what is left in its FIFOs is read
 *   deleting   `RUNTIME delete` is under way
 *   over       status is written, clients are told
 *
 * A kill between two of them loses nothing: `pid` (written by the runtime) says what was started,
 * `state` (written here, before the process is reaped) how it ended, and the lock is held as long
 * as a `run` is under way, even when its monitor is gone. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/cleanup.h"
#include "monitor/monitor.h"
#include "monitor/tidy.h"

static const int64_t DRAIN_WAIT = 1000000000;    /* for a process that still holds an output */
static const int64_t DELETE_WAIT = 30000000000;  /* for a runtime that hangs */
static const int64_t ATTACH_WAIT = 10000000000;  /* for a client that never comes */
static const int64_t RESPAWN_FIRST = 20000000;   /* plus up to RESPAWN_SPREAD */
static const int64_t RESPAWN_SPREAD = 500000000; /* so that one monitor of a project goes first */
static const int64_t RESPAWN_WAIT = 1000000000;  /* for one that we started to connect, and ... */
static const int64_t RESPAWN_DELAY = 50000000;   /* ... more each time, or for another's; doubles */
static const int64_t RESPAWN_MAX = 60000000000;
static const int64_t RESPAWN_ENOUGH =
    5000000000; /* a delay at which nothing that is over is left */

static char *read_small(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? buf : NULL;
}

/* stat(5) of a process: field counts as in the manual; NULL: no such process. */
static const char *stat_field(pid_t pid, int field, char *buf, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_small(path, buf, size))
        return NULL;
    const char *p = strrchr(buf, ')');
    for (int i = 2; p && i < field; i++) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    return p;
}

static unsigned long long start_time_of(pid_t pid)
{
    char buf[1024];
    const char *f = stat_field(pid, 22, buf, sizeof(buf));
    return f ? strtoull(f, NULL, 10) : 0;
}

void oom_score_write(const char *score)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    /* A negative one is refused without privilege; then we stay as we are. */
    ssize_t n = write(fd, score, strlen(score));
    (void)n;
    close(fd);
}

pid_t run_spawn(const struct monitor *m, const char *program, char *const *argv, const int fds[3],
                bool with_lock, const char *cwd)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&fa, fds[i] >= 0 ? fds[i] : m->null, i);
    if (with_lock)
        posix_spawn_file_actions_adddup2(&fa, m->lock, 3);
    if (cwd)
        posix_spawn_file_actions_addchdir_np(&fa, cwd);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        (cwd ? POSIX_SPAWN_SETSID : 0));
    pid_t pid = 0;
    /* Children inherit it, and crun 1.8 leaves them what they have where they are to have 0. */
    oom_score_write("0");
    int rc = posix_spawn(&pid, program ? program : argv[0], &fa, &attr, argv, environ);
    oom_score_write(MONITOR_OOM_SCORE);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    errno = rc;
    return rc ? 0 : pid;
}

static void ended_path(const struct monitor *m, char *path, size_t size)
{
    snprintf(path, size, "%s/ended-%d", m->opt.project ? m->opt.project : "", (int)getpid());
}

/* Everything is said, and another monitor may start, whose socket has our place; the next supervisor, should this one
 * die, finds us elsewhere. */
static void run_over(struct monitor *m)
{
    compress_abandon(m);
    char path[4096];
    ended_path(m, path, sizeof(path));
    if (!m->opt.project || rename("monitor.sock", path) < 0) {
        source_close(&m->listener);
        unlink("monitor.sock");
    }
    flock(m->lock, LOCK_UN);
    m->phase = PHASE_OVER;
    clients_status(m);
    clients_exit(m);
}

void run_close(struct monitor *m)
{
    char path[4096];
    ended_path(m, path, sizeof(path));
    if (m->listener.fd >= 0)
        unlink(path);
}

static void run_failed(struct monitor *m, int code, const char *message)
{
    m->exit_code = code;
    status_note(m, "failed %d %s", code, message);
    status_publish(m);
    run_over(m);
}

static void runtime_deleted(struct monitor *m)
{
    m->kill_runtime_at = 0;
    if (strncmp(m->status, "failed", 6) == 0) {
        cleanup_cgroups();
        /* A runtime killed while it made its state leaves a folder that it then cannot read itself. */
        cleanup_directly(m->opt.runtime, m->opt.state, m->opt.id);
    }
    status_publish(m);
    run_over(m);
}

static void run_delete(struct monitor *m)
{
    char *const argv[] = {
        (char *)m->opt.runtime, "--root", (char *)m->opt.state, "delete", "--force",
        (char *)m->opt.id,      NULL};
    m->phase = PHASE_DELETING;
    if (m->pid && cleanup_directly(m->opt.runtime, m->opt.state, m->opt.id)) {
        runtime_deleted(m);
        return;
    }
    m->runtime_pid = run_spawn(m, NULL, argv, (int[3]){-1, -1, -1}, false, NULL);
    m->kill_runtime_at = now_monotonic() + DELETE_WAIT;
}

/* Takes the pty master that the runtime hands over. */
static void console_ready(struct monitor *m, struct source *s, uint32_t events)
{
    (void)events;
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control;
    char data[256];
    struct iovec iov = {data, sizeof(data)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    if (recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) >= 0) {
        struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
        if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
            int master;
            memcpy(&master, CMSG_DATA(h), sizeof(master));
            output_tty(m, master);
            source_close(&m->console);
            unlink("console.sock");
        }
    }
    close(fd);
}

static int console_listen(struct monitor *m)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "console.sock"};
    unlink(addr.sun_path);
    m->console = (struct source){socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), console_ready};
    if (m->console.fd < 0 || bind(m->console.fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(m->console.fd, 1) < 0)
        return -1;
    source_watch(m, &m->console, EPOLLIN);
    return 0;
}

static void start_failed(struct monitor *m, const char *what)
{
    char text[256];
    snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
    run_failed(m, 125, text);
}

/* A machine that runs nothing from memory (noexec) has the file. */
static pid_t spawn_runtime(struct monitor *m, char *const *argv, const int child[3])
{
    char sealed[32];
    pid_t pid = 0;
    if (m->opt.sealed >= 0) {
        snprintf(sealed, sizeof(sealed), "/proc/self/fd/%d", m->opt.sealed);
        pid = run_spawn(m, sealed, argv, child, true, NULL);
        close(m->opt.sealed);
    }
    return pid ? pid : run_spawn(m, NULL, argv, child, true, NULL);
}

void run_start(struct monitor *m)
{
    unlink("pid");
    unlink("runtime.log");
    snprintf(m->status, sizeof(m->status), "starting\n");
    int child[3];
    if (output_open(m, child) < 0) {
        start_failed(m, "output FIFOs");
        return;
    }
    if (m->opt.tty) {
        if (console_listen(m) < 0) {
            start_failed(m, "console socket");
            return;
        }
        child[1] = open("runtime.err", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        child[2] = dup(child[1]);
    }
    char *argv[20];
    int n = 0;
    const char *head[] = {m->opt.runtime, "--root",       m->opt.state, "--log",
                          "runtime.log",  "--log-format", "json",       "run",
                          "--detach",     "--pid-file",   "pid"};
    for (size_t i = 0; i < sizeof(head) / sizeof(*head); i++)
        argv[n++] = (char *)head[i];
    if (m->opt.tty) {
        argv[n++] = "--console-socket";
        argv[n++] = "console.sock";
    }
    argv[n++] = (char *)m->opt.id;
    argv[n] = NULL;
    m->runtime_pid = spawn_runtime(m, argv, child);
    int spawn_errno = errno;
    run_respawn(m); /* unless the supervisor connects, which may be dead already */
    for (int i = 0; i < 3; i++)
        if (child[i] >= 0)
            close(child[i]);
    if (!m->runtime_pid) {
        errno = spawn_errno;
        start_failed(m, m->opt.runtime);
    }
}

static void run_running(struct monitor *m)
{
    m->start_time = start_time_of(m->pid);
    m->phase = PHASE_RUNNING;
    if (m->opt.await_attach) {
        m->out_held = !clients_attached(m);
        m->hold_until = now_monotonic() + ATTACH_WAIT;
    }
    status_note(m, "running %d %llu %lld", (int)m->pid, m->start_time, (long long)m->started);
    output_start(m);
    clients_status(m);
    clients_stdin(m);
}

/* crun does not always say which command it could not execute. */
static void name_command(char *message, size_t size)
{
    static const char key[] = "\"args\":[\"";
    char config[4096], old[512];
    char *args = read_small("config.json", config, sizeof(config)) ? strstr(config, key) : NULL;
    char *end = args ? strchr(args + sizeof(key) - 1, '"') : NULL;
    if (!end)
        return;
    *end = '\0';
    args += sizeof(key) - 1;
    if (strstr(message, args))
        return;
    snprintf(old, sizeof(old), "%s", message);
    snprintf(message, size, "exec: \"%s\": %.400s", args, old);
}

static void runtime_failed(struct monitor *m, int wait_status)
{
    char log[8192], message[512];
    if (!read_small("runtime.log", log, sizeof(log)) &&
        (!m->opt.tty || !read_small("runtime.err", log, sizeof(log)))) {
        /* Not in its log: then it is on its stderr, where no container has written. */
        ssize_t n = m->err.source.fd >= 0 ? read(m->err.source.fd, log, sizeof(log) - 1) : 0;
        log[n > 0 ? n : 0] = '\0';
    }
    int code = tidy_message(log, message, sizeof(message));
    if (code == 126 || code == 127)
        name_command(message, sizeof(message));
    if (!*message && WIFSIGNALED(wait_status))
        snprintf(message, sizeof(message), "%s was killed by signal %d", m->opt.runtime,
                 WTERMSIG(wait_status));
    else if (!*message)
        snprintf(message, sizeof(message), "%s ended with code %d and said nothing", m->opt.runtime,
                 WEXITSTATUS(wait_status));
    m->exit_code = code;
    /* Its status line comes when the runtime has cleaned up. */
    status_note(m, "failed %d %s", code, message);
    output_discard(m);
    m->pid = 0;
    run_delete(m);
}

static bool counter_above_zero(const char *dir, const char *file, const char *key)
{
    char path[512], buf[1024];
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    if (!read_small(path, buf, sizeof(buf)))
        return false;
    size_t n = strlen(key);
    for (char *line = buf; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoull(line + n + 1, NULL, 10) > 0;
    }
    return false;
}

/* Did the kernel's OOM killer strike in the container? Its cgroup lives until `delete`.
 * `cgroup` holds the folders of the container's cgroup, that of the memory controller first. */
static bool find_oom(void)
{
    char dir[4096];
    if (!read_small("cgroup", dir, sizeof(dir)))
        return false;
    dir[strcspn(dir, "\n")] = '\0';
    return counter_above_zero(dir, "memory.events", "oom_kill") ||
           counter_above_zero(dir, "memory.oom_control", "oom_kill");
}

/* The container's process has ended. Called before it is reaped where it is our child. */
static void container_ended(struct monitor *m, int code, int signal)
{
    m->finished = now_realtime();
    m->exit_code = code;
    m->exit_signal = signal;
    m->oom = find_oom();
    status_note(m, "exited %d %d %d %lld %lld", code, signal, m->oom, (long long)m->started,
                (long long)m->finished);
    m->phase = PHASE_DRAINING;
    m->drain_until = now_monotonic() + DRAIN_WAIT;
}

/* Linux 6.15, include/uapi/linux/pidfd.h */
struct pidfd_info_v0 {
    uint64_t mask, cgroupid;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
#define PIDFD_GET_INFO_V0    _IOWR(0xFF, 11, struct pidfd_info_v0)
#define PIDFD_INFO_EXIT_CODE (1u << 3)

/* Wait status of a process that is not our child, after its end; false: nobody can say. */
static bool foreign_status(struct monitor *m, int *wait_status)
{
    /* While its new parent has not reaped it, /proc still has it: stat(5), field 52. */
    char buf[1024];
    const char *state = stat_field(m->pid, 3, buf, sizeof(buf));
    bool zombie = state && *state == 'Z' && start_time_of(m->pid) == m->start_time;
    const char *code = zombie ? stat_field(m->pid, 52, buf, sizeof(buf)) : NULL;
    if (code) {
        *wait_status = atoi(code);
        return true;
    }
    struct pidfd_info_v0 info = {.mask = PIDFD_INFO_EXIT_CODE};
    if (ioctl(m->adopted.fd, PIDFD_GET_INFO_V0, &info) == 0 && info.mask & PIDFD_INFO_EXIT_CODE) {
        *wait_status = info.exit_code;
        return true;
    }
    return false;
}

static void adopted_ended(struct monitor *m, struct source *s, uint32_t events)
{
    (void)events;
    int st = 0;
    if (!foreign_status(m, &st))
        container_ended(m, -1, 0);
    else if (WIFSIGNALED(st))
        container_ended(m, 128 + WTERMSIG(st), WTERMSIG(st));
    else
        container_ended(m, WEXITSTATUS(st), 0);
    source_close(s);
}

/* The container's process is not our child. */
static void watch_stranger(struct monitor *m)
{
    m->adopted = (struct source){(int)syscall(SYS_pidfd_open, m->pid, 0), adopted_ended};
    if (m->adopted.fd >= 0)
        source_watch(m, &m->adopted, EPOLLIN);
    else
        container_ended(m, -1, 0);
}

static void runtime_started(struct monitor *m, int wait_status)
{
    char buf[32];
    /* The runtime has sent the terminal before it ended. */
    if (m->opt.tty && m->console.fd >= 0 && WIFEXITED(wait_status) && !WEXITSTATUS(wait_status))
        console_ready(m, &m->console, EPOLLIN);
    source_close(&m->console);
    if (WIFEXITED(wait_status) && !WEXITSTATUS(wait_status) && read_small("pid", buf, sizeof(buf)))
        m->pid = atoi(buf);
    if (m->pid <= 0) {
        runtime_failed(m, wait_status);
        return;
    }
    m->started = now_realtime();
    run_running(m);
    /* Ended and reaped by the runtime already, or handed to somebody else. */
    siginfo_t si;
    if (waitid(P_PID, (id_t)m->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
        watch_stranger(m);
}

static void run_drained(struct monitor *m)
{
    output_finish(m);
    run_delete(m);
}

/* One that we started; code: of its exit, or negative a signal. */
static void supervisor_ended(struct monitor *m, int code)
{
    m->respawned = 0;
    if (m->respawn_at && code == -SIGKILL) { /* that says nothing against it */
        m->respawn_at = now_monotonic() + RESPAWN_FIRST;
        m->respawn_delay = RESPAWN_DELAY;
    } else if (m->respawn_at && code == 0) { /* there is another, that connects or is dying */
        m->respawn_at = now_monotonic() + m->respawn_delay;
    }
}

static void child_ended(struct monitor *m, const siginfo_t *si)
{
    pid_t pid = si->si_pid;
    bool exited = si->si_code == CLD_EXITED;
    int wait_status;
    if (pid == m->pid && m->phase == PHASE_RUNNING)
        container_ended(m, exited ? si->si_status : 128 + si->si_status,
                        exited ? 0 : si->si_status);
    waitpid(pid, &wait_status, 0);
    if (pid == m->respawned)
        supervisor_ended(m, exited ? si->si_status : -si->si_status);
    if (pid == m->compress.pid)
        compress_ended(m, exited && !si->si_status);
    if (pid != m->runtime_pid)
        return;
    m->runtime_pid = 0;
    if (m->phase == PHASE_STARTING)
        runtime_started(m, wait_status);
    else if (m->phase == PHASE_DELETING)
        runtime_deleted(m);
}

void run_signals(struct monitor *m, struct source *s, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo drop;
    while (read(s->fd, &drop, sizeof(drop)) > 0)
        ;
    for (;;) {
        siginfo_t si = {0};
        /* We are a subreaper: besides the runtime and the container, orphans of either end here.
         * Before the runtime has said which child is the container, none of them is reaped. */
        bool starting = m->phase == PHASE_STARTING && m->runtime_pid;
        if (waitid(starting ? P_PID : P_ALL, starting ? (id_t)m->runtime_pid : 0, &si,
                   WEXITED | WNOHANG | WNOWAIT) < 0 ||
            !si.si_pid)
            return;
        child_ended(m, &si);
    }
}

/* What the monitor before us has noted of this process. True: it has ended, and perhaps how. */
static bool recall(struct monitor *m)
{
    char old[640];
    int pid, oom;
    unsigned long long start;
    long long started, finished;
    m->started = now_realtime();
    if (!read_small("state", old, sizeof(old)))
        return false;
    if (sscanf(old, "exited %d %d %d %lld %lld", &m->exit_code, &m->exit_signal, &oom, &started,
               &finished) == 5) {
        m->started = started;
        m->finished = finished;
        m->oom = oom != 0;
        snprintf(m->status, sizeof(m->status), "%s", old);
        return true;
    }
    if (sscanf(old, "running %d %llu %lld", &pid, &start, &started) != 3 || pid != m->pid)
        return false;
    m->started = started;
    if (start == m->start_time)
        return false;
    container_ended(m, -1, 0);
    return true;
}

void run_adopt(struct monitor *m)
{
    m->pid = m->opt.adopt_pid;
    m->start_time = start_time_of(m->pid);
    output_adopt(m);
    run_respawn(m);
    if (recall(m)) {
        m->phase = PHASE_DRAINING;
        m->drain_until = now_monotonic() + DRAIN_WAIT;
        output_start(m);
        return;
    }
    run_running(m);
    watch_stranger(m);
}

/* The supervisor is gone while the container runs. All monitors of a project notice at once: each
 * waits its own while, and most then find that another one has started it already. */
void run_respawn(struct monitor *m)
{
    if (!m->opt.respawn || m->respawn_at)
        return;
    uint64_t mix = (uint64_t)now_realtime() * 2654435761u ^ (uint64_t)getpid() * 40503u;
    m->respawn_at = now_monotonic() + RESPAWN_FIRST + (int64_t)(mix % (uint64_t)RESPAWN_SPREAD);
    m->respawn_delay = RESPAWN_DELAY;
}

static void respawn(struct monitor *m, int64_t now)
{
    bool enough = m->phase == PHASE_OVER && m->respawn_delay > RESPAWN_ENOUGH;
    if (clients_supervised(m) || enough) {
        m->respawn_at = 0;
        return;
    }
    if (!m->respawned)
        m->respawned = run_spawn(m, NULL, m->opt.respawn, (int[3]){-1, -1, -1}, false, "/");
    m->respawn_at = now + RESPAWN_WAIT + m->respawn_delay;
    m->respawn_delay = m->respawn_delay * 2 < RESPAWN_MAX ? m->respawn_delay * 2 : RESPAWN_MAX;
}

void run_tick(struct monitor *m, int64_t now)
{
    if (m->respawn_at && now >= m->respawn_at)
        respawn(m, now);
    if (m->out_held && (now >= m->hold_until || clients_attached(m)))
        m->out_held = false;
    if (m->phase == PHASE_DRAINING && !m->out_held) {
        bool ended = output_drain(m);
        /* A slow client may take its time; a process that merely holds an output may not. */
        if (m->paused)
            m->drain_until = now + DRAIN_WAIT;
        if (ended || now >= m->drain_until)
            run_drained(m);
    }
    if (m->kill_runtime_at && now >= m->kill_runtime_at && m->runtime_pid)
        kill(m->runtime_pid, SIGKILL);
    if (m->phase == PHASE_DELETING && !m->runtime_pid)
        runtime_deleted(m); /* it could not even be started */
}
