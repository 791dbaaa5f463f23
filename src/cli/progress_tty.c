/* Progress on a terminal: a block of lines, drawn again in place.
 *
 *   [+] Running 2/3
 *    ✔ Network p_default  Created       0.1s
 *    ⠹ Container p-web-1  Starting      0.4s
 *
 * Each draw is one write(2): cursor up over the last block, then the new one. */
#include <stdio.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"
#include "cli/progress.h"
#include "cli/reasons.h"
#include "cli/terminal.h"

#define RESET  "\033[0m"
#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define BLUE   "\033[34m"

static const char *const spinner[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};

static const char *color_of(enum progress_state s)
{
    switch (s) {
    case PROGRESS_WORKING:
    case PROGRESS_WARNING:
        return YELLOW;
    case PROGRESS_DONE:
        return GREEN;
    case PROGRESS_ERROR:
        return RED;
    }
    return "";
}

static const char *icon_of(const struct progress *p, enum progress_state s)
{
    switch (s) {
    case PROGRESS_WORKING:
        return spinner[p->frame % ARRAY_SIZE(spinner)];
    case PROGRESS_WARNING:
        return "!";
    case PROGRESS_DONE:
        return "✔";
    case PROGRESS_ERROR:
        return "✘";
    }
    return " ";
}

static void add_colored(const struct progress *p, struct strbuf *out, const char *color,
                        const char *text)
{
    if (p->color && *color)
        strbuf_addf(out, "%s%s" RESET, color, text);
    else
        strbuf_addstr(out, text);
}

/* How far it is and how fast, in so many columns. */
static char *transfer(const struct progress_item *item, int room)
{
    enum { NUMBERS = 34, CELLS_MIN = 5 }; /* "[>] 123.4MB/123.4MB  123.4MB/s" */
    int cells = room - NUMBERS;
    char *bar AUTOFREE = progress_bar(item, cells < CELLS_MIN ? 0 : cells);
    int64_t ms = (time_monotonic() - item->since) / 1000000;
    char rate[32];
    if (!*bar || ms < 200)
        return xstrdup(bar);
    return xasprintf("%s  %s/s", bar, size_format(item->current * 1000 / ms, rate));
}

/* The layers of an image in one line: "[⣿⣿⣷⠀] 12MB / 98MB". */
static char *summary(const struct progress *p, const struct progress_item *item)
{
    static const char *const levels[] = {"⠀", "⡀", "⣀", "⣄", "⣤", "⣦", "⣶", "⣷", "⣿"};
    if (item->state != PROGRESS_WORKING)
        return xstrdup("");
    struct strbuf cells AUTOBUF = STRBUF_INIT;
    int64_t current = 0, total = 0;
    map_foreach (&p->items, it) {
        const struct progress_item *c = it->value;
        if (!c->parent || !streq(c->parent, item->id))
            continue;
        current += c->total && c->state == PROGRESS_WORKING ? c->current : c->total;
        total += c->total;
        size_t level = c->state == PROGRESS_DONE ? 8
                       : c->total                ? (size_t)(c->current * 8 / c->total)
                                                 : 0;
        strbuf_addstr(&cells, levels[level > 8 ? 8 : level]);
    }
    char have[32], want[32];
    if (!cells.len)
        return xstrdup("");
    if (!total)
        return xasprintf(" [%s]", cells.buf);
    return xasprintf(" [%s] %s / %s", cells.buf, size_format(current, have),
                     size_format(total, want));
}

static char *left_of(const struct progress *p, const struct progress_item *item)
{
    char *extra AUTOFREE = item->parent ? xstrdup("") : summary(p, item);
    return xasprintf("%s%s %s", item->id, extra, item->text);
}

static void draw_item(const struct progress *p, struct strbuf *out,
                      const struct progress_item *item, int pad, int width)
{
    const char *indent = item->parent ? "   " : " ";
    const char *prefix = p->dry_run ? " DRY-RUN MODE - " : "";
    char *left AUTOFREE = left_of(p, item);
    int64_t now = item->end ? item->end : time_monotonic();
    char timer[24];
    snprintf(timer, sizeof(timer), "%.1fs ", (double)(now - item->begin) / 1e9);

    int room = width - text_width(prefix) - (int)strlen(indent) - 2 - (int)strlen(timer);
    char *head AUTOFREE = xstrndup(left, text_fit(left, room > 0 ? room : 0));
    int fill = pad - (int)strlen(indent) - text_width(head);
    struct strbuf body AUTOBUF = STRBUF_INIT;
    strbuf_addf(&body, "%s%*s", head, fill > 0 ? fill : 0, "");
    room -= text_width(body.buf) + 1;

    char *progress AUTOFREE = item->parent && !item->status[0] ? transfer(item, room) : xstrdup("");
    char *status AUTOFREE = xasprintf("%s%s", item->status, progress);
    /* Only the first line: the rest is told at the end. */
    status[strcspn(status, "\n")] = '\0';
    if (text_width(status) > room) {
        status[text_fit(status, room > 3 ? room - 3 : 0)] = '\0';
        char *cut = xasprintf("%s%s", status, room > 3 ? "..." : "");
        free(status);
        status = cut;
    }
    int gap = room - text_width(status);

    strbuf_addf(out, "%s%s", prefix, indent);
    add_colored(p, out, color_of(item->state), icon_of(p, item->state));
    strbuf_addf(out, " %s ", body.buf);
    add_colored(p, out, item->state == PROGRESS_WORKING ? "" : color_of(item->state), status);
    strbuf_addf(out, "%*s", gap > 0 ? gap : 0, "");
    add_colored(p, out, BLUE, timer);
    strbuf_addstr(out, "\033[K\n");
}

/* Below its item, as far as the screen goes. */
static void draw_reasons(const struct progress *p, struct strbuf *out,
                         const struct progress_item *item, int width, int rows, int *lines)
{
    const char *prefix = p->dry_run ? " DRY-RUN MODE - " : "";
    size_t i;
    json_t *reason;
    json_array_foreach (item->reasons, i, reason) {
        char *line AUTOFREE = reason_line(reason);
        int room = width - text_width(prefix) - 5;
        if (*lines + 1 >= rows)
            return;
        line[text_fit(line, room > 0 ? room : 0)] = '\0';
        strbuf_addf(out, "%s     %s\033[K\n", prefix, line);
        ++*lines;
    }
}

static int left_width(const struct progress *p)
{
    int widest = 0;
    map_foreach (&p->items, it) {
        const struct progress_item *item = it->value;
        char *left AUTOFREE = left_of(p, item);
        int w = text_width(left) + (item->parent ? 3 : 1);
        widest = w > widest ? w : widest;
    }
    return widest;
}

/* How many items fit; layers are left out first, then what is done. */
static bool is_shown(const struct progress *p, const struct progress_item *item, int rows)
{
    if ((int)p->items.live + 2 <= rows)
        return true;
    if (item->parent)
        return false;
    size_t top = 0;
    map_foreach (&p->items, it) {
        top += !((struct progress_item *)it->value)->parent;
    }
    return (int)top + 2 <= rows || item->state != PROGRESS_DONE;
}

static void draw_children(const struct progress *p, struct strbuf *out,
                          const struct progress_item *of, int pad, int width, int rows, int *lines)
{
    map_foreach (&p->items, it) {
        const struct progress_item *child = it->value;
        if (child->parent && streq(child->parent, of->id) && is_shown(p, child, rows) &&
            *lines + 1 < rows) {
            draw_item(p, out, child, pad, width);
            ++*lines;
        }
    }
}

static void erase(const struct progress *p, struct strbuf *out)
{
    if (p->lines)
        strbuf_addf(out, "\033[%dA", p->lines);
    strbuf_addstr(out, "\r");
}

static void tty_draw(struct progress *p)
{
    int rows = 24, width = 80;
    terminal_size(p->fd, &rows, &width);
    struct strbuf out AUTOBUF = STRBUF_INIT;
    strbuf_addstr(&out, "\033[?25l");
    erase(p, &out);

    size_t n = 0;
    map_foreach (&p->items, it) {
        n++;
    }
    char *head AUTOFREE = xasprintf("[+] %s %zu/%zu", p->title, p->done, n);
    add_colored(p, &out, p->done == n ? BLUE : "", head);
    strbuf_addstr(&out, "\033[K\n");
    int lines = 1, pad = left_width(p);
    map_foreach (&p->items, it) {
        const struct progress_item *item = it->value;
        if (item->parent || lines + 1 >= rows || !is_shown(p, item, rows))
            continue;
        draw_item(p, &out, item, pad, width);
        lines++;
        draw_reasons(p, &out, item, width, rows, &lines);
        draw_children(p, &out, item, pad, width, rows, &lines);
    }
    /* A block that has become shorter leaves nothing behind. */
    strbuf_addstr(&out, "\033[J\033[?25h");
    fd_write_all(p->fd, out.buf, out.len);
    p->lines = lines;
    p->dirty = false;
}

static void tty_clear(struct progress *p)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    erase(p, &out);
    strbuf_addstr(&out, "\033[J");
    fd_write_all(p->fd, out.buf, out.len);
    p->lines = 0;
}

const struct progress_view progress_tty = {.draw = tty_draw, .clear = tty_clear};
