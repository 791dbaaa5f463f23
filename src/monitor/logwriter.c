#include "monitor/logwriter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ESCAPED_MAX = 6,                  /* \u00XX for one byte */
    FRAME_MAX = 160 + SINK_ATTRS_MAX, /* what a record has around its text */
    BUFFER = 128 << 10,
    USUAL_RECORD = 4096,
};

/* Page-aligned: logwriter_idle() returns its pages. */
static char buffer[BUFFER] __attribute__((aligned(4096)));
static size_t buffered;       /* whole records */
static size_t buffered_bytes; /* of output in them */

static int64_t current_size(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_size : 0;
}

/* Cuts off a record that a killed monitor has left unfinished; its text is still unread in the
 * container's FIFO. */
static void mend_tail(struct logwriter *l)
{
    char tail[4096];
    int64_t end = l->size;
    while (end > 0) {
        size_t n = end < (int64_t)sizeof(tail) ? (size_t)end : sizeof(tail);
        if (pread(l->fd, tail, n, end - (int64_t)n) != (ssize_t)n)
            return;
        char *newline = memrchr(tail, '\n', n);
        if (newline) {
            end -= (int64_t)n - (newline + 1 - tail);
            break;
        }
        end -= (int64_t)n;
    }
    if (end != l->size && ftruncate(l->fd, end) == 0)
        l->size = end;
}

static void open_current(struct logwriter *l)
{
    l->fd = openat(l->dir, "log", O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (l->fd < 0)
        l->lost_errno = errno;
    l->size = l->fd >= 0 ? current_size(l->fd) : 0;
}

void logwriter_open(struct logwriter *l, int dir, bool enabled, int64_t max_size, int max_file)
{
    static struct log_progress nobodys = {.before = -1};
    *l = (struct logwriter){
        .dir = dir, .fd = -1, .progress = &nobodys, .max_size = max_size, .max_file = max_file};
    l->enabled = enabled;
    if (!enabled)
        return;
    open_current(l);
    if (l->fd >= 0 && l->size > 0)
        mend_tail(l);
    l->start_offset = l->size;
}

void log_name(char *out, unsigned age, bool compressed)
{
    const char *end = compressed ? ".gz" : "";
    if (age)
        snprintf(out, LOG_NAME_MAX, "log.%u%s", age, end);
    else
        snprintf(out, LOG_NAME_MAX, "log%s", end);
}

/* Is there a file of that age, in whichever form? */
static bool is_there(const struct logwriter *l, unsigned age)
{
    char name[LOG_NAME_MAX];
    for (int form = 0; form <= l->compress; form++) {
        log_name(name, age, form);
        if (faccessat(l->dir, name, F_OK, 0) == 0)
            return true;
    }
    return false;
}

static void drop(const struct logwriter *l, unsigned age)
{
    char name[LOG_NAME_MAX];
    for (int form = 0; form <= l->compress; form++) {
        log_name(name, age, form);
        unlinkat(l->dir, name, 0);
    }
}

static void make_older(const struct logwriter *l, unsigned age)
{
    char from[LOG_NAME_MAX], to[LOG_NAME_MAX];
    for (int form = 0; form <= l->compress; form++) {
        log_name(from, age, form);
        log_name(to, age + 1, form);
        renameat(l->dir, from, l->dir, to);
    }
}

/* The age that the files younger than it can move up to. A monitor killed while it rotated has left
 * one free; else the oldest file goes. */
static unsigned make_room(const struct logwriter *l)
{
    unsigned oldest = l->max_file > 1 ? (unsigned)l->max_file - 1 : 0;
    for (unsigned age = 1; age <= oldest; age++)
        if (!is_there(l, age))
            return age;
    drop(l, oldest);
    return oldest;
}

/* From the oldest on, so that there is never more than one file of an age. */
static void rotate(struct logwriter *l)
{
    close(l->fd);
    for (unsigned age = make_room(l); age >= 1; age--)
        make_older(l, age - 1);
    l->rotations++;
    open_current(l);
}

/* All or nothing: what was written of it is taken back. */
static bool append(struct logwriter *l, const char *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = write(l->fd, data + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            l->lost_errno = w < 0 ? errno : ENOSPC;
            if (done && ftruncate(l->fd, l->size) < 0)
                l->size += (int64_t)done;
            return false;
        }
        done += (size_t)w;
    }
    l->size += (int64_t)n;
    return true;
}

static size_t put_time(char *p)
{
    static time_t second = -1;
    static char text[24];
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ts.tv_sec != second) {
        struct tm tm;
        gmtime_r(&ts.tv_sec, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.", &tm);
        second = ts.tv_sec;
    }
    memcpy(p, text, 20);
    long ns = ts.tv_nsec;
    for (int i = 28; i >= 20; i--, ns /= 10)
        p[i] = (char)('0' + ns % 10);
    p[29] = 'Z';
    return 30;
}

/* Length of the UTF-8 sequence at s (n bytes are there), 0: none. Unicode 15, table 3-7. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t want = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (!want || want > n)
        return 0;
    unsigned char low = 0x80, high = 0xbf;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < want; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return want;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static size_t put_escaped(char *out, const char *text, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)text;
    char *p = out;
    for (size_t i = 0; i < n;) {
        size_t run = i;
        while (run < n && is_plain(s[run]))
            run++;
        memcpy(p, s + i, run - i);
        p += run - i;
        i = run;
        if (i == n)
            break;
        unsigned char c = s[i];
        const char *known = NULL;
        if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t')
            known = c == '"'    ? "\\\""
                    : c == '\\' ? "\\\\"
                    : c == '\n' ? "\\n"
                    : c == '\r' ? "\\r"
                                : "\\t";
        if (known) {
            *p++ = known[0];
            *p++ = known[1];
            i++;
        } else if (c < 0x80) {
            memcpy(p, "\\u00", 4);
            p[4] = hex[c >> 4];
            p[5] = hex[c & 15];
            p += 6;
            i++;
        } else {
            size_t len = utf8_length(s + i, n - i);
            memcpy(p, len ? (const char *)s + i : "\\ufffd", len ? len : 6);
            p += len ? len : 6;
            i += len ? len : 1;
        }
    }
    return (size_t)(p - out);
}

static char *put_attrs(const struct logwriter *l, char *p)
{
    static const char key[] = "\"attrs\":";
    size_t n = l->attrs ? strlen(l->attrs) : 0;
    if (!n)
        return p;
    memcpy(p, key, sizeof(key) - 1);
    memcpy(p + sizeof(key) - 1, l->attrs, n);
    p += sizeof(key) - 1 + n;
    *p = ',';
    return p + 1;
}

static size_t put_record(const struct logwriter *l, char *out, bool is_stderr, const char *text,
                         size_t n)
{
    char *p = out;
    memcpy(p, "{\"log\":\"", 8);
    p += 8;
    p += put_escaped(p, text, n);
    memcpy(p, is_stderr ? "\",\"stream\":\"stderr\"," : "\",\"stream\":\"stdout\",", 20);
    p = put_attrs(l, p + 20);
    memcpy(p, "\"time\":\"", 8);
    p += 8;
    p += put_time(p);
    memcpy(p, "\"}\n", 3);
    return (size_t)(p + 3 - out);
}

/* Says that output was lost, once there is room to say it. */
static bool report_loss(struct logwriter *l)
{
    char text[160], record[160 * ESCAPED_MAX + FRAME_MAX];
    int n = snprintf(text, sizeof(text), "compose: %llu bytes of output are missing here: %s\n",
                     (unsigned long long)l->lost, strerror(l->lost_errno));
    if (!append(l, record, put_record(l, record, true, text, (size_t)n)))
        return false;
    l->lost = 0;
    return true;
}

static void commit(struct logwriter *l)
{
    if (!buffered)
        return;
    volatile struct log_progress *p = l->progress;
    if (l->fd < 0)
        open_current(l);
    bool open = l->fd >= 0 && (!l->lost || report_loss(l));
    p->length = buffered;
    p->pending = buffered_bytes;
    p->before = l->size;
    if (!open || !append(l, buffer, buffered))
        l->lost += buffered_bytes;
    p->done += buffered_bytes;
    p->before = -1;
    buffered = buffered_bytes = 0;
}

/* Where to cut a line of more than max bytes: not within a UTF-8 sequence. */
static size_t cut_point(const char *s, size_t max)
{
    for (size_t back = 1; back <= 3; back++) {
        unsigned char c = (unsigned char)s[max - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return want > back ? max - back : max;
    }
    return max;
}

static void add_record(struct logwriter *l, bool is_stderr, const char *text, size_t n)
{
    if (l->max_size > 0 && l->fd >= 0 && l->size + (int64_t)buffered >= l->max_size) {
        commit(l);
        rotate(l);
    }
    if (BUFFER - buffered < n * ESCAPED_MAX + FRAME_MAX)
        commit(l);
    buffered += put_record(l, buffer + buffered, is_stderr, text, n);
    buffered_bytes += n;
}

/* Where the record ends that starts at data; 0: it is not complete. */
static size_t record_length(const char *data, size_t n, bool flush)
{
    const char *newline = memchr(data, '\n', n);
    size_t len = newline ? (size_t)(newline + 1 - data) : n;
    if (!newline && len < LOG_LINE_MAX && !flush)
        return 0;
    return len > LOG_LINE_MAX ? cut_point(data, LOG_LINE_MAX) : len;
}

static size_t count_records(const struct logwriter *l, int64_t from)
{
    size_t count = 0;
    ssize_t n;
    for (; (n = pread(l->fd, buffer, BUFFER, from)) > 0; from += n)
        for (const char *p = buffer; (p = memchr(p, '\n', (size_t)(buffer + n - p))); p++)
            count++;
    return count;
}

size_t logwriter_done(const struct logwriter *l, const volatile struct log_progress *p,
                      const char *data, size_t n)
{
    size_t done = p->done < n ? p->done : n;
    if (p->before < 0 || l->fd < 0 || l->size <= p->before)
        return done;
    if (l->size - p->before >= (int64_t)p->length)
        return done + p->pending;
    for (size_t k = count_records(l, p->before), len; k; k--, done += len) {
        len = record_length(data + done, n - done, false);
        if (!len)
            break;
    }
    return done;
}

size_t logwriter_feed(struct logwriter *l, bool is_stderr, const char *data, size_t n, bool flush)
{
    size_t done = 0;
    while (done < n) {
        size_t len = record_length(data + done, n - done, flush);
        if (!len)
            break;
        if (l->enabled)
            add_record(l, is_stderr, data + done, len);
        if (l->sink)
            sink_record(l->sink, is_stderr, data + done, len);
        done += len;
    }
    commit(l);
    return done;
}

void logwriter_idle(struct logwriter *l)
{
    (void)l;
    madvise(buffer, sizeof(buffer), MADV_DONTNEED);
}

void log_replay_start(const struct logwriter *l, struct log_replay *r)
{
    (void)l;
    *r = (struct log_replay){.fd = -1};
}

void log_replay_end(struct log_replay *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

/* Opens the file that is now as many rotations old as r says; skips what is rotated away. */
static bool replay_open(const struct logwriter *l, struct log_replay *r)
{
    while (r->fd < 0) {
        unsigned age = l->rotations - r->rotations;
        char name[LOG_NAME_MAX];
        log_name(name, age, false);
        r->fd = openat(l->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        r->offset = r->rotations ? 0 : l->start_offset;
        if (r->fd < 0 && !age)
            return false;
        if (r->fd < 0)
            r->rotations++;
    }
    return true;
}

static unsigned hex_value(const char *s)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        v = v << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return v & 0xffff;
}

/* Undoes put_escaped(); stops at the closing quote. Returns the length. */
static int unescape(const char *s, const char *end, char *out, const char **after)
{
    char *p = out;
    while (s < end && *s != '"') {
        if (*s != '\\' || s + 1 >= end) {
            *p++ = *s++;
        } else if (s[1] == 'u' && end - s >= 6) {
            unsigned v = hex_value(s + 2);
            if (v < 0x80) {
                *p++ = (char)v;
            } else {
                memcpy(p, "\xef\xbf\xbd", 3); /* U+FFFD, the only other one that is written */
                p += 3;
            }
            s += 6;
        } else {
            *p++ = s[1] == 'n' ? '\n' : s[1] == 'r' ? '\r' : s[1] == 't' ? '\t' : s[1];
            s += 2;
        }
    }
    *after = s;
    return (int)(p - out);
}

int log_replay_next(const struct logwriter *l, struct log_replay *r, char *buf, bool *is_stderr)
{
    /* Shares the write buffer, which is empty between two calls of logwriter_feed(). */
    for (;;) {
        if (!replay_open(l, r))
            return -1;
        ssize_t n = pread(r->fd, buffer, USUAL_RECORD, r->offset);
        if (n == USUAL_RECORD && !memchr(buffer, '\n', USUAL_RECORD))
            n = pread(r->fd, buffer, BUFFER, r->offset);
        const char *newline = n > 0 ? memchr(buffer, '\n', (size_t)n) : NULL;
        if (!newline) {
            if (r->rotations == l->rotations)
                return -1;
            log_replay_end(r);
            r->rotations++;
            continue;
        }
        r->offset += newline + 1 - buffer;
        if (newline - buffer < 10 || memcmp(buffer, "{\"log\":\"", 8))
            continue;
        const char *after;
        int len = unescape(buffer + 8, newline, buf, &after);
        *is_stderr = newline - after > 16 && !memcmp(after, "\",\"stream\":\"stde", 16);
        return len;
    }
}
