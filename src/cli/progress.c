#include "cli/progress.h"

#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"

void progress_init(struct progress *p, const struct cli *cli, const char *title)
{
    *p = (struct progress){
        .fd = cli->progress_fd,
        .color = cli->progress_fd == 1 ? cli->color_out : cli->color_err,
        .dry_run = cli->dry_run,
        .title = xstrdup(title),
    };
    switch (cli->progress) {
    case PROGRESS_TTY:
        p->view = &progress_tty;
        break;
    case PROGRESS_PLAIN:
        p->view = &progress_plain;
        break;
    case PROGRESS_JSON:
        p->view = &progress_json;
        break;
    case PROGRESS_QUIET:
        break;
    }
}

static bool is_final(enum progress_state s)
{
    return s != PROGRESS_WORKING;
}

static void replace(char **s, const char *with)
{
    free(*s);
    *s = xstrdup(with ? with : "");
}

static bool has_moved(const struct progress_view *view, const struct progress_item *item,
                      int64_t now)
{
    return item->total > 0 && item->current > item->told &&
           (now - item->told_at >= view->interval ||
            item->current - item->told >= item->total / view->parts);
}

void progress_event(struct progress *p, const struct progress_event *e)
{
    struct progress_item *item = map_get(&p->items, e->id);
    if (!item) {
        item = xcalloc(1, sizeof(*item));
        item->id = xstrdup(e->id);
        item->parent = e->parent ? xstrdup(e->parent) : NULL;
        item->begin = time_monotonic();
        map_set(&p->items, e->id, item);
    }
    int64_t now = time_monotonic();
    if (!item->text || !streq(item->text, e->text ? e->text : ""))
        item->since = now;
    bool was_final = item->end != 0;
    bool same = item->text && streq(item->text, e->text ? e->text : "") &&
                streq(item->status, e->status ? e->status : "") && item->state == e->state;
    replace(&item->text, e->text);
    replace(&item->status, e->status);
    item->state = e->state;
    item->fresh_reasons = e->reasons != NULL;
    if (e->reasons) {
        json_decref(item->reasons);
        item->reasons = json_incref(e->reasons);
    }
    item->current = e->current;
    item->total = e->total;
    if (is_final(e->state) && !was_final) {
        item->end = now;
        p->done++;
    } else if (!is_final(e->state) && was_final) {
        /* Created, then Starting: the clock starts again, as the reference's does. */
        item->begin = now;
        item->end = 0;
        p->done--;
    }
    p->dirty = true;
    if (p->view && p->view->event && (!same || has_moved(p->view, item, now))) {
        item->told = item->current;
        item->told_at = now;
        p->view->event(p, item);
    }
}

char *progress_bar(const struct progress_item *item, int cells)
{
    enum { CELLS_MAX = 50 };
    char have[32], want[32], arrow[CELLS_MAX + 1];
    if (!item->total || item->current <= 0 || item->state != PROGRESS_WORKING)
        return xstrdup("");
    size_format(item->current, have);
    size_format(item->total, want);
    if (cells <= 0)
        return xasprintf("%s/%s", have, want);
    cells = cells < CELLS_MAX ? cells : CELLS_MAX;
    int64_t current = item->current > item->total ? item->total : item->current;
    int full = (int)((double)current / (double)item->total * cells);
    memset(arrow, '=', (size_t)full);
    arrow[full] = '\0';
    return xasprintf("[%s>%*s] %8s/%s", arrow, cells - full, "", have, want);
}

void progress_tick(struct progress *p)
{
    p->frame++;
    if (p->view && p->view->draw && p->items.live)
        p->view->draw(p);
}

void progress_line(struct progress *p, const char *line)
{
    if (!p->view)
        return;
    if (p->view->clear)
        p->view->clear(p);
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (p->view == &progress_json) {
        json_t *j AUTOJSON = json_pack("{s:s%}", "text", line, strlen(line));
        char *text AUTOFREE = j ? json_go(j) : xstrdup("{}");
        strbuf_addf(&out, "%s\n", text);
    } else {
        strbuf_addf(&out, "%s\n", line);
    }
    fd_write_all(p->fd, out.buf, out.len);
    if (p->view->draw && p->items.live)
        p->view->draw(p);
}

void progress_flush(struct progress *p)
{
    if (p->dirty && p->view && p->view->draw && p->items.live)
        p->view->draw(p);
    p->lines = 0;
    p->dirty = false;
}

void progress_release(struct progress *p)
{
    map_foreach (&p->items, it) {
        struct progress_item *item = it->value;
        free(item->id);
        free(item->parent);
        free(item->text);
        free(item->status);
        json_decref(item->reasons);
        free(item);
    }
    map_release(&p->items);
    free(p->title);
    *p = (struct progress){0};
}

static void on_tick(uv_timer_t *timer)
{
    struct progress_ticker *t = container_of(timer, struct progress_ticker, timer);
    progress_tick(t->progress);
}

void progress_ticker_start(struct progress_ticker *t, uv_loop_t *loop, struct progress *p)
{
    t->progress = p;
    uv_timer_init(loop, &t->timer);
    if (p->view && p->view->draw) {
        uv_timer_start(&t->timer, on_tick, 30, 100);
        uv_unref((uv_handle_t *)&t->timer);
    }
}

void progress_ticker_stop(struct progress_ticker *t)
{
    uv_close((uv_handle_t *)&t->timer, NULL);
}
