#include "cli/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "cli/terminal.h"
#include "runtime/monitor.h"
#include "runtime/oci.h"

/* runtime/monitor.h */
enum frame {
    FRAME_STDIN,
    FRAME_STDOUT,
    FRAME_STDERR,
    FRAME_EXIT,
    FRAME_STDIN_END,
    FRAME_RESIZE,
    FRAME_HEADER = 5,
    FRAME_MAX = 16 << 20,
};

struct stream {
    struct cli *cli;
    const struct stream_options *o;
    struct keys keys;
    int sock, signals;
    struct strbuf in;  /* from the monitor, not yet taken apart */
    struct strbuf out; /* to the monitor, not yet written */
    pid_t pid;         /* of the container, 0: not known yet */
    bool input_open;
    bool exited; /* its exit code is known */
    bool ended;
    struct stream_result *result;
};

static void put_frame(struct stream *s, enum frame type, const void *data, size_t n)
{
    unsigned char header[FRAME_HEADER] = {(unsigned char)type};
    uint32_t len = htonl((uint32_t)n);
    memcpy(header + 1, &len, sizeof(len));
    strbuf_add(&s->out, header, sizeof(header));
    strbuf_add(&s->out, data, n);
}

static void put_size(struct stream *s)
{
    int rows, cols;
    char text[32];
    if (s->o->tty && terminal_size(STDIN_FILENO, &rows, &cols)) {
        snprintf(text, sizeof(text), "%d %d", rows, cols);
        put_frame(s, FRAME_RESIZE, text, strlen(text));
    }
}

static int flush_out(struct stream *s, struct err *err)
{
    while (s->out.len) {
        ssize_t n = write(s->sock, s->out.buf, s->out.len);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            strbuf_setlen(&s->out, 0); /* the end is on its way to us */
            return 0;
        }
        if (n < 0)
            return err_sys(err, errno, "write to the container's monitor");
        strbuf_consume(&s->out, (size_t)n);
    }
    return 0;
}

static void take_status(struct stream *s, const char *line, struct err *err)
{
    struct monitor_status status;
    if (!monitor_status_parse(line, &status))
        return;
    if (status.phase == MONITOR_RUNNING)
        s->pid = status.pid;
    /* What it wrote may still follow; the stream ends with its exit frame, or with the monitor. */
    if (status.phase == MONITOR_EXITED || status.phase == MONITOR_FAILED) {
        s->result->exit_code = status.exit_code;
        s->exited = true;
    }
    if (status.phase == MONITOR_FAILED)
        err_set(err, ERR_INVALID, "%s", status.message);
}

static void take_frame(struct stream *s, enum frame type, const char *data, size_t n)
{
    if (type == FRAME_STDOUT || type == FRAME_STDERR) {
        int fd = type == FRAME_STDERR ? STDERR_FILENO : STDOUT_FILENO;
        int error = fd_write_all(fd, data, n) < 0 ? errno : 0;
        s->input_open = s->input_open && error != EPIPE;
        if (fd == STDOUT_FILENO)
            cli_out_lost(error);
    } else if (type == FRAME_EXIT) {
        char text[16] = "";
        memcpy(text, data, n < sizeof(text) - 1 ? n : sizeof(text) - 1);
        s->result->exit_code = atoi(text);
        s->ended = true;
    }
}

/* State lines begin with a letter, frames with a small number. */
static int take_input(struct stream *s, struct err *err)
{
    size_t used = 0;
    while (used < s->in.len && !s->ended) {
        const char *at = s->in.buf + used;
        size_t left = s->in.len - used;
        if ((unsigned char)at[0] >= ' ') {
            const char *end = memchr(at, '\n', left);
            if (!end)
                break;
            char *line AUTOFREE = xstrndup(at, (size_t)(end - at));
            take_status(s, line, err);
            used += (size_t)(end - at) + 1;
            continue;
        }
        uint32_t len;
        if (left < FRAME_HEADER)
            break;
        memcpy(&len, at + 1, sizeof(len));
        len = ntohl(len);
        if (len > FRAME_MAX)
            return err_set(err, ERR_CORRUPT, "the container's monitor sent something unreadable");
        if (left < FRAME_HEADER + (size_t)len)
            break;
        take_frame(s, (enum frame)at[0], at + FRAME_HEADER, len);
        used += FRAME_HEADER + (size_t)len;
    }
    strbuf_consume(&s->in, used);
    return err && err->msg ? -1 : 0;
}

static int read_monitor(struct stream *s, struct err *err)
{
    char chunk[64 << 10];
    ssize_t n = read(s->sock, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0 && !(errno == ECONNRESET && s->exited))
        return err_sys(err, errno, "read from the container's monitor");
    n = n < 0 ? 0 : n;
    if (n == 0 && !s->exited)
        return err_set(err, ERR_UNAVAILABLE, "the container's monitor has gone");
    s->ended = s->ended || n == 0;
    strbuf_add(&s->in, chunk, (size_t)n);
    return take_input(s, err);
}

/* Our stdin to the container; false: the user detached. */
static bool read_stdin(struct stream *s)
{
    char buf[16 << 10];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        put_frame(s, FRAME_STDIN_END, NULL, 0);
        s->input_open = false;
        return true;
    }
    struct strbuf typed AUTOBUF = STRBUF_INIT;
    bool detached = s->o->tty && keys_feed(&s->keys, buf, (size_t)n, &typed);
    if (!s->o->tty)
        strbuf_add(&typed, buf, (size_t)n);
    if (typed.len)
        put_frame(s, FRAME_STDIN, typed.buf, typed.len);
    return !detached;
}

/* After "attach" the monitor tells no more states, so a container that was only starting then is
 * looked up. */
static pid_t container_pid(struct stream *s)
{
    char *run AUTOFREE = paths_container_run(&s->cli->paths, s->o->id);
    struct monitor_status status;
    if (s->pid <= 0 && monitor_noted_read(run, &status) == 0 && status.phase == MONITOR_RUNNING)
        s->pid = status.pid;
    return s->pid;
}

static void take_signal(struct stream *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        return;
    int sig = (int)info.ssi_signo;
    if (sig == SIGWINCH) {
        put_size(s);
    } else if (!s->o->sig_proxy || container_pid(s) <= 0 || kill(s->pid, sig) < 0) {
        s->result->end = STREAM_INTERRUPTED;
        s->result->exit_code = 128 + sig;
        s->ended = true;
    }
}

static int stream_loop(struct stream *s, struct err *err)
{
    while (!s->ended) {
        /* What we have not got rid of holds our input back. */
        bool listen = s->input_open && s->out.len < (64 << 10);
        struct pollfd fds[] = {
            {.fd = s->sock, .events = (short)(POLLIN | (s->out.len ? POLLOUT : 0))},
            {.fd = s->signals, .events = POLLIN},
            {.fd = listen ? STDIN_FILENO : -1, .events = POLLIN},
        };
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            return err_sys(err, errno, "poll");
        if (fds[1].revents)
            take_signal(s);
        if (fds[2].revents && !read_stdin(s)) {
            s->result->end = STREAM_DETACHED;
            return flush_out(s, err);
        }
        if (s->out.len && flush_out(s, err) < 0)
            return -1;
        if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) && read_monitor(s, err) < 0)
            return -1;
    }
    return 0;
}

static int open_signals(sigset_t *old)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, old);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int stream_run(struct cli *cli, const struct stream_options *o, struct stream_result *result,
               struct err *err)
{
    *result = (struct stream_result){.end = STREAM_EXITED};
    struct stream s = {
        .cli = cli,
        .o = o,
        .keys = o->keys,
        .signals = -1,
        .in = STRBUF_INIT,
        .out = STRBUF_INIT,
        .input_open = o->stdin_open,
        .result = result,
    };
    s.sock = monitor_connect(&cli->paths, o->id, err);
    if (s.sock < 0)
        return -1;
    sigset_t old;
    s.signals = open_signals(&old);
    fcntl(s.sock, F_SETFL, fcntl(s.sock, F_GETFL) | O_NONBLOCK);
    strbuf_addf(&s.out, "attach%s%s\n", o->stdin_open ? " stdin" : "", o->replay ? " logs" : "");
    if (o->tty && o->stdin_open)
        terminal_raw();
    put_size(&s);
    int rc = stream_loop(&s, err);
    terminal_restore();
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(s.sock);
    close(s.signals);
    strbuf_release(&s.in);
    strbuf_release(&s.out);
    return rc;
}
