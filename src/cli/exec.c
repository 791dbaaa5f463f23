#include "cli/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/stdio_relay.h"
#include "cli/terminal.h"
#include "engine/control.h"
#include "runtime/bundle.h"
#include "runtime/oci.h"

enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

struct exec {
    const struct exec_options *o;
    struct oci_runtime runtime;
    char *process, *pid_file, *log, *console; /* paths; console: with a tty */
    char *waiter, *project_run;               /* detached: who waits, and where he tells of it */
    int ready[2];                             /* detached: a byte comes when it runs; -1: none */
    int listener;                             /* console socket, -1: none */
    int dir;                                  /* that it is in, -1: none */
    int master;                               /* the process's terminal, -1: none */
    int signals;
    struct stdio_relay relay; /* without a terminal */
    pid_t pid;
    char id[65]; /* of this exec, in events */
    bool ended;  /* the process ran and is over */
    struct keys keys;
};

/* ---- starting */

/* The folder's path may be too long for a socket address, but not the way through our descriptor of
 * it, which the runtime can go too. */
static int open_console(struct exec *e, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char *dir AUTOFREE = path_dir(e->process);
    e->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (e->dir < 0)
        return err_sys(err, errno, "open %s", dir);
    e->console = xasprintf("/proc/%d/fd/%d/%s.tty", (int)getpid(), e->dir, path_base(e->process));
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", e->console);
    e->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (e->listener < 0 || bind(e->listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(e->listener, 1) < 0)
        return err_sys(err, errno, "console socket %s", e->console);
    return 0;
}

static int prepare_detached(struct exec *e, struct cli *cli, struct err *err)
{
    e->waiter = paths_companion("compose-monitor");
    e->project_run = paths_project_run(&cli->paths, e->o->project);
    if (!e->waiter)
        return err_set(err, ERR_NOT_FOUND,
                       "compose-monitor is missing: it belongs beside the compose program");
    return pipe2(e->ready, O_CLOEXEC) < 0 ? err_sys(err, errno, "pipe") : 0;
}

static int prepare(struct exec *e, struct cli *cli, struct err *err)
{
    const struct exec_options *o = e->o;
    const struct exec_request request = {
        .id = o->id,
        .command = o->command,
        .environment = o->environment,
        .user = o->user,
        .working_dir = o->working_dir,
        .tty = o->tty,
        .privileged = o->privileged,
    };
    if (oci_runtime_choose(o->runtime, cli->paths.run, &e->runtime, err) < 0 ||
        exec_process_write(&cli->paths, &request, &e->process, err) < 0)
        return -1;
    e->pid_file = xasprintf("%s.pid", e->process);
    e->log = xasprintf("%s.log", e->process);
    if (o->detach)
        return prepare_detached(e, cli, err);
    return o->tty ? open_console(e, err) : 0;
}

/* What the supervisor is told of it; heap. */
static char *message(const struct exec *e, const char *key, json_t *take_value)
{
    json_t *request AUTOJSON = request_new("exec", NULL);
    request_str(request, "name", e->o->id);
    request_str(request, "exec_id", e->id);
    request_json(request, key, take_value);
    return json_dumps(request, JSON_COMPACT);
}

/* Who is the parent of a detached process: the arguments that go before the runtime's. */
static void add_waiter(const struct exec *e, char ***argv)
{
    char *before AUTOFREE = message(e, "exit_code", json_null());
    char *code = before ? strstr(before, "null") : NULL;
    if (!code)
        return;
    *code = '\0';
    const char *const words[] = {
        e->waiter, "detach", e->project_run, before, code + strlen("null"), e->pid_file};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        strv_push(argv, words[i]);
}

/* oci_exec_argv() and what makes the runtime leave at once. */
static char **exec_argv(const struct exec *e)
{
    char **plain AUTOSTRV = oci_exec_argv(&e->runtime, e->o->id, e->process, e->pid_file);
    char **argv = NULL;
    size_t n = strv_len((const char *const *)plain);
    if (e->waiter)
        add_waiter(e, &argv);
    for (size_t i = 0; i < n; i++) {
        if (i == 1) {
            strv_push(&argv, "--log");
            strv_push(&argv, e->log);
        }
        if (i == n - 1) {
            strv_push(&argv, "--detach");
            if (e->console) {
                strv_push(&argv, "--console-socket");
                strv_push(&argv, e->console);
            }
        }
        strv_push(&argv, plain[i]);
    }
    return argv;
}

static bool is_relayed(const struct exec *e)
{
    return !e->o->tty && !e->o->detach;
}

/* The container's own /dev/null, so that its user is not given the host's (see stdio_relay.h); -1: it
 * has none. The container may have put anything there. */
static int open_null(const struct exec *e)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d/root/dev", (int)e->o->pid);
    int dev AUTOCLOSE = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd AUTOCLOSE = dev < 0 ? -1 : openat(dev, "null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

/* stdio of the runtime, which becomes the process's unless it has a terminal. Errors of the runtime
 * are read from its log, so its stderr is only the process's. */
static int spawn_runtime(struct exec *e, const sigset_t *mask, pid_t *pid, struct err *err)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    int null AUTOCLOSE = e->o->detach ? open_null(e) : -1;
    for (int fd = 0; fd < 3; fd++) {
        int stream = is_relayed(e) ? e->relay.child[fd] : null;
        if (stream >= 0)
            posix_spawn_file_actions_adddup2(&fa, stream, fd);
        else
            posix_spawn_file_actions_addopen(&fa, fd, "/dev/null", O_RDWR, 0);
    }
    if (e->o->detach)
        posix_spawn_file_actions_adddup2(&fa, e->ready[1], 3);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attr, mask);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        (e->o->detach ? POSIX_SPAWN_SETSID : 0));
    char **argv AUTOSTRV = exec_argv(e);
    int rc = posix_spawn(pid, argv[0], &fa, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc ? err_sys(err, rc, "start %s", argv[0]) : 0;
}

/* The last message of the runtime's log, in its own words. */
static char *runtime_message(const struct exec *e)
{
    char *text AUTOFREE = NULL;
    if (fs_read(e->log, 1 << 20, &text, NULL, NULL) < 0 || !*text)
        return NULL;
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n')
        text[--n] = '\0';
    char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    /* runc logs key=value pairs; crun the bare text behind a time stamp. */
    char *msg = strstr(line, "msg=\"");
    if (!msg) {
        char *colon = strstr(line, "Z: ");
        return xstrdup(colon ? colon + 3 : line);
    }
    struct strbuf out = STRBUF_INIT;
    for (msg += strlen("msg=\""); *msg && *msg != '"'; msg++) {
        msg += *msg == '\\' && msg[1];
        strbuf_addch(&out, *msg);
    }
    return strbuf_detach(&out);
}

static int refused(const struct exec *e, struct err *err)
{
    char *msg AUTOFREE = runtime_message(e);
    const char *text = msg ? msg : "the runtime gave no reason";
    static const char *const missing[] = {"not found", "no such file or directory",
                                          "No such file or directory"};
    static const char *const denied[] = {"ermission denied", "is a directory", "exec format error",
                                         "Exec format error", "Is a directory"};
    if (!pid_start_time(e->o->pid))
        return err_set(err, ERR_CONFLICT, "container %s is not running", e->o->id);
    int code = 1;
    for (size_t i = 0; i < ARRAY_SIZE(denied); i++)
        code = strstr(text, denied[i]) ? EXIT_CANNOT_RUN : code;
    for (size_t i = 0; i < ARRAY_SIZE(missing); i++)
        code = strstr(text, missing[i]) ? EXIT_NOT_FOUND : code;
    /* Besides its log a runtime has told it on stderr, where that is ours. */
    if (is_relayed(e))
        *err = (struct err){.kind = ERR_INVALID};
    else
        err_set(err, ERR_INVALID, "OCI runtime exec failed: %s", text);
    err->exit_code = code;
    return -1;
}

/* ---- events */

/* Nobody is started for it, and nothing is waited for. */
static void tell(const struct exec *e, const struct paths *paths, const char *key,
                 json_t *take_value)
{
    char *text AUTOFREE = message(e, key, take_value);
    int fd AUTOCLOSE = -1;
    if (!text || control_connect(paths, e->o->project, false, &fd, NULL) < 0)
        return;
    char *line AUTOFREE = xasprintf("%s\n", text);
    send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_start(struct exec *e, const struct paths *paths)
{
    char *text AUTOFREE = exec_text(e->o->command);
    random_hex(32, e->id);
    tell(e, paths, "exec", json_text(text));
}

/* ---- waiting */

static int wait_code(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return 1;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int receive_master(struct exec *e)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char name[256];
    struct iovec iov = {name, sizeof(name)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    int conn AUTOCLOSE = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC);
    if (conn < 0 || recvmsg(conn, &msg, MSG_CMSG_CLOEXEC) < 0)
        return -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        return -1;
    memcpy(&e->master, CMSG_DATA(c), sizeof(e->master));
    return 0;
}

/* Waits for the runtime, taking the terminal meanwhile: it sends it before it ends. */
static int wait_runtime(struct exec *e, pid_t runtime)
{
    int pidfd AUTOCLOSE = fd_pidfd(runtime);
    while (e->listener >= 0 && e->master < 0) {
        struct pollfd fds[] = {{.fd = e->listener, .events = POLLIN},
                               {.fd = pidfd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            receive_master(e);
        else if (fds[1].revents)
            break;
    }
    return wait_code(runtime);
}

static void set_size(const struct exec *e)
{
    struct winsize ws;
    if (e->master >= 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) == 0)
        ioctl(e->master, TIOCSWINSZ, &ws);
}

static void take_signal(struct exec *e)
{
    struct signalfd_siginfo info;
    if (read(e->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH)
        set_size(e);
    else
        kill(e->pid, (int)info.ssi_signo);
}

/* From the terminal to the process's; false: the user detached. */
static bool relay_input(struct exec *e, bool *open)
{
    char buf[4096];
    struct strbuf typed AUTOBUF = STRBUF_INIT;
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
    if (n <= 0) {
        *open = n < 0 && (errno == EAGAIN || errno == EINTR);
        return true;
    }
    bool detached = keys_feed(&e->keys, buf, (size_t)n, &typed);
    fd_write_all(e->master, typed.buf, typed.len);
    return !detached;
}

/* False: the other side is closed. */
static bool relay_output(const struct exec *e)
{
    char buf[16 << 10];
    ssize_t n = read(e->master, buf, sizeof(buf));
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    if (fd_write_all(STDOUT_FILENO, buf, (size_t)n) < 0)
        cli_out_lost(errno);
    return true;
}

/* Until the process has ended and its terminal is drained. Returns its exit code; -1: detached. */
static int wait_process(struct exec *e)
{
    int pidfd AUTOCLOSE = fd_pidfd(e->pid);
    bool input = e->master >= 0, output = e->master >= 0, running = true;
    while (running) {
        struct pollfd fds[] = {
            {.fd = pidfd, .events = POLLIN},
            {.fd = e->signals, .events = POLLIN},
            {.fd = input ? STDIN_FILENO : -1, .events = POLLIN},
            {.fd = output ? e->master : -1, .events = POLLIN},
        };
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            break;
        if (fds[1].revents)
            take_signal(e);
        if (fds[3].revents)
            output = relay_output(e);
        if (fds[2].revents && !relay_input(e, &input))
            return -1;
        running = !fds[0].revents;
    }
    /* What it wrote last; a grandchild that keeps the terminal does not keep us. */
    struct pollfd rest = {.fd = e->master, .events = POLLIN};
    while (output && poll(&rest, 1, 0) > 0)
        output = relay_output(e);
    return wait_code(e->pid);
}

/* A detached one runs, and has somebody else who waits for it. */
static bool is_handed_over(struct exec *e)
{
    char byte;
    fd_close_ptr(&e->ready[1]);
    return read(e->ready[0], &byte, 1) == 1;
}

static int read_pid(struct exec *e, struct err *err)
{
    char *text AUTOFREE = NULL;
    if (fs_read(e->pid_file, 64, &text, NULL, err) < 0)
        return -1;
    e->pid = (pid_t)atoi(text);
    return e->pid > 0 ? 0 : err_set(err, ERR_CORRUPT, "%s: no process id", e->pid_file);
}

static int run_it(struct exec *e, const sigset_t *old, struct err *err)
{
    pid_t runtime;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if ((is_relayed(e) && stdio_relay_open(&e->relay, e->o->no_input, err) < 0) ||
        spawn_runtime(e, old, &runtime, err) < 0 ||
        (is_relayed(e) && stdio_relay_start(&e->relay, err) < 0))
        return -1;
    if (e->o->detach)
        return is_handed_over(e) ? 0 : refused(e, err);
    if (wait_runtime(e, runtime) != 0)
        return refused(e, err);
    if (read_pid(e, err) < 0)
        return -1;
    if (e->master >= 0) {
        set_size(e);
        terminal_raw();
    }
    int code = wait_process(e);
    terminal_restore();
    e->ended = code >= 0;
    return code < 0 ? 0 : code;
}

/* Signals come through a descriptor meanwhile: they are the process's. */
static int run_with_signals(struct exec *e, struct err *err)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
    sigset_t set, old;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, &old);
    e->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int rc = run_it(e, &old, err);
    if (is_relayed(e)) {
        stdio_relay_close(&e->relay);
        cli_out_lost(e->relay.streams[STDOUT_FILENO].error);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static void forget(char **path)
{
    if (*path)
        unlink(*path);
    free(*path);
}

int exec_run(struct cli *cli, const struct exec_options *o, struct err *err)
{
    struct exec e = {.o = o,
                     .ready = {-1, -1},
                     .listener = -1,
                     .dir = -1,
                     .master = -1,
                     .signals = -1,
                     .keys = o->keys};
    int rc = cli_paths(cli, err);
    if (rc == 0)
        rc = prepare(&e, cli, err);
    if (rc == 0) {
        tell_start(&e, &cli->paths);
        rc = run_with_signals(&e, err);
    }
    if (e.ended)
        tell(&e, &cli->paths, "exit_code", json_integer(rc));
    forget(&e.process);
    forget(&e.pid_file);
    forget(&e.log);
    forget(&e.console);
    free(e.waiter);
    free(e.project_run);
    fd_close_ptr(&e.ready[0]);
    fd_close_ptr(&e.ready[1]);
    fd_close_ptr(&e.listener);
    fd_close_ptr(&e.dir);
    fd_close_ptr(&e.master);
    fd_close_ptr(&e.signals);
    oci_runtime_release(&e.runtime);
    return rc;
}
