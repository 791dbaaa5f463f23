#include "cli/logview.h"

#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/terminal.h"
#include "runtime/logfile.h"

/* A line longer than this is shown in pieces. */
enum { LINE_MAX_BYTES = 1 << 20, OUT_FLUSH = 64 << 10 };

struct half_line {
    struct strbuf text;
    int64_t time;
};

struct source {
    char *id, *name;
    struct logfile *log;
    int watch; /* inotify, -1: none */
    const char *color;
    struct half_line half[2]; /* stdout, stderr: a line that has no end yet */
    struct log_record next;   /* read ahead */
    struct strbuf next_text;
    bool has_next;
};

struct logview {
    struct cli *cli;
    struct logview_options options;
    VEC(struct source *) sources;
    int width; /* of the widest name */
    size_t colors_used;
    int inotify;
    uv_poll_t poll;
    bool polling;
    struct strbuf out; /* gathered for stdout */
};

static const char *const palette[] = {
    "\033[36m",   "\033[33m",   "\033[32m",   "\033[35m",   "\033[34m",
    "\033[36;1m", "\033[33;1m", "\033[32;1m", "\033[35;1m", "\033[34;1m",
};

static void on_change(uv_poll_t *poll, int status, int events);

struct logview *logview_new(struct cli *cli, uv_loop_t *loop, const struct logview_options *o)
{
    struct logview *v = xcalloc(1, sizeof(*v));
    v->cli = cli;
    v->options = *o;
    v->out = (struct strbuf)STRBUF_INIT;
    v->inotify = -1;
    if (loop) {
        v->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (v->inotify >= 0 && uv_poll_init(loop, &v->poll, v->inotify) == 0) {
            v->polling = true;
            uv_poll_start(&v->poll, UV_READABLE, on_change);
            uv_unref((uv_handle_t *)&v->poll);
        }
    }
    return v;
}

void logview_reserve(struct logview *v, const char *short_name)
{
    int w = text_width(short_name);
    v->width = w > v->width ? w : v->width;
}

static struct source *source_find(const struct logview *v, const char *id)
{
    for (size_t i = 0; i < v->sources.n; i++) {
        if (streq(v->sources.v[i]->id, id))
            return v->sources.v[i];
    }
    return NULL;
}

int logview_add(struct logview *v, const struct container_record *c, int64_t since, struct err *err)
{
    if (source_find(v, c->id))
        return 0;
    struct source *s = xcalloc(1, sizeof(*s));
    s->watch = -1;
    char *dir AUTOFREE = container_dir(v->cli, c);
    /* Watched before it is opened, so that nothing falls in between. */
    if (v->inotify >= 0)
        s->watch = inotify_add_watch(v->inotify, dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
    if (logfile_open(dir, v->options.tail, since ? since : v->options.since, &s->log, err) < 0) {
        free(s);
        return -1;
    }
    s->id = xstrdup(c->id);
    s->name = xstrdup(container_short_name(c));
    s->color = palette[v->colors_used++ % ARRAY_SIZE(palette)];
    for (size_t i = 0; i < ARRAY_SIZE(s->half); i++)
        s->half[i].text = (struct strbuf)STRBUF_INIT;
    s->next_text = (struct strbuf)STRBUF_INIT;
    logview_reserve(v, s->name);
    vec_push(&v->sources, s);
    return 0;
}

static void flush(struct logview *v)
{
    if (v->out.len)
        cli_out(v->out.buf, v->out.len);
    strbuf_setlen(&v->out, 0);
}

static void add_prefix(const struct logview *v, const struct source *s, struct strbuf *out)
{
    if (!v->options.prefix)
        return;
    strbuf_addf(out, "%s%s%*s  | %s", v->options.color ? s->color : "", s->name,
                v->width - text_width(s->name), "", v->options.color ? "\033[0m" : "");
}

static void print_line(struct logview *v, const struct source *s, bool is_stderr, int64_t time,
                       const char *text, size_t n)
{
    struct strbuf *out = &v->out;
    struct strbuf line AUTOBUF = STRBUF_INIT;
    bool aside = is_stderr && v->options.split;
    if (aside) {
        flush(v);
        out = &line;
    }
    add_prefix(v, s, out);
    if (v->options.timestamps) {
        char stamp[40];
        strbuf_addf(out, "%s ", time_format(time, stamp));
    }
    strbuf_add(out, text, n);
    strbuf_addch(out, '\n');
    if (aside)
        fd_write_all(STDERR_FILENO, line.buf, line.len);
    else if (out->len >= OUT_FLUSH)
        flush(v);
}

static void finish_half(struct logview *v, struct source *s, int which)
{
    struct half_line *h = &s->half[which];
    if (h->text.len)
        print_line(v, s, which == 1, h->time, h->text.buf, h->text.len);
    strbuf_setlen(&h->text, 0);
}

static void take_record(struct logview *v, struct source *s)
{
    const struct log_record *r = &s->next;
    struct half_line *h = &s->half[r->is_stderr];
    s->has_next = false;
    if (v->options.until && r->time >= v->options.until)
        return;
    size_t n = s->next_text.len;
    bool whole = n && s->next_text.buf[n - 1] == '\n';
    n -= whole;
    if (whole && !h->text.len) {
        print_line(v, s, r->is_stderr, r->time, s->next_text.buf, n);
        return;
    }
    if (!h->text.len)
        h->time = r->time;
    strbuf_add(&h->text, s->next_text.buf, n);
    if (whole || h->text.len >= LINE_MAX_BYTES)
        finish_half(v, s, r->is_stderr);
}

static bool read_ahead(struct source *s)
{
    struct err err AUTOERR = ERR_INIT;
    if (!s->has_next && s->log && logfile_next(s->log, &s->next, &err) == 1) {
        strbuf_setlen(&s->next_text, 0);
        strbuf_add(&s->next_text, s->next.text, s->next.len);
        s->has_next = true;
    }
    return s->has_next;
}

/* The source whose next record is the oldest. */
static struct source *oldest(struct logview *v)
{
    struct source *best = NULL;
    for (size_t i = 0; i < v->sources.n; i++) {
        struct source *s = v->sources.v[i];
        if (read_ahead(s) && (!best || s->next.time < best->next.time))
            best = s;
    }
    return best;
}

void logview_drain(struct logview *v)
{
    struct source *s;
    if (v->sources.n == 1) {
        s = v->sources.v[0];
        while (read_ahead(s))
            take_record(v, s);
    }
    while ((s = oldest(v)))
        take_record(v, s);
    flush(v);
}

static void on_change(uv_poll_t *poll, int status, int events)
{
    struct logview *v = container_of(poll, struct logview, poll);
    char buf[4096] __attribute__((aligned(8)));
    (void)status;
    (void)events;
    while (read(v->inotify, buf, sizeof(buf)) > 0)
        continue;
    logview_drain(v);
}

static void source_free(struct logview *v, struct source *s)
{
    if (s->watch >= 0)
        inotify_rm_watch(v->inotify, s->watch);
    logfile_close(s->log);
    for (size_t i = 0; i < ARRAY_SIZE(s->half); i++)
        strbuf_release(&s->half[i].text);
    strbuf_release(&s->next_text);
    free(s->id);
    free(s->name);
    free(s);
}

void logview_remove(struct logview *v, const char *id)
{
    for (size_t i = 0; i < v->sources.n; i++) {
        struct source *s = v->sources.v[i];
        if (!streq(s->id, id))
            continue;
        logview_drain(v);
        finish_half(v, s, 0);
        finish_half(v, s, 1);
        flush(v);
        source_free(v, s);
        vec_remove(&v->sources, i);
        return;
    }
}

void logview_say(struct logview *v, const char *id, const char *short_name, const char *text)
{
    struct source *s = source_find(v, id);
    logview_drain(v);
    if (s) {
        finish_half(v, s, 0);
        finish_half(v, s, 1);
    }
    bool color = v->options.color && s;
    strbuf_addf(&v->out, "%s%s %s%s\n", color ? s->color : "", short_name, text,
                color ? "\033[0m" : "");
    flush(v);
}

void logview_hook(struct logview *v, const char *id, const char *short_name, const char *text)
{
    struct source *s = source_find(v, id);
    logview_drain(v);
    bool color = v->options.color && s;
    int pad = v->width - text_width(short_name);
    if (v->options.prefix)
        strbuf_addf(&v->out, "%s%s -> %*s | %s", color ? s->color : "", short_name,
                    pad > 0 ? pad : 0, "", color ? "\033[0m" : "");
    strbuf_addf(&v->out, "%s\n", text);
    flush(v);
}

void logview_close(struct logview *v)
{
    if (v->polling)
        uv_close((uv_handle_t *)&v->poll, NULL);
    v->polling = false;
}

void logview_free(struct logview *v)
{
    if (!v)
        return;
    for (size_t i = 0; i < v->sources.n; i++) {
        finish_half(v, v->sources.v[i], 0);
        finish_half(v, v->sources.v[i], 1);
        flush(v);
        source_free(v, v->sources.v[i]);
    }
    vec_release(&v->sources);
    if (v->inotify >= 0)
        close(v->inotify);
    strbuf_release(&v->out);
    free(v);
}
