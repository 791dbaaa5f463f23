#include "runtime/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "runtime/logpart.h"

enum {
    BLOCK = 256 << 10,
    LINE_MAX_BYTES = 4 << 20, /* of a foreign file; ours are shorter than 100 KiB */
    RECORD_TAIL = 8192,       /* stream, attrs and time of a record fit into this */
};

struct logfile {
    char *dir;
    int64_t since;
    int notify;
    struct logpart part; /* what is read */
    int64_t offset;      /* behind what is in buf */
    char *buf;           /* unread bytes are [at, end) */
    size_t at, end, cap;
    char *text; /* the current record, unescaped */
    size_t text_cap;
};

/* Takes the part. */
static void use_part(struct logfile *l, struct logpart take_part, int64_t offset)
{
    logpart_close(&l->part);
    l->part = take_part;
    l->offset = offset;
    l->at = l->end = 0;
}

/* The value of "time" of a record, which is the last thing in its line; 0: none. */
static int64_t time_of(const char *line, size_t n)
{
    char text[64];
    const char *end = memrchr(line, '"', n);
    const char *start = end && end > line ? memrchr(line, '"', (size_t)(end - line)) : NULL;
    int64_t t = 0;
    if (!start || end - start - 1 >= (ptrdiff_t)sizeof(text))
        return 0;
    memcpy(text, start + 1, (size_t)(end - start - 1));
    text[end - start - 1] = '\0';
    return time_parse(text, &t) ? t : 0;
}

/* Does the record whose newline is at end finish a line of output? Its text then ends in \n, which
 * is escaped; block: what may be looked at before it. */
static bool ends_line(const char *block, const char *end)
{
    static const char mark[] = "\\n\",\"stream\":\"";
    const char *from = end - block > RECORD_TAIL ? end - RECORD_TAIL : block;
    const char *before = memrchr(from, '\n', (size_t)(end - from));
    from = before ? before + 1 : from;
    return memmem(from, (size_t)(end - from), mark, sizeof(mark) - 1) != NULL;
}

/* Time of the first record that starts at or after offset; 0 when there is none. */
static int64_t time_after(int fd, int64_t offset, int64_t *start)
{
    char *block AUTOFREE = xmalloc(BLOCK);
    ssize_t n = pread(fd, block, BLOCK, offset);
    if (n <= 0)
        return 0;
    char *line = block;
    if (offset) {
        line = memchr(block, '\n', (size_t)n);
        if (!line)
            return 0;
        line++;
    }
    char *newline = memchr(line, '\n', (size_t)(block + n - line));
    if (!newline)
        return 0;
    *start = offset + (line - block);
    return time_of(line, (size_t)(newline - line));
}

/* Offset of the first record at or after since, by bisection: records are in the order of time. */
static int64_t find_since(int fd, int64_t size, int64_t since)
{
    int64_t low = 0, high = size;
    while (high - low > BLOCK) {
        int64_t middle = low + (high - low) / 2, start = middle;
        int64_t t = time_after(fd, middle, &start);
        if (t && t < since && start < high)
            low = start;
        else
            high = middle;
    }
    return low;
}

/* Offset of the last *left lines of output, found from the end backwards; *left: how many are still
 * missing when the file has fewer. An unfinished last line counts as one. */
static int64_t find_tail(int fd, int64_t size, int64_t *left)
{
    char *block AUTOFREE = xmalloc(BLOCK);
    bool last = true; /* the newline behind the last record is still to come */
    for (int64_t pos = size; pos > 0;) {
        int64_t n = pos < BLOCK - RECORD_TAIL ? pos : BLOCK - RECORD_TAIL;
        int64_t from = pos - n, lead = from < RECORD_TAIL ? from : RECORD_TAIL;
        if (pread(fd, block, (size_t)(lead + n), from - lead) != lead + n)
            return 0;
        const char *begin = block + lead, *end = begin + n, *p;
        for (; (p = memrchr(begin, '\n', (size_t)(end - begin))); end = p) {
            if (last)
                last = false;
            else if (ends_line(block, p) && --*left <= 0)
                return from + (p - begin) + 1;
        }
        pos = from;
    }
    if (!last)
        --*left;
    return 0;
}

/* Where to begin in one file: *left as for find_tail, tail as for logfile_open. True: no older one
 * is needed. */
static bool begin_in(const struct logfile *l, int fd, int64_t tail, int64_t *left, int64_t *offset)
{
    struct stat st;
    int64_t size = fstat(fd, &st) == 0 ? st.st_size : 0, first = 0;
    bool enough = false;
    *offset = 0;
    if (tail >= 0) {
        *offset = *left > 0 ? find_tail(fd, size, left) : size;
        enough = *left <= 0;
    }
    if (l->since) {
        int64_t by_time = find_since(fd, size, l->since), t = time_after(fd, 0, &first);
        *offset = by_time > *offset ? by_time : *offset;
        enough = enough || (t && t < l->since);
    }
    return enough;
}

/* Chooses where to start reading. */
static void start(struct logfile *l, int64_t tail)
{
    int64_t left = tail, offset;
    int oldest = logpart_oldest(l->dir);
    bool enough = false;
    for (int age = tail < 0 && !l->since ? oldest : 0; age <= oldest && !enough; age++) {
        struct logpart p = logpart_open(l->dir, age);
        logpart_unpack(l->dir, &p);
        if (p.fd < 0)
            continue;
        enough = begin_in(l, p.fd, tail, &left, &offset);
        use_part(l, p, offset);
    }
}

int logfile_open(const char *dir, int64_t tail, int64_t since, struct logfile **out,
                 struct err *err)
{
    (void)err;
    struct logfile *l = xcalloc(1, sizeof(*l));
    l->dir = xstrdup(dir);
    l->since = since;
    l->notify = -1;
    l->part = LOGPART_NONE;
    start(l, tail);
    *out = l;
    return 0;
}

void logfile_close(struct logfile *l)
{
    if (!l)
        return;
    logpart_close(&l->part);
    fd_close_ptr(&l->notify);
    free(l->dir);
    free(l->buf);
    free(l->text);
    free(l);
}

int logfile_fd(struct logfile *l)
{
    if (l->notify >= 0)
        return l->notify;
    l->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (l->notify >= 0)
        inotify_add_watch(l->notify, l->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
    return l->notify;
}

static void drain_notify(struct logfile *l)
{
    char events[4096];
    while (l->notify >= 0 && read(l->notify, events, sizeof(events)) > 0)
        ;
}

/* 1: more bytes came; 0: the end for now. */
static int fill(struct logfile *l, struct err *err)
{
    if (l->at) {
        memmove(l->buf, l->buf + l->at, l->end - l->at);
        l->end -= l->at;
        l->at = 0;
    }
    if (l->cap - l->end < BLOCK / 2) {
        if (l->cap >= LINE_MAX_BYTES)
            return err_set(err, ERR_CORRUPT, "%s/log: a record of more than %d bytes", l->dir,
                           LINE_MAX_BYTES);
        l->cap = l->cap ? l->cap * 2 : BLOCK;
        l->buf = xrealloc(l->buf, l->cap);
    }
    ssize_t n = pread(l->part.fd, l->buf + l->end, l->cap - l->end, l->offset);
    if (n < 0)
        return err_sys(err, errno, "read %s/log", l->dir);
    struct stat st;
    if (n == 0 && fstat(l->part.fd, &st) == 0 && st.st_size < l->offset) {
        /* A record that a killed monitor had left unfinished was cut off. */
        l->offset -= (int64_t)(l->end - l->at);
        l->at = l->end = 0;
        return st.st_size > l->offset;
    }
    l->offset += n;
    l->end += (size_t)n;
    return n > 0;
}

/* The newer one that follows after age. */
static struct logpart open_next(const struct logfile *l, int age)
{
    struct logpart p = LOGPART_NONE;
    while (p.fd < 0 && age > 0)
        p = logpart_open(l->dir, --age);
    return p;
}

/* After the end of one file the next newer one follows; 1: there is one. The monitor renames "log"
 * before it makes the new one, and writes no more to the old: what was read to its end after the
 * rename is complete. */
static int next_file(struct logfile *l, struct err *err)
{
    int age = l->part.fd >= 0 ? logpart_age(l->dir, &l->part) : -1;
    if (age == 0)
        return 0;
    int more = l->part.fd >= 0 ? fill(l, err) : 0;
    if (more)
        return more;
    /* Ours is gone: on with the oldest that is left. */
    struct logpart p = open_next(l, age > 0 ? age : logpart_oldest(l->dir) + 1);
    if (p.fd < 0)
        return 0;
    if (age > 0 && logpart_age(l->dir, &l->part) != age) {
        /* Rotated in between: this may not be the one that follows. */
        logpart_close(&p);
        return 1;
    }
    if (l->part.fd >= 0 && p.inode == l->part.inode) {
        logpart_close(&p);
        return 0;
    }
    logpart_unpack(l->dir, &p);
    if (p.fd < 0)
        return 0;
    use_part(l, p, 0);
    return 1;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(s[i]);
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static size_t put_utf8(char *out, unsigned v)
{
    if (v < 0x80) {
        out[0] = (char)v;
        return 1;
    }
    if (v < 0x800) {
        out[0] = (char)(0xc0 | v >> 6);
        out[1] = (char)(0x80 | (v & 63));
        return 2;
    }
    if (v < 0x10000) {
        out[0] = (char)(0xe0 | v >> 12);
        out[1] = (char)(0x80 | (v >> 6 & 63));
        out[2] = (char)(0x80 | (v & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | v >> 18);
    out[1] = (char)(0x80 | (v >> 12 & 63));
    out[2] = (char)(0x80 | (v >> 6 & 63));
    out[3] = (char)(0x80 | (v & 63));
    return 4;
}

/* One \uXXXX, or two that form a surrogate pair; s stands on the backslash. */
static const char *unescape_unicode(const char *s, const char *end, char **out)
{
    int v = end - s >= 6 ? hex4(s + 2) : -1;
    if (v < 0)
        return NULL;
    s += 6;
    unsigned c = (unsigned)v;
    if (c >= 0xd800 && c < 0xdc00 && end - s >= 6 && s[0] == '\\' && s[1] == 'u') {
        int low = hex4(s + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)low - 0xdc00);
            s += 6;
        }
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd;
    *out += put_utf8(*out, c);
    return s;
}

/* The string that starts at s; stops at its closing quote. NULL: malformed. */
static const char *unescape(const char *s, const char *end, char *out, size_t *n)
{
    char *p = out;
    while (s < end && *s != '"') {
        const char *run = s;
        while (run < end && *run != '\\' && *run != '"')
            run++;
        memcpy(p, s, (size_t)(run - s));
        p += run - s;
        s = run;
        if (s >= end || *s == '"')
            break;
        if (end - s < 2)
            return NULL;
        if (s[1] == 'u') {
            s = unescape_unicode(s, end, &p);
            if (!s)
                return NULL;
            continue;
        }
        static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
        const char *known = strchr(from, s[1]);
        *p++ = known && s[1] ? to[known - from] : s[1];
        s += 2;
    }
    *n = (size_t)(p - out);
    return s < end ? s : NULL;
}

/* False for a line that is no record of ours or Docker's: such a line is passed over. */
static bool parse(struct logfile *l, const char *line, size_t n, struct log_record *out)
{
    static const char head[] = "{\"log\":\"", stream[] = "\",\"stream\":\"std";
    const char *end = line + n;
    if (n < sizeof(head) + sizeof(stream) || memcmp(line, head, sizeof(head) - 1))
        return false;
    if (l->text_cap < n) {
        l->text_cap = n * 2;
        l->text = xrealloc(l->text, l->text_cap);
    }
    const char *after = unescape(line + sizeof(head) - 1, end, l->text, &out->len);
    if (!after || (size_t)(end - after) < sizeof(stream) + 3 ||
        memcmp(after, stream, sizeof(stream) - 1))
        return false;
    out->text = l->text;
    out->is_stderr = after[sizeof(stream) - 1] == 'e';
    out->partial = !out->len || l->text[out->len - 1] != '\n';
    out->time = time_of(line, n);
    return true;
}

int logfile_next(struct logfile *l, struct log_record *out, struct err *err)
{
    for (;;) {
        char *newline = l->at < l->end ? memchr(l->buf + l->at, '\n', l->end - l->at) : NULL;
        if (newline) {
            const char *line = l->buf + l->at;
            size_t n = (size_t)(newline - line);
            l->at += n + 1;
            if (parse(l, line, n, out) && (!l->since || out->time >= l->since))
                return 1;
            continue;
        }
        int more = l->part.fd >= 0 ? fill(l, err) : 0;
        if (more == 0) {
            /* Before the last look, so that what comes after it is reported again. */
            drain_notify(l);
            more = l->part.fd >= 0 ? fill(l, err) : 0;
        }
        if (more == 0)
            more = next_file(l, err);
        if (more <= 0)
            return more;
    }
}
