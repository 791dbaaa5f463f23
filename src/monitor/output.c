/* The container's output: from its FIFOs or its terminal to the log and to attached clients.
 *
 * A FIFO is read through a second pipe with tee(2), and emptied only by what is in the log: a
 * monitor killed at any moment leaves every unlogged byte in the FIFO, which the container and the
 * supervisor keep open, and the next monitor reads it again. What was in the log already but not yet out
 * of the FIFO it knows from the file `taken`, so that nothing is logged twice. A terminal cannot be peeked; an
 * unfinished line of it waits in memory. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "monitor/monitor.h"

enum {
    CHUNK = 64 << 10, /* what a FIFO holds */
    TURNS = 16,       /* chunks of one stream before the others get their turn */
};

/* An unfinished line is logged when nothing was added to it for so long. */
static const int64_t LINE_WAIT = 1000000000, TTY_LINE_WAIT = 200000000;
static const int64_t IDLE_WAIT = 2000000000;
static const int64_t LOOK_FIRST = 1000000;

static char chunk[CHUNK] __attribute__((aligned(4096)));
static size_t tty_held; /* bytes at the start of chunk that belong to an unfinished line */

/* RUN/containers/ID/taken, mapped: what is under way with the output that is at the head of a FIFO. */
struct taken {
    struct log_progress log;
    size_t n;              /* bytes that are being read off; 0: none */
    char last, last_taken; /* the last of them, and what it was read into: something else before */
    char stream;           /* whose: 1, 2; 0: nothing is under way */
};

static struct taken no_taken;
static volatile struct taken *taken = &no_taken;

static void stream_ready(struct monitor *m, struct source *s, uint32_t events);
static void stdin_ready(struct monitor *m, struct source *s, uint32_t events);
static void fifo_recover(struct monitor *m, struct stream *s);

static int fifo_make(struct monitor *m, const char *name)
{
    (void)m;
    return mkfifo(name, 0600) < 0 && errno != EEXIST ? -1 : 0;
}

/* The container gets its end for reading and writing: it never sees a broken pipe while no monitor
 * reads. Ours is for reading only, so that the end of all writers shows. */
static int fifo_open_output(struct monitor *m, struct stream *s, const char *name, int *child)
{
    if (fifo_make(m, name) < 0)
        return -1;
    s->source = (struct source){open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC), stream_ready};
    if (s->source.fd < 0)
        return -1;
    if (child)
        *child = open(name, O_RDWR | O_CLOEXEC);
    return child && *child < 0 ? -1 : 0;
}

/* The writing end stays ours: closing it is the end of the container's stdin. */
static int fifo_open_stdin(struct monitor *m, int *child)
{
    if (fifo_make(m, "stdin") < 0)
        return -1;
    int both = open("stdin", O_RDWR | O_CLOEXEC);
    if (child)
        *child = open("stdin", O_RDONLY | O_CLOEXEC);
    m->in = (struct source){open("stdin", O_WRONLY | O_NONBLOCK | O_CLOEXEC), stdin_ready};
    if (both >= 0)
        close(both);
    return m->in.fd < 0 || (child && *child < 0) ? -1 : 0;
}

static void taken_open(struct monitor *m, bool anew)
{
    int fd = open("taken", O_RDWR | O_CREAT | O_CLOEXEC | (anew ? O_TRUNC : 0), 0600);
    void *p = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(*taken)) == 0)
        p = mmap(NULL, sizeof(*taken), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p != MAP_FAILED)
        taken = p;
    if (!taken->stream)
        taken->log.before = -1;
    m->log.progress = &taken->log;
}

/* Opens what the container's 0, 1 and 2 are to be. */
int output_open(struct monitor *m, int child[3])
{
    child[0] = child[1] = child[2] = -1;
    if (m->opt.tty)
        return 0;
    taken_open(m, true);
    if (m->opt.stdin_open && fifo_open_stdin(m, &child[0]) < 0)
        return -1;
    if (fifo_open_output(m, &m->out, "stdout", &child[1]) < 0 ||
        fifo_open_output(m, &m->err, "stderr", &child[2]) < 0)
        return -1;
    return pipe2(m->peek, O_CLOEXEC | O_NONBLOCK);
}

void output_adopt(struct monitor *m)
{
    if (m->opt.tty) {
        if (m->opt.adopt_tty >= 0)
            output_tty(m, m->opt.adopt_tty);
        else
            m->out.ended = m->err.ended = true;
        return;
    }
    /* Opened only where the container still reads it: ENXIO otherwise. */
    if (m->opt.stdin_open)
        m->in = (struct source){open("stdin", O_WRONLY | O_NONBLOCK | O_CLOEXEC), stdin_ready};
    m->out.ended = fifo_open_output(m, &m->out, "stdout", NULL) < 0;
    m->err.ended = fifo_open_output(m, &m->err, "stderr", NULL) < 0;
    if (pipe2(m->peek, O_CLOEXEC | O_NONBLOCK) < 0)
        m->out.ended = m->err.ended = true;
    taken_open(m, false);
    fifo_recover(m, &m->out);
    fifo_recover(m, &m->err);
}

void output_tty(struct monitor *m, int take_master)
{
    fcntl(take_master, F_SETFL, O_RDWR | O_NONBLOCK);
    fcntl(take_master, F_SETFD, FD_CLOEXEC);
    m->out.source = (struct source){take_master, stream_ready};
    m->in = (struct source){dup(take_master), stdin_ready};
    m->err.ended = true;
}

void output_start(struct monitor *m)
{
    struct stream *streams[] = {&m->out, &m->err};
    for (int i = 0; i < 2; i++) {
        if (streams[i]->ended || streams[i]->source.fd < 0)
            continue;
        /* Edge-triggered: an unfinished line stays in the FIFO, and a FIFO without writers would
         * report its end for ever. */
        source_watch(m, &streams[i]->source, EPOLLIN | EPOLLET);
        streams[i]->again = true;
    }
    if (m->in.fd >= 0)
        source_watch(m, &m->in, EPOLLET);
}

static bool is_tty(const struct monitor *m)
{
    return m->opt.tty;
}

/* Copies the FIFO's content to chunk, leaving it there. -1: nothing yet, 0: the end. */
static ssize_t fifo_peek(struct monitor *m, struct stream *s)
{
    ssize_t n = tee(s->source.fd, m->peek[1], CHUNK, SPLICE_F_NONBLOCK);
    if (n <= 0)
        return n < 0 ? -1 : 0;
    ssize_t got = 0;
    while (got < n) {
        ssize_t r = read(m->peek[0], chunk + got, (size_t)(n - got));
        if (r <= 0)
            break;
        got += r;
    }
    return got;
}

/* Takes n bytes, which chunk holds, out of the FIFO. The last one is read to where who comes after us can
 * see whether that has happened: the kernel takes all or nothing of what is there. */
static void fifo_consume(struct stream *s, size_t n)
{
    if (!n)
        return;
    taken->last = chunk[n - 1];
    taken->last_taken = (char)~chunk[n - 1];
    taken->n = n;
    struct iovec parts[] = {{chunk, n - 1}, {(char *)&taken->last_taken, 1}};
    while (readv(s->source.fd, parts, 2) < 0 && errno == EINTR)
        ;
    taken->stream = 0;
    taken->n = 0;
}

/* A monitor before us was killed between its log and the FIFO. */
static void fifo_recover(struct monitor *m, struct stream *s)
{
    if (s->ended || taken->stream != s->is_stderr + 1)
        return;
    bool gone = taken->n && taken->last == taken->last_taken;
    ssize_t n = gone ? 0 : fifo_peek(m, s);
    size_t done = n > 0 ? logwriter_done(&m->log, &taken->log, chunk, (size_t)n) : 0;
    /* Said anew, in case that we are killed too. */
    taken->log.before = -1;
    taken->log.done = done;
    fifo_consume(s, done);
    taken->stream = 0;
}

/* Shows what is new to the clients and logs what can be logged. n: bytes in chunk. */
static size_t stream_use(struct monitor *m, struct stream *s, size_t n, bool flush)
{
    bool fresh = n > s->shown;
    if (fresh)
        clients_output(m, s->is_stderr ? FRAME_STDERR : FRAME_STDOUT, chunk + s->shown,
                       n - s->shown);
    size_t used = logwriter_feed(&m->log, s->is_stderr, chunk, n, flush);
    s->shown = n - used;
    if (!s->shown)
        s->since = 0;
    else if (fresh)
        s->since = now_monotonic();
    m->idle_since = now_monotonic();
    return used;
}

static bool fifo_is_over(const struct stream *s)
{
    struct pollfd p = {.fd = s->source.fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* One turn of a FIFO; false when it holds nothing new. */
static bool fifo_read(struct monitor *m, struct stream *s, bool flush)
{
    ssize_t n = fifo_peek(m, s);
    if (n == 0)
        s->ended = m->phase >= PHASE_DRAINING;
    if (n <= 0)
        return false;
    if ((size_t)n <= s->shown && !flush)
        return false;
    taken->n = 0;
    taken->log.done = 0;
    taken->stream = (char)(s->is_stderr + 1);
    size_t used = stream_use(m, s, (size_t)n, flush);
    taken->log.done = used;
    fifo_consume(s, used);
    taken->stream = 0;
    return true;
}

static bool tty_read(struct monitor *m, struct stream *s, bool flush)
{
    ssize_t n = 0;
    if (tty_held < CHUNK) {
        n = read(s->source.fd, chunk + tty_held, CHUNK - tty_held);
        if (n < 0 && errno == EINTR)
            return true;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            /* EIO: the last process that had the terminal open closed it. */
            s->ended = m->phase >= PHASE_DRAINING;
            flush = flush || s->ended;
        }
    }
    if (n <= 0 && !flush)
        return false;
    tty_held += n > 0 ? (size_t)n : 0;
    size_t used = stream_use(m, s, tty_held, flush);
    tty_held -= used;
    memmove(chunk, chunk + used, tty_held);
    return n > 0;
}

static bool stream_read(struct monitor *m, struct stream *s, bool flush)
{
    return is_tty(m) ? tty_read(m, s, flush) : fifo_read(m, s, flush);
}

static void stream_pump(struct monitor *m, struct stream *s)
{
    s->again = false;
    if (s->ended || s->source.fd < 0)
        return;
    for (int i = 0; i < TURNS; i++) {
        if (m->paused || m->out_held) {
            s->again = true;
            return;
        }
        if (!stream_read(m, s, false))
            return;
    }
    s->again = true;
}

static void stream_ready(struct monitor *m, struct source *source, uint32_t events)
{
    (void)events;
    stream_pump(m, source == &m->out.source ? &m->out : &m->err);
}

static void stdin_ready(struct monitor *m, struct source *s, uint32_t events)
{
    (void)s;
    (void)events;
    clients_stdin(m);
}

void output_resume(struct monitor *m)
{
    if (m->paused || m->out_held)
        return;
    if (m->out.again)
        stream_pump(m, &m->out);
    if (m->err.again)
        stream_pump(m, &m->err);
}

static bool stream_drain(struct monitor *m, struct stream *s)
{
    for (int i = 0; i < TURNS && !s->ended && s->source.fd >= 0 && !m->paused; i++) {
        if (stream_read(m, s, false))
            continue;
        if (s->ended || is_tty(m) || !fifo_is_over(s))
            break;
        if (!fifo_read(m, s, true))
            s->ended = true;
    }
    return s->ended || s->source.fd < 0;
}

bool output_drain(struct monitor *m)
{
    bool out = stream_drain(m, &m->out);
    return stream_drain(m, &m->err) && out;
}

/* No more is waited for: what is there is logged, finished or not. */
void output_finish(struct monitor *m)
{
    struct stream *streams[] = {&m->out, &m->err};
    for (int i = 0; i < 2; i++) {
        struct stream *s = streams[i];
        for (int k = 0; k < TURNS && s->source.fd >= 0 && !s->ended; k++)
            if (!stream_read(m, s, true))
                break;
        source_close(&s->source);
        s->ended = true;
        s->again = false;
    }
    source_close(&m->in);
}

void output_discard(struct monitor *m)
{
    m->out.ended = m->err.ended = true;
    source_close(&m->out.source);
    source_close(&m->err.source);
    source_close(&m->in);
}

void output_unlogged(struct monitor *m,
                     void (*use)(void *arg, enum frame f, const char *data, size_t n), void *arg)
{
    struct stream *streams[] = {&m->out, &m->err};
    for (int i = 0; i < 2; i++) {
        struct stream *s = streams[i];
        if (!s->shown || s->source.fd < 0)
            continue;
        if (is_tty(m) || fifo_peek(m, s) >= (ssize_t)s->shown)
            use(arg, s->is_stderr ? FRAME_STDERR : FRAME_STDOUT, chunk, s->shown);
    }
}

/* A FIFO that is not empty wakes nobody when its writer fills it up and blocks (Linux, pipe_write):
 * while an unfinished line waits in it, we look again by ourselves, less and less often. */
static int64_t look_again(struct monitor *m, struct stream *s, int64_t age)
{
    int n;
    if (!is_tty(m) && ioctl(s->source.fd, FIONREAD, &n) == 0 && (size_t)n > s->shown)
        s->again = true;
    return age / 4 < LOOK_FIRST ? LOOK_FIRST : age / 4;
}

static void earlier(int64_t *best, int64_t in)
{
    if (in < 1)
        in = 1;
    if (*best < 0 || in < *best)
        *best = in;
}

int64_t output_tick(struct monitor *m, int64_t now)
{
    struct stream *streams[] = {&m->out, &m->err};
    int64_t wait = is_tty(m) ? TTY_LINE_WAIT : LINE_WAIT, next = -1;
    for (int i = 0; i < 2 && !m->paused; i++) {
        struct stream *s = streams[i];
        if (s->since && now - s->since >= wait)
            stream_read(m, s, true);
        if (!s->since)
            continue;
        earlier(&next, s->since + wait - now);
        earlier(&next, look_again(m, s, now - s->since));
    }
    if (m->idle_since && !tty_held && now - m->idle_since >= IDLE_WAIT) {
        madvise(chunk, sizeof(chunk), MADV_DONTNEED);
        logwriter_idle(&m->log);
        m->idle_since = 0;
    } else if (m->idle_since) {
        earlier(&next, m->idle_since + IDLE_WAIT - now);
    }
    return next;
}
