#include "runtime/monitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/units.h"

enum {
    STATUS_MAX = 4096,
    LOCK_WAIT_MS = 15000, /* for a runtime whose monitor was killed, or one that ends just now */
    ADOPT_WAIT_MS = 200,  /* for a monitor that ends just now; the caller comes again */
    ARGS_MAX = 96,
};

/* The address of a socket in an open folder: its own path may be longer than sun_path. */
static void socket_address(int dir, const char *name, struct sockaddr_un *addr)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%.40s", dir, name);
}

static int open_folder(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

/* Waits for the lock that a monitor, and a runtime that it is starting, hold together. */
static int take_lock(int dir, const char *id, int wait_ms, struct err *err)
{
    int fd AUTOCLOSE = openat(dir, "monitor.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "container %s: monitor.lock", id);
    int64_t deadline = time_monotonic() + (int64_t)wait_ms * 1000000;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(err, errno, "container %s: monitor.lock", id);
        if (time_monotonic() >= deadline)
            return err_set(err, ERR_CONFLICT, "container %s has a monitor already", id);
        usleep(1000);
    }
    return STEAL_FD(fd);
}

static int listen_in(int dir, const char *id, struct err *err)
{
    struct sockaddr_un addr;
    socket_address(dir, "monitor.sock", &addr);
    int fd AUTOCLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, errno, "container %s: monitor socket", id);
    unlinkat(dir, "monitor.sock", 0);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        fchmodat(dir, "monitor.sock", 0600, 0) < 0 || listen(fd, 64) < 0)
        return err_sys(err, errno, "container %s: monitor socket", id);
    return STEAL_FD(fd);
}

struct args {
    char *v[ARGS_MAX];
    size_t n;
};

static void add_arg(struct args *a, const char *name, const char *value)
{
    a->v[a->n++] = value ? xasprintf("--%s=%s", name, value) : xasprintf("--%s", name);
}

static void add_number(struct args *a, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    add_arg(a, name, text);
}

static void build_args(const struct monitor_request *r, const char *run, struct args *a)
{
    char *project AUTOFREE = paths_project_run(r->paths, r->project);
    a->v[a->n++] = xstrdup("compose-monitor");
    add_arg(a, "id", r->id);
    add_arg(a, "dir", r->dir);
    add_arg(a, "run", run);
    add_arg(a, "runtime", r->runtime->path);
    add_arg(a, "state", r->runtime->state);
    add_arg(a, "project", project);
    if (r->tty)
        add_arg(a, "tty", NULL);
    if (r->stdin_open)
        add_arg(a, "stdin", NULL);
    if (r->await_attach)
        add_arg(a, "await-attach", NULL);
    if (!r->log)
        add_arg(a, "no-log", NULL);
    if (r->log_max_size > 0)
        add_number(a, "max-size", r->log_max_size);
    if (r->log_max_file > 0)
        add_number(a, "max-file", r->log_max_file);
    if (r->log_compress)
        add_arg(a, "compress", NULL);
    for (size_t i = 0; r->log_sink && r->log_sink[i] && a->n < ARGS_MAX - 4; i++)
        add_arg(a, "sink", r->log_sink[i]);
    if (r->adopt_pid)
        add_number(a, "adopt", r->adopt_pid);
    if (r->adopt_pid && r->adopt_tty >= 0)
        add_arg(a, "adopt-tty", NULL);
    if (!r->adopt_pid && r->program >= 0)
        add_arg(a, "sealed", NULL);
}

/* The monitor finds its descriptors at 3 (listener), 4 (lock) and 5 (terminal, or runtime). Ours may have just
 * these numbers: they are moved out of the way first, and without O_CLOEXEC by dup2 in the child. */
static int spawn_monitor(const char *path, char **argv, const int fds[3], pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&fa, 0, 1);
    posix_spawn_file_actions_adddup2(&fa, 0, 2);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            posix_spawn_file_actions_adddup2(&fa, fds[i], 3 + i);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int rc = posix_spawn(pid, path, &fa, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc;
}

static int monitor_spawn(const struct monitor_request *r, const char *program, const char *run,
                         int listener, int lock, pid_t *pid, struct err *err)
{
    struct args a = {0};
    build_args(r, run, &a);
    size_t own = a.n, extra = 0;
    while (r->respawn && r->respawn[extra])
        extra++;
    char **argv = xcalloc(own + extra + 2, sizeof(*argv));
    memcpy(argv, a.v, own * sizeof(*argv));
    if (extra)
        argv[own++] = (char *)"--";
    for (size_t i = 0; i < extra; i++)
        argv[own + i] = (char *)r->respawn[i];
    int high[3] = {fcntl(listener, F_DUPFD_CLOEXEC, 10), fcntl(lock, F_DUPFD_CLOEXEC, 10), -1};
    int third = r->adopt_pid ? r->adopt_tty : r->program;
    if (third >= 0)
        high[2] = fcntl(third, F_DUPFD_CLOEXEC, 10);
    int rc = high[0] < 0 || high[1] < 0 ? errno : spawn_monitor(program, argv, high, pid);
    for (int i = 0; i < 3; i++)
        fd_close_ptr(&high[i]);
    for (size_t i = 0; i < a.n; i++)
        free(a.v[i]);
    free(argv);
    return rc ? err_sys(err, rc, "%s", program) : 0;
}

int monitor_start(const struct monitor_request *r, pid_t *monitor, struct err *err)
{
    char *program AUTOFREE = paths_companion("compose-monitor");
    if (!program)
        return err_set(err, ERR_NOT_FOUND,
                       "compose-monitor is missing: it belongs beside the compose program");
    char *run AUTOFREE = paths_container_run(r->paths, r->id);
    if (fs_mkdir_p(run, 0700, err) < 0 || fs_mkdir_p(r->dir, 0711, err) < 0)
        return -1;
    int dir AUTOCLOSE = open_folder(run, err);
    if (dir < 0)
        return -1;
    int lock AUTOCLOSE = take_lock(dir, r->id, r->adopt_pid ? ADOPT_WAIT_MS : LOCK_WAIT_MS, err);
    if (lock < 0)
        return -1;
    int listener AUTOCLOSE = listen_in(dir, r->id, err);
    if (listener < 0)
        return -1;
    if (!r->adopt_pid)
        unlinkat(dir, "state", 0); /* of an earlier run */
    return monitor_spawn(r, program, run, listener, lock, monitor, err);
}

bool monitor_status_parse(const char *line, struct monitor_status *out)
{
    *out = (struct monitor_status){0};
    long long started, finished;
    int pid, oom, at = 0;
    if (strncmp(line, "starting", 8) == 0) {
        out->phase = MONITOR_STARTING;
        return true;
    }
    if (sscanf(line, "running %d %llu %lld", &pid, &out->start_time, &started) == 3) {
        out->phase = MONITOR_RUNNING;
        out->pid = pid;
        out->started = started;
        return true;
    }
    if (sscanf(line, "exited %d %d %d %lld %lld", &out->exit_code, &out->signal, &oom, &started,
               &finished) == 5) {
        out->phase = MONITOR_EXITED;
        out->oom = oom != 0;
        out->started = started;
        out->finished = finished;
        return true;
    }
    if (sscanf(line, "failed %d %n", &out->exit_code, &at) == 1 && at) {
        out->phase = MONITOR_FAILED;
        size_t n = strcspn(line + at, "\n");
        snprintf(out->message, sizeof(out->message), "%.*s", (int)n, line + at);
        return true;
    }
    return false;
}

static int read_status(const char *dir, const char *name, struct monitor_status *out,
                       struct err *err)
{
    char *path AUTOFREE = path_join(dir, name);
    char *line AUTOFREE = NULL;
    if (fs_read(path, STATUS_MAX, &line, NULL, err) < 0)
        return -1;
    if (!monitor_status_parse(line, out))
        return err_set(err, ERR_CORRUPT, "%s: not a state line", path);
    return 0;
}

int monitor_status_read(const char *dir, struct monitor_status *out, struct err *err)
{
    return read_status(dir, "status", out, err);
}

int monitor_noted_read(const char *run, struct monitor_status *out)
{
    return read_status(run, "state", out, NULL);
}

int monitor_connect(const struct paths *p, const char *id, struct err *err)
{
    char *run AUTOFREE = paths_container_run(p, id);
    int dir AUTOCLOSE = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 && errno != ENOENT)
        return err_sys(err, errno, "open %s", run);
    int fd AUTOCLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    struct sockaddr_un addr;
    socket_address(dir, "monitor.sock", &addr);
    if (dir < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return err_set(err, ERR_UNAVAILABLE, "container %s has no monitor: %s", id,
                       strerror(errno));
    return STEAL_FD(fd);
}

/* -1: nobody listens any more, and the socket is removed. */
static int connect_ended(int dir, const char *name)
{
    int fd AUTOCLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr;
    socket_address(dir, name, &addr);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return STEAL_FD(fd);
    if (fd >= 0 && errno == ECONNREFUSED)
        unlinkat(dir, name, 0);
    return -1;
}

void monitor_each_ended(const struct paths *p, const char *project,
                        void (*found)(void *arg, int take_fd), void *arg)
{
    char *run AUTOFREE = paths_project_run(p, project);
    DIR *d = opendir(run);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        int fd = starts_with(e->d_name, "ended-") ? connect_ended(dirfd(d), e->d_name) : -1;
        if (fd >= 0)
            found(arg, fd);
    }
    closedir(d);
}
