/* Clients of the monitor's socket: watchers get state lines, attached ones the container's streams.
 *
 * What a client has not yet read is queued; an attached client that falls behind makes the
 * container's output wait, as a slow terminal would. Its input goes to stdin piece by piece and is
 * not read faster than the container takes it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "monitor/monitor.h"

enum {
    QUEUE_HIGH = 256 << 10, /* queued bytes that make the output wait */
    QUEUE_LIMIT = 1 << 20,  /* of state lines for a watcher that never reads */
    REQUEST_MAX = 256,
    INPUT = 8192,
    CLIENTS_MAX = 64,
    HEADER = 5, /* of a frame: type, length */
};

enum kind { KIND_NEW, KIND_WATCH, KIND_SUPERVISOR, KIND_ATTACH };

struct client {
    struct source source;
    struct client *next;
    enum kind kind;
    bool wants_fd; /* the terminal, with the first "running" line */
    bool takes_stdin;
    bool replaying; /* still reads the log of this run: live output comes later */
    bool blocked;   /* its input waits for the container */
    struct log_replay replay;

    char *queue;
    size_t queued, sent, capacity;

    char input[INPUT];
    size_t input_n;
    /* The frame being read: type -1 between two. */
    int frame;
    size_t frame_left;
    char small[32]; /* content of a resize frame */
    size_t small_n;
};

static void client_ready(struct monitor *m, struct source *s, uint32_t events);

static void client_close(struct monitor *m, struct client *c)
{
    if (c->source.fd < 0)
        return;
    bool supervisor = c->kind == KIND_SUPERVISOR;
    source_close(&c->source);
    log_replay_end(&c->replay);
    if (supervisor && !clients_supervised(m))
        run_respawn(m);
}

static void client_events(struct monitor *m, struct client *c)
{
    uint32_t events = (c->blocked ? 0u : (uint32_t)EPOLLIN) |
                      (c->queued > c->sent || c->replaying ? (uint32_t)EPOLLOUT : 0u);
    source_change(m, &c->source, events);
}

static void update_paused(struct monitor *m)
{
    m->paused = false;
    for (struct client *c = m->clients; c; c = c->next)
        if (c->source.fd >= 0 && c->kind == KIND_ATTACH && c->queued - c->sent > QUEUE_HIGH)
            m->paused = true;
}

static void queue_put(struct client *c, const void *data, size_t n)
{
    if (c->sent == c->queued)
        c->sent = c->queued = 0;
    if (c->sent && c->queued + n > c->capacity) {
        memmove(c->queue, c->queue + c->sent, c->queued - c->sent);
        c->queued -= c->sent;
        c->sent = 0;
    }
    if (c->queued + n > c->capacity) {
        size_t capacity = c->queued + n + 4096;
        char *queue = realloc(c->queue, capacity);
        if (!queue)
            return;
        c->queue = queue;
        c->capacity = capacity;
    }
    if (n)
        memcpy(c->queue + c->queued, data, n);
    c->queued += n;
}

static void queue_flush(struct monitor *m, struct client *c)
{
    while (c->source.fd >= 0 && c->sent < c->queued) {
        ssize_t n = send(c->source.fd, c->queue + c->sent, c->queued - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0 && c->kind == KIND_NEW) {
            c->sent = c->queued; /* it did not wait for an answer: what it has said counts */
            break;
        }
        if (n <= 0) {
            client_close(m, c);
            return;
        }
        c->sent += (size_t)n;
    }
    if (c->sent == c->queued && c->queue) {
        free(c->queue);
        c->queue = NULL;
        c->queued = c->sent = c->capacity = 0;
    }
}

static void queue_send(struct monitor *m, struct client *c, const void *data, size_t n)
{
    if (c->source.fd < 0)
        return;
    queue_put(c, data, n);
    queue_flush(m, c);
    if (c->source.fd >= 0)
        client_events(m, c);
}

static void frame_put(struct client *c, enum frame f, const char *data, size_t n)
{
    unsigned char header[HEADER] = {(unsigned char)f, (unsigned char)(n >> 24),
                                    (unsigned char)(n >> 16), (unsigned char)(n >> 8),
                                    (unsigned char)n};
    queue_put(c, header, HEADER);
    queue_put(c, data, n);
}

static void frame_send(struct monitor *m, struct client *c, enum frame f, const char *data,
                       size_t n)
{
    if (c->source.fd < 0)
        return;
    frame_put(c, f, data, n);
    queue_flush(m, c);
    if (c->source.fd >= 0)
        client_events(m, c);
}

/* SCM_RIGHTS: the descriptor arrives with the first byte of the line. */
static void send_with_fd(struct monitor *m, struct client *c, int fd)
{
    size_t n = strlen(m->status);
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {m->status, n};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(h), &fd, sizeof(int));
    ssize_t sent = sendmsg(c->source.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    c->wants_fd = false;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < n)
        queue_send(m, c, m->status + sent, n - (size_t)sent);
}

static void send_status(struct monitor *m, struct client *c)
{
    bool running = m->phase == PHASE_RUNNING || m->phase == PHASE_DRAINING;
    if (c->wants_fd && running && m->opt.tty && m->out.source.fd >= 0 && c->queued == c->sent)
        send_with_fd(m, c, m->out.source.fd);
    else if (c->queued - c->sent > QUEUE_LIMIT)
        client_close(m, c);
    else
        queue_send(m, c, m->status, strlen(m->status));
}

void clients_status(struct monitor *m)
{
    for (struct client *c = m->clients; c; c = c->next)
        if (c->source.fd >= 0 && c->kind != KIND_ATTACH)
            send_status(m, c);
}

void clients_output(struct monitor *m, enum frame f, const char *data, size_t n)
{
    for (struct client *c = m->clients; c; c = c->next)
        if (c->kind == KIND_ATTACH && !c->replaying)
            frame_send(m, c, f, data, n);
    update_paused(m);
}

static void send_exit(struct monitor *m, struct client *c)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d", m->exit_code);
    frame_send(m, c, FRAME_EXIT, text, (size_t)n);
}

void clients_exit(struct monitor *m)
{
    for (struct client *c = m->clients; c; c = c->next)
        if (c->kind == KIND_ATTACH && !c->replaying)
            send_exit(m, c);
}

static void put_unlogged(void *arg, enum frame f, const char *data, size_t n)
{
    frame_put(arg, f, data, n);
}

/* Moves the log into the queue, a part at a time, then switches to live output. */
static void replay_step(struct monitor *m, struct client *c)
{
    static char text[LOG_LINE_MAX];
    while (c->replaying && c->queued - c->sent < QUEUE_HIGH / 4) {
        bool is_stderr;
        int n = log_replay_next(&m->log, &c->replay, text, &is_stderr);
        if (n >= 0) {
            frame_put(c, is_stderr ? FRAME_STDERR : FRAME_STDOUT, text, (size_t)n);
            continue;
        }
        c->replaying = false;
        log_replay_end(&c->replay);
        output_unlogged(m, put_unlogged, c);
        if (m->phase == PHASE_OVER)
            send_exit(m, c);
    }
    queue_flush(m, c);
    if (c->source.fd >= 0)
        client_events(m, c);
}

static void resize(struct monitor *m, char *text)
{
    unsigned rows, cols;
    if (m->opt.tty && m->out.source.fd >= 0 && sscanf(text, "%u %u", &rows, &cols) == 2 &&
        rows <= 65535 && cols <= 65535) {
        struct winsize w = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
        ioctl(m->out.source.fd, TIOCSWINSZ, &w);
    }
}

/* Ends the container's stdin; a terminal gets its end-of-file character. */
static void end_stdin(struct monitor *m)
{
    if (m->in.fd < 0)
        return;
    if (!m->opt.tty) {
        source_close(&m->in);
        return;
    }
    struct termios t;
    char eof = tcgetattr(m->in.fd, &t) == 0 ? (char)t.c_cc[VEOF] : 4;
    if (write(m->in.fd, &eof, 1) < 0)
        source_close(&m->in);
}

/* Passes n bytes on to stdin; returns how many it took, -1: none now. Where there is no stdin the
 * bytes are dropped. */
static ssize_t give_stdin(struct monitor *m, struct client *c, const char *data, size_t n)
{
    if (m->in.fd < 0 || !c->takes_stdin)
        return (ssize_t)n;
    ssize_t w = write(m->in.fd, data, n);
    if (w >= 0)
        return w;
    if (errno == EAGAIN || errno == EINTR)
        return -1;
    source_close(&m->in);
    return (ssize_t)n;
}

static void frame_done(struct monitor *m, struct client *c)
{
    if (c->frame == FRAME_STDIN_END && c->takes_stdin)
        end_stdin(m);
    if (c->frame == FRAME_RESIZE) {
        c->small[c->small_n] = '\0';
        resize(m, c->small);
    }
    c->frame = -1;
}

/* Uses up the input; stops where the container does not take more. */
static void parse_frames(struct monitor *m, struct client *c)
{
    size_t at = 0;
    c->blocked = false;
    while (c->source.fd >= 0) {
        if (c->frame < 0) {
            if (c->input_n - at < HEADER)
                break;
            const unsigned char *h = (const unsigned char *)c->input + at;
            c->frame = h[0];
            c->frame_left = (size_t)h[1] << 24 | (size_t)h[2] << 16 | (size_t)h[3] << 8 | h[4];
            c->small_n = 0;
            at += HEADER;
            if (c->frame != FRAME_STDIN && c->frame_left >= sizeof(c->small)) {
                client_close(m, c); /* nobody who knows the protocol sends this */
                return;
            }
        }
        size_t have = c->input_n - at;
        size_t n = have < c->frame_left ? have : c->frame_left;
        if (n && c->frame == FRAME_STDIN) {
            /* Before the container runs there is a stdin that takes nothing yet. */
            ssize_t w = m->phase == PHASE_STARTING ? -1 : give_stdin(m, c, c->input + at, n);
            if (w < 0) {
                c->blocked = true;
                break;
            }
            n = (size_t)w;
        } else if (n) {
            memcpy(c->small + c->small_n, c->input + at, n);
            c->small_n += n;
        }
        at += n;
        c->frame_left -= n;
        if (!c->frame_left)
            frame_done(m, c);
        else if (at == c->input_n)
            break;
    }
    memmove(c->input, c->input + at, c->input_n - at);
    c->input_n -= at;
    if (c->source.fd >= 0)
        client_events(m, c);
}

void clients_stdin(struct monitor *m)
{
    bool waits = false;
    for (struct client *c = m->clients; c; c = c->next) {
        if (c->source.fd >= 0 && c->blocked)
            parse_frames(m, c);
        waits = waits || (c->source.fd >= 0 && c->blocked);
    }
    if (m->in.fd >= 0 && m->phase != PHASE_STARTING)
        source_change(m, &m->in, waits ? EPOLLOUT : EPOLLET);
}

static void start_attach(struct monitor *m, struct client *c, const char *words)
{
    c->kind = KIND_ATTACH;
    c->takes_stdin = strstr(words, " stdin") != NULL;
    m->out_held = false;
    if (strstr(words, " logs")) {
        c->replaying = true;
        log_replay_start(&m->log, &c->replay);
        replay_step(m, c);
    } else if (m->phase == PHASE_OVER) {
        send_exit(m, c);
    }
}

static bool understand(struct monitor *m, struct client *c, const char *line)
{
    if (strcmp(line, "watch") == 0 || strcmp(line, "watch fd") == 0) {
        c->kind = KIND_WATCH;
        c->wants_fd = line[5] != '\0';
    } else if (strcmp(line, "supervisor") == 0 || strcmp(line, "supervisor fd") == 0) {
        c->kind = KIND_SUPERVISOR;
        c->wants_fd = line[10] != '\0';
        m->respawn_at = m->respawn_delay = 0;
    } else if (strcmp(line, "attach") == 0 || strncmp(line, "attach ", 7) == 0) {
        start_attach(m, c, line);
    } else {
        return false;
    }
    /* The greeting has gone out before the terminal was asked for. */
    if (c->wants_fd && m->phase == PHASE_RUNNING)
        send_status(m, c);
    return true;
}

/* A supervisor that leaves on purpose says "leave": nobody has to replace it. */
static void read_more(struct monitor *m, struct client *c)
{
    if (c->kind == KIND_ATTACH) {
        parse_frames(m, c);
        return;
    }
    if (c->kind == KIND_SUPERVISOR && c->input_n >= 6 && memcmp(c->input, "leave\n", 6) == 0)
        c->kind = KIND_WATCH;
    c->input_n = 0;
}

static void read_request(struct monitor *m, struct client *c)
{
    char *end = memchr(c->input, '\n', c->input_n);
    if (!end && c->input_n < REQUEST_MAX)
        return;
    if (end)
        *end = '\0';
    if (!end || end - c->input > REQUEST_MAX || !understand(m, c, c->input)) {
        static const char refusal[] = "error unknown request\n";
        queue_send(m, c, refusal, sizeof(refusal) - 1);
        client_close(m, c);
        return;
    }
    size_t used = (size_t)(end + 1 - c->input);
    memmove(c->input, c->input + used, c->input_n - used);
    c->input_n -= used;
    if (c->kind == KIND_ATTACH || c->input_n)
        read_more(m, c);
}

static void client_ready(struct monitor *m, struct source *s, uint32_t events)
{
    struct client *c = (struct client *)((char *)s - offsetof(struct client, source));
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !c->blocked) {
        ssize_t n = recv(s->fd, c->input + c->input_n, INPUT - c->input_n, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            client_close(m, c);
        } else if (n > 0) {
            c->input_n += (size_t)n;
            if (c->kind == KIND_NEW)
                read_request(m, c);
            else
                read_more(m, c);
            if (c->blocked)
                clients_stdin(m);
        }
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        client_close(m, c);
    }
    if (c->source.fd >= 0 && events & EPOLLOUT) {
        if (c->replaying) {
            replay_step(m, c);
        } else {
            queue_flush(m, c);
            if (c->source.fd >= 0)
                client_events(m, c);
        }
    }
    update_paused(m);
}

/* That it has ended is told to all when its output is in the log, also to who comes in between. */
static void greet(struct monitor *m, struct client *c)
{
    char line[128];
    if (m->phase != PHASE_DRAINING && m->phase != PHASE_DELETING) {
        queue_send(m, c, m->status, strlen(m->status));
        return;
    }
    if (m->pid)
        snprintf(line, sizeof(line), "running %d %llu %lld\n", (int)m->pid, m->start_time,
                 (long long)m->started);
    else
        snprintf(line, sizeof(line), "starting\n");
    queue_send(m, c, line, strlen(line));
}

void clients_accept(struct monitor *m, struct source *s, uint32_t events)
{
    (void)events;
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    int n = 0;
    for (struct client *c = m->clients; c; c = c->next)
        n++;
    struct client *c = n < CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    c->source = (struct source){fd, client_ready};
    c->frame = -1;
    c->replay.fd = -1;
    c->next = m->clients;
    m->clients = c;
    source_watch(m, &c->source, EPOLLIN);
    queue_put(c, MONITOR_GREETING, strlen(MONITOR_GREETING));
    greet(m, c);
}

bool clients_supervised(const struct monitor *m)
{
    for (const struct client *c = m->clients; c; c = c->next)
        if (c->source.fd >= 0 && c->kind == KIND_SUPERVISOR)
            return true;
    return false;
}

bool clients_attached(const struct monitor *m)
{
    for (const struct client *c = m->clients; c; c = c->next)
        if (c->source.fd >= 0 && c->kind == KIND_ATTACH)
            return true;
    return false;
}

bool clients_replaying(const struct monitor *m)
{
    for (const struct client *c = m->clients; c; c = c->next)
        if (c->source.fd >= 0 && c->replaying)
            return true;
    return false;
}

bool clients_pending(const struct monitor *m)
{
    for (const struct client *c = m->clients; c; c = c->next)
        if (c->source.fd >= 0 && (c->queued > c->sent || c->replaying))
            return true;
    return false;
}

void clients_sweep(struct monitor *m)
{
    for (struct client **at = &m->clients; *at;) {
        struct client *c = *at;
        if (c->source.fd >= 0) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        free(c->queue);
        free(c);
    }
    update_paused(m);
}
