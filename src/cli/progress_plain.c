/* Progress where nothing can be redrawn: a line or an object an event. */
#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"
#include "cli/progress.h"
#include "cli/reasons.h"

enum { CELLS = 50 }; /* as Docker's */

/* What an item says; of one that moves bytes, how far it is. */
static char *status_of(const struct progress_item *item)
{
    return item->status[0] ? xstrdup(item->status) : progress_bar(item, CELLS);
}

static void plain_event(struct progress *p, const struct progress_item *item)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    char *status AUTOFREE = status_of(item);
    const char *prefix = p->dry_run ? " DRY-RUN MODE - " : "";
    size_t i;
    json_t *reason;
    strbuf_addf(&out, "%s %s %s %s\n", prefix, item->id, item->text, status);
    json_array_foreach (item->fresh_reasons ? item->reasons : NULL, i, reason) {
        char *line AUTOFREE = reason_line(reason);
        strbuf_addf(&out, "%s   %s\n", prefix, line);
    }
    fd_write_all(p->fd, out.buf, out.len);
}

const struct progress_view progress_plain = {
    .event = plain_event, .interval = 2000000000, .parts = 4};

static void set_if(json_t *j, const char *key, const char *value)
{
    if (value && *value)
        json_object_set_new(j, key, json_text(value));
}

static void json_event(struct progress *p, const struct progress_item *item)
{
    json_t *j AUTOJSON = json_object();
    if (p->dry_run)
        json_object_set_new(j, "dry-run", json_true());
    set_if(j, "id", item->id);
    set_if(j, "parent_id", item->parent);
    set_if(j, "text", item->text);
    char *status AUTOFREE = status_of(item);
    set_if(j, "status", status);
    if (item->total && item->state == PROGRESS_WORKING) {
        json_object_set_new(j, "current", json_integer(item->current));
        json_object_set_new(j, "total", json_integer(item->total));
    }
    int64_t percent = item->total ? (int64_t)(100.0 * (double)item->current / (double)item->total)
                                  : 0;
    if (percent > 0)
        json_object_set_new(j, "percent", json_integer(percent > 100 ? 100 : percent));
    if (item->fresh_reasons)
        json_object_set(j, "reasons", item->reasons);
    struct strbuf out AUTOBUF = STRBUF_INIT;
    /* Keys in the reference's order, which is the order of insertion. */
    char *text AUTOFREE = json_dumps(j, JSON_COMPACT);
    strbuf_addf(&out, "%s\n", text ? text : "{}");
    fd_write_all(p->fd, out.buf, out.len);
}

const struct progress_view progress_json = {
    .event = json_event, .interval = 500000000, .parts = 16};
