/* compose-monitor: see runtime/monitor.h for what it does, monitor/monitor.h for how. */
#include "monitor/detach.h"
#include "monitor/enter.h"
#include "monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Descriptors that runtime/monitor.c hands over. */
enum { FD_LISTENER = 3, FD_LOCK = 4, FD_TTY = 5, FD_RUNTIME = 5, FD_NONE = 6 };

static const int64_t LINGER = 60000000000; /* for clients that have not read all */

static int64_t now(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t now_monotonic(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t now_realtime(void)
{
    return now(CLOCK_REALTIME);
}

void source_watch(struct monitor *m, struct source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    epoll_ctl(m->epoll, EPOLL_CTL_ADD, s->fd, &e);
}

void source_change(struct monitor *m, struct source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    epoll_ctl(m->epoll, EPOLL_CTL_MOD, s->fd, &e);
}

void source_close(struct source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

/* The value of "--name=value", or NULL. */
static const char *value_of(const char *arg, const char *name)
{
    size_t n = strlen(name);
    return strncmp(arg, name, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.adopt_tty = -1, .sealed = -1, .log = true, .log_max_file = 1};
    for (int i = 1; i < argc; i++) {
        const char *v;
        if (strcmp(argv[i], "--") == 0) {
            o->respawn = i + 1 < argc ? argv + i + 1 : NULL;
            break;
        } else if ((v = value_of(argv[i], "--id"))) {
            o->id = v;
        } else if ((v = value_of(argv[i], "--dir"))) {
            o->dir = v;
        } else if ((v = value_of(argv[i], "--run"))) {
            o->run = v;
        } else if ((v = value_of(argv[i], "--runtime"))) {
            o->runtime = v;
        } else if ((v = value_of(argv[i], "--state"))) {
            o->state = v;
        } else if ((v = value_of(argv[i], "--project"))) {
            o->project = v;
        } else if ((v = value_of(argv[i], "--max-size"))) {
            o->log_max_size = atoll(v);
        } else if ((v = value_of(argv[i], "--max-file"))) {
            o->log_max_file = atoi(v);
        } else if ((v = value_of(argv[i], "--sink"))) {
            if (!sink_option(&o->sink, v))
                return false;
        } else if ((v = value_of(argv[i], "--adopt"))) {
            o->adopt_pid = atoi(v);
        } else if (strcmp(argv[i], "--adopt-tty") == 0) {
            o->adopt_tty = FD_TTY;
        } else if (strcmp(argv[i], "--sealed") == 0) {
            o->sealed = FD_RUNTIME;
        } else if (strcmp(argv[i], "--tty") == 0) {
            o->tty = true;
        } else if (strcmp(argv[i], "--stdin") == 0) {
            o->stdin_open = true;
        } else if (strcmp(argv[i], "--no-log") == 0) {
            o->log = false;
        } else if (strcmp(argv[i], "--compress") == 0) {
            o->log_compress = true;
        } else if (strcmp(argv[i], "--await-attach") == 0) {
            o->await_attach = true;
        } else {
            return false;
        }
    }
    return o->id && o->dir && o->run && o->runtime && o->state;
}

/* Outlives its starter and everybody's Ctrl-C; the last one that the kernel should kill for memory. */
static void settle(void)
{
    static const int ignored[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGPIPE, SIGUSR1,
                                  SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGXFSZ};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    oom_score_write(MONITOR_OOM_SCORE);
}

static bool open_all(struct monitor *m)
{
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_SETMASK, &chld, NULL);
    /* What a careless caller of compose has left open would stay open as long as the container. */
    bool fifth = m->opt.adopt_tty >= 0 || m->opt.sealed >= 0;
    syscall(SYS_close_range, fifth ? FD_NONE : FD_TTY, ~0u, 0);
    fcntl(FD_LISTENER, F_SETFD, FD_CLOEXEC);
    fcntl(FD_LOCK, F_SETFD, FD_CLOEXEC);
    fcntl(m->opt.sealed, F_SETFD, FD_CLOEXEC);
    m->lock = FD_LOCK;
    m->listener = (struct source){FD_LISTENER, clients_accept};
    m->signals = (struct source){signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK), run_signals};
    m->epoll = epoll_create1(EPOLL_CLOEXEC);
    m->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    m->dir = open(m->opt.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->signals.fd < 0 || m->epoll < 0 || m->null < 0 || m->dir < 0)
        return false;
    source_watch(m, &m->listener, EPOLLIN);
    source_watch(m, &m->signals, EPOLLIN);
    return true;
}

static void earliest(int64_t *best, int64_t in)
{
    if (in < 1)
        in = 1;
    if (*best < 0 || in < *best)
        *best = in;
}

/* ms until something is due, -1: only events matter. */
static int timeout(struct monitor *m, int64_t t)
{
    int64_t best = output_tick(m, t);
    if (m->respawn_at)
        earliest(&best, m->respawn_at - t);
    if (m->out_held)
        earliest(&best, m->hold_until - t);
    else if (m->phase == PHASE_DRAINING)
        earliest(&best, m->drain_until - t < 5000000 ? m->drain_until - t : 5000000);
    if (m->kill_runtime_at)
        earliest(&best, m->kill_runtime_at - t);
    if (!m->paused && !m->out_held && (m->out.again || m->err.again))
        return 0;
    return best < 0 ? -1 : (int)((best + 999999) / 1000000);
}

static void turn(struct monitor *m, int wait)
{
    struct epoll_event events[16];
    int n = epoll_wait(m->epoll, events, 16, wait);
    for (int i = 0; i < n; i++) {
        struct source *s = events[i].data.ptr;
        if (s->fd >= 0)
            s->ready(m, s, events[i].events);
    }
    output_resume(m);
    run_tick(m, now_monotonic());
    compress_tick(m);
    clients_sweep(m);
}

/* Clients may still read, and a supervisor is watched until it leaves. */
static int linger(struct monitor *m, int64_t t)
{
    int64_t best = clients_pending(m) ? 1000000000 : -1;
    if (m->respawn_at)
        earliest(&best, m->respawn_at - t);
    return best < 0 ? -1 : (int)((best + 999999) / 1000000);
}

int main(int argc, char **argv)
{
    static struct monitor m;
    if (argc == 2 && strcmp(argv[1], "enter") == 0)
        return enter_main();
    if (argc == 2 && strcmp(argv[1], "compress") == 0)
        return compress_main();
    if (argc > 6 && strcmp(argv[1], "detach") == 0)
        return detach_main(argv + 2);
    m.phase = PHASE_STARTING;
    struct source *closed[] = {&m.console, &m.adopted, &m.in, &m.out.source, &m.err.source};
    for (size_t i = 0; i < sizeof(closed) / sizeof(*closed); i++)
        closed[i]->fd = -1;
    m.err.is_stderr = true;
    if (!parse(argc, argv, &m.opt)) {
        fprintf(stderr, "compose-monitor is started by compose, not by hand\n");
        return 2;
    }
    settle();
    if (chdir(m.opt.run) < 0 || !open_all(&m))
        return 1;
    logwriter_open(&m.log, m.dir, m.opt.log, m.opt.log_max_size, m.opt.log_max_file);
    m.log.compress = m.opt.log_compress;
    compress_open(&m);
    m.log.attrs = m.opt.sink.attrs && strlen(m.opt.sink.attrs) <= SINK_ATTRS_MAX ? m.opt.sink.attrs
                                                                                 : NULL;
    m.opt.sink.monitor = &m;
    m.log.sink = m.opt.sink.kind == SINK_NONE ? NULL : &m.opt.sink;
    if (m.opt.adopt_pid)
        run_adopt(&m);
    else
        run_start(&m);
    while (m.phase != PHASE_OVER)
        turn(&m, timeout(&m, now_monotonic()));
    int64_t end = now_monotonic() + LINGER;
    while (clients_supervised(&m) || m.respawn_at || (clients_pending(&m) && now_monotonic() < end))
        turn(&m, linger(&m, now_monotonic()));
    run_close(&m);
    return 0;
}
