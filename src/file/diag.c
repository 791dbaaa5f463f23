#include "file/diag.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/vec.h"

enum { LINE_MAX_SHOWN = 160, WORD_MAX = 40, MESSAGE_MAX = 1000, SOURCE_MAX = 32 << 20 };

static const char *const level_names[] = {
    [DIAG_ERROR] = "error",
    [DIAG_WARNING] = "warning",
    [DIAG_NOTE] = "note",
};

void diag_release(struct diag *d)
{
    vec_foreach (&d->items, it) {
        free(it->file);
        free(it->msg);
        free(it->hint);
    }
    vec_foreach (&d->sources, it) {
        free(it->file);
        free(it->path);
        free(it->text);
    }
    vec_release(&d->items);
    vec_release(&d->sources);
    *d = (struct diag)DIAG_INIT;
}

void diag_source(struct diag *d, const char *file, char *take_text, size_t len)
{
    vec_push(&d->sources,
             (struct diag_source){.file = xstrdup(file), .text = take_text, .len = len});
}

void diag_source_at(struct diag *d, const char *file, const char *path)
{
    vec_push(&d->sources, (struct diag_source){.file = xstrdup(file), .path = xstrdup(path)});
}

static bool same_item(const struct diag_item *it, enum diag_level level, const struct mark *mark,
                      const char *msg)
{
    return it->level == level && it->line == mark->line && it->col == mark->col &&
           !it->file == !mark->file && (!it->file || streq(it->file, mark->file)) &&
           streq(it->msg, msg);
}

/* A value in a message may be of any length. */
static void cut_long(char *s)
{
    size_t end = MESSAGE_MAX;
    if (strlen(s) <= MESSAGE_MAX + strlen("..."))
        return;
    while (end && ((unsigned char)s[end] & 0xc0) == 0x80)
        end--;
    strcpy(s + end, "...");
}

/* Texts from files go to terminals and into JSON: UTF-8, no control characters, one line. */
static void make_printable(char *s)
{
    while (*s) {
        size_t n = utf8_length(s);
        if (!n || (unsigned char)*s < 0x20 || *s == 0x7f)
            *s = *s == '\n' || *s == '\t' ? ' ' : '?';
        s += n ? n : 1;
    }
}

__attribute__((format(printf, 4, 0))) static void diag_add(struct diag *d, enum diag_level level,
                                                           const struct mark *mark, const char *fmt,
                                                           va_list ap)
{
    static const struct mark nowhere;
    if (!mark)
        mark = &nowhere;
    if (level == DIAG_NOTE && d->last_dropped)
        return;
    if (level == DIAG_ERROR && d->full) { /* what is missing now was not read any more */
        d->last_dropped = true;
        return;
    }
    char *msg = xvasprintf(fmt, ap);
    cut_long(msg);
    make_printable(msg);
    bool drop = d->items.n >= DIAG_MAX;
    if (level != DIAG_NOTE) {
        vec_foreach (&d->items, it)
            if (same_item(it, level, mark, msg)) {
                d->last_dropped = true;
                free(msg);
                return;
            }
        d->last_dropped = drop;
        if (level == DIAG_ERROR)
            d->errors++;
        else
            d->warnings++;
    }
    if (drop) {
        free(msg);
        return;
    }
    vec_push(&d->items, (struct diag_item){
                            .level = level,
                            .file = mark->file ? xstrdup(mark->file) : NULL,
                            .line = mark->line,
                            .col = mark->col,
                            .msg = msg,
                        });
}

void diag_error(struct diag *d, const struct mark *mark, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    diag_add(d, DIAG_ERROR, mark, fmt, ap);
    va_end(ap);
}

void diag_warning(struct diag *d, const struct mark *mark, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    diag_add(d, DIAG_WARNING, mark, fmt, ap);
    va_end(ap);
}

void diag_note(struct diag *d, const struct mark *mark, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    diag_add(d, DIAG_NOTE, mark, fmt, ap);
    va_end(ap);
}

void diag_suggest(struct diag *d, const char *word)
{
    if (!word || d->last_dropped || !d->items.n)
        return;
    struct diag_item *it = &d->items.v[d->items.n - 1];
    while (it > d->items.v && it->level == DIAG_NOTE)
        it--;
    free(it->hint);
    it->hint = xasprintf("did you mean \"%s\"?", word);
    make_printable(it->hint);
}

static struct diag_source *find_source(const struct diag *d, const char *file)
{
    vec_foreach (&d->sources, it)
        if (streq(it->file, file))
            return it;
    return NULL;
}

/* The line's first byte and length, without its end of line. False also where the file is gone. */
static bool find_line(struct diag_source *s, int line, const char **start, size_t *len)
{
    if (s->path)
        fs_read(s->path, SOURCE_MAX, &s->text, &s->len, NULL);
    free(STEAL(s->path));
    if (!s->text)
        return false;
    const char *p = s->text, *end = s->text + s->len;
    for (int i = 1; i < line; i++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (!p)
            return false;
        p++;
    }
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    *start = p;
    *len = (size_t)((nl ? nl : end) - p);
    if (*len && p[*len - 1] == '\r')
        (*len)--;
    return true;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Bytes of the token at p: a quoted string, or up to what ends a plain scalar. */
static size_t token_length(const char *p, size_t len)
{
    if (!len)
        return 0;
    if (*p == '"' || *p == '\'') {
        for (size_t i = 1; i < len; i++)
            if (p[i] == *p)
                return i + 1;
        return len;
    }
    size_t n = 0;
    while (n < len && !strchr(" \t,]}", p[n]) &&
           !(p[n] == ':' && (n + 1 == len || p[n + 1] == ' ')))
        n++;
    return n ? n : 1;
}

static void render_line(const struct diag *d, const struct diag_item *it, bool color,
                        struct strbuf *out)
{
    struct diag_source *s = it->file ? find_source(d, it->file) : NULL;
    const char *line;
    size_t len;
    if (!s || it->line < 1 || !find_line(s, it->line, &line, &len))
        return;
    size_t at = 0; /* byte of the column, which counts characters */
    for (int col = 1; at < len && col < it->col; col++)
        for (at++; at < len && is_continuation(line[at]); at++)
            continue;
    size_t width = token_length(line + at, len - at);
    size_t shown = len > LINE_MAX_SHOWN ? LINE_MAX_SHOWN : len;
    if (at > LINE_MAX_SHOWN - 10)
        return; /* the caret would be out of sight */
    strbuf_addf(out, "%5d | ", it->line);
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)line[i];
        strbuf_addch(out, c == '\t' || (c >= 0x20 && c != 0x7f) ? (char)c : '?');
    }
    strbuf_addstr(out, "\n      | ");
    for (size_t i = 0; i < at; i++)
        if (!is_continuation(line[i]))
            strbuf_addch(out, line[i] == '\t' ? '\t' : ' ');
    if (color)
        strbuf_addstr(out, "\033[1;32m");
    strbuf_addch(out, '^');
    for (size_t i = at + 1; i < at + width && i < shown; i++)
        if (!is_continuation(line[i]))
            strbuf_addch(out, '~');
    strbuf_addstr(out, color ? "\033[0m\n" : "\n");
}

static void render_item(const struct diag *d, const struct diag_item *it, bool color,
                        struct strbuf *out)
{
    static const char *const colors[] = {
        [DIAG_ERROR] = "\033[1;31m",
        [DIAG_WARNING] = "\033[1;33m",
        [DIAG_NOTE] = "\033[1;36m",
    };
    if (it->file)
        strbuf_addstr(out, it->file);
    if (it->file && it->line)
        strbuf_addf(out, ":%d:%d", it->line, it->col);
    strbuf_addf(out, "%s%s%s:%s ", it->file ? ": " : "", color ? colors[it->level] : "",
                level_names[it->level], color ? "\033[0m" : "");
    strbuf_addstr(out, it->msg);
    if (it->hint)
        strbuf_addf(out, "; %s", it->hint);
    strbuf_addch(out, '\n');
    render_line(d, it, color, out);
}

void diag_render_place(const struct diag *d, const struct mark *mark, bool color, const char *msg,
                       struct strbuf *out)
{
    struct diag_item it = {.file = (char *)mark->file, .line = mark->line, .col = mark->col};
    if (it.file)
        strbuf_addf(out, "%s:%d:%d: ", it.file, it.line, it.col);
    char *printable AUTOFREE = xstrdup(msg);
    make_printable(printable);
    strbuf_addf(out, "%s\n", printable);
    render_line(d, &it, color, out);
}

struct order {
    const struct diag_item *item;
    size_t source, seq;
};

static int compare_order(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    if (x->item->line != y->item->line)
        return x->item->line < y->item->line ? -1 : 1;
    if (x->item->col != y->item->col)
        return x->item->col < y->item->col ? -1 : 1;
    return x->seq < y->seq ? -1 : 1;
}

static size_t source_rank(const struct diag *d, const struct diag_item *it)
{
    const struct diag_source *s = it->file ? find_source(d, it->file) : NULL;
    return s ? (size_t)(s - d->sources.v) + 1 : 0;
}

void diag_render(const struct diag *d, enum diag_level level, bool color, struct strbuf *out)
{
    if (!d->items.n)
        return;
    struct order *order AUTOFREE = xcalloc(d->items.n, sizeof(*order));
    size_t n = 0;
    vec_foreach (&d->items, it)
        if (it->level == level) {
            order[n] = (struct order){.item = it, .source = source_rank(d, it), .seq = n};
            n++;
        }
    qsort(order, n, sizeof(*order), compare_order);
    for (size_t i = 0; i < n; i++) {
        const struct diag_item *it = order[i].item;
        render_item(d, it, color, out);
        for (it++; it < d->items.v + d->items.n && it->level == DIAG_NOTE; it++)
            render_item(d, it, color, out);
    }
    size_t total = level == DIAG_ERROR ? d->errors : d->warnings;
    if (total > n)
        strbuf_addf(out, "%zu more %ss not shown\n", total - n, level_names[level]);
}

static json_t *item_to_json(const struct diag_item *it)
{
    json_t *j = json_pack("{s:s, s:s}", "level", level_names[it->level], "message", it->msg);
    if (it->file) {
        char *file AUTOFREE = xstrdup(it->file);
        make_printable(file);
        json_object_set_new(j, "file", json_text(file));
    }
    if (it->line) {
        json_object_set_new(j, "line", json_integer(it->line));
        json_object_set_new(j, "column", json_integer(it->col));
    }
    if (it->hint)
        json_object_set_new(j, "hint", json_text(it->hint));
    return j;
}

json_t *diag_to_json(const struct diag *d)
{
    json_t *list = json_array(), *last = NULL;
    vec_foreach (&d->items, it) {
        json_t *j = item_to_json(it);
        if (it->level == DIAG_NOTE && last) {
            json_t *notes = json_object_get(last, "notes");
            if (!notes) {
                notes = json_array();
                json_object_set_new(last, "notes", notes);
            }
            json_array_append_new(notes, j);
        } else {
            json_array_append_new(list, j);
            last = j;
        }
    }
    return list;
}

char *diag_first_error(const struct diag *d)
{
    vec_foreach (&d->items, it) {
        if (it->level != DIAG_ERROR)
            continue;
        if (it->file && it->line)
            return xasprintf("%s:%d:%d: error: %s", it->file, it->line, it->col, it->msg);
        return it->file ? xasprintf("%s: error: %s", it->file, it->msg)
                        : xasprintf("error: %s", it->msg);
    }
    return NULL;
}

/* Optimal string alignment: insert, delete, replace, swap of neighbours. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            char x = (char)tolower((unsigned char)a[i - 1]);
            char y = (char)tolower((unsigned char)b[j - 1]);
            unsigned best = above[j - 1] + (x != y);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

void closest_try(struct closest *c, const char *candidate)
{
    size_t n = strlen(c->word), m = strlen(candidate);
    if (!n || !m || n > WORD_MAX || m > WORD_MAX || streq(c->word, candidate))
        return;
    unsigned distance = edit_distance(c->word, candidate);
    size_t shorter = n < m ? n : m;
    unsigned limit = c->limit       ? c->limit
                     : shorter < 3  ? 0
                     : shorter == 3 ? 1
                     : shorter <= 6 ? 2
                                    : 3;
    if (distance <= limit && (!c->best || distance < c->distance)) {
        c->best = candidate;
        c->distance = distance;
    }
}
