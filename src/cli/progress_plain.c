/* Progress where nothing can be redrawn: a line or an object an event. */
#include "base/fd.h"
#include "base/mem.h"
#include "cli/progress.h"

static void plain_event(struct progress *p, const struct progress_item *item)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    strbuf_addf(&out, "%s %s %s %s\n", p->dry_run ? " DRY-RUN MODE - " : "", item->id, item->text,
                item->status);
    fd_write_all(p->fd, out.buf, out.len);
}

const struct progress_view progress_plain = {.event = plain_event};

static void set_if(json_t *j, const char *key, const char *value)
{
    if (value && *value)
        json_object_set_new(j, key, json_string_nocheck(value));
}

static void json_event(struct progress *p, const struct progress_item *item)
{
    json_t *j AUTOJSON = json_object();
    if (p->dry_run)
        json_object_set_new(j, "dry-run", json_true());
    set_if(j, "id", item->id);
    set_if(j, "parent_id", item->parent);
    set_if(j, "text", item->text);
    set_if(j, "status", item->status);
    if (item->total) {
        json_object_set_new(j, "current", json_integer(item->current));
        json_object_set_new(j, "total", json_integer(item->total));
    }
    struct strbuf out AUTOBUF = STRBUF_INIT;
    /* Keys in the reference's order, which is the order of insertion. */
    char *text AUTOFREE = json_dumps(j, JSON_COMPACT);
    strbuf_addf(&out, "%s\n", text ? text : "{}");
    fd_write_all(p->fd, out.buf, out.len);
}

const struct progress_view progress_json = {.event = json_event};
