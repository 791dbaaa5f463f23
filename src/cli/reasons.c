#include "cli/reasons.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "cli/terminal.h"

enum { VALUE_WIDTH = 60, SHORT_ID = 12 };

/* The path without the service that the line is about anyway. */
static size_t first_step(const json_t *path)
{
    const char *section = json_string_value(json_array_get(path, 0));
    return section && streq(section, "services") && json_array_size(path) > 2 ? 2 : 0;
}

static char *field_of(const json_t *path)
{
    struct strbuf sb = STRBUF_INIT;
    for (size_t i = first_step(path); i < json_array_size(path); i++) {
        const json_t *step = json_array_get(path, i);
        if (json_is_integer(step))
            strbuf_addf(&sb, "[%lld]", (long long)json_integer_value(step));
        else
            strbuf_addf(&sb, "%s%s", sb.len ? "." : "", json_string_value(step));
    }
    return strbuf_detach(&sb);
}

/* Output ends up in logs of CI: what looks like a password is not repeated there. */
static bool is_sensitive(const json_t *path)
{
    static const char *const words[] = {"password", "passwd", "secret",      "token",
                                        "api_key",  "apikey", "private_key", "credential"};
    const char *section = json_string_value(json_array_get(path, 0));
    const char *name = json_string_value(json_array_get(path, json_array_size(path) - 1));
    if (section && streq(section, "secrets") && name && streq(name, "content"))
        return true;
    for (size_t i = 0; name && i < ARRAY_SIZE(words); i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

/* `"so much of it..."`, in quotes whatever has to be escaped. */
static char *string_in(const char *s, int width)
{
    for (int room = width - (int)strlen("\"...\"");; room--) {
        char *start AUTOFREE = xstrndup(s, room > 0 ? text_fit(s, room) : 0);
        char *cut AUTOFREE = xasprintf("%s...", start);
        json_t *v AUTOJSON = json_string_nocheck(cut);
        char *text = json_dumps(v, JSON_ENCODE_ANY);
        if (room <= 0 || text_width(text) <= width)
            return text;
        free(text);
    }
}

static char *text_in(const json_t *v, int width);

/* False: the member does not fit any more, and nothing does after it; the first one is cut instead. */
static bool add_member(struct strbuf *sb, const char *key, const json_t *v, size_t i, int width)
{
    char *name AUTOFREE = key ? xasprintf("\"%s\": ", key) : xstrdup("");
    char *whole AUTOFREE = json_dumps(v, JSON_ENCODE_ANY);
    int room = width - text_width(sb->buf) - text_width(name) - (int)strlen(", , ...]");
    bool fits = text_width(whole) <= room;
    char *part AUTOFREE = i || fits ? NULL : text_in(v, room);
    if (i)
        strbuf_addstr(sb, ", ");
    if (fits || part)
        strbuf_addf(sb, "%s%s", name, fits ? whole : part);
    else
        strbuf_addstr(sb, "...");
    return fits;
}

static char *members_in(const json_t *v, int width)
{
    struct strbuf sb = STRBUF_INIT;
    const char *key;
    json_t *member;
    size_t i = 0;
    strbuf_addstr(&sb, json_is_array(v) ? "[" : "{");
    json_array_foreach (v, i, member)
        if (!add_member(&sb, NULL, member, i, width))
            break;
    json_object_foreach ((json_t *)v, key, member) {
        if (!add_member(&sb, key, member, i, width))
            break;
        i++;
    }
    if (i == 0 && json_array_size(v) + json_object_size(v) > 1)
        strbuf_addstr(&sb, ", ...");
    strbuf_addstr(&sb, json_is_array(v) ? "]" : "}");
    return strbuf_detach(&sb);
}

/* The value as JSON, cut within its quotes and brackets where it is wider. */
static char *text_in(const json_t *v, int width)
{
    char *text AUTOFREE = json_dumps(v, JSON_ENCODE_ANY);
    if (!text)
        return xstrdup("?");
    if (text_width(text) <= width)
        return STEAL(text);
    if (json_is_string(v))
        return string_in(json_string_value(v), width);
    return members_in(v, width);
}

static bool is_image_id(const char *s)
{
    return starts_with(s, "sha256:") && strlen(s) == strlen("sha256:") + 64;
}

static char *value_text(const json_t *v, bool sensitive)
{
    const char *s = json_string_value(v);
    if (!v)
        return xstrdup("(none)");
    if (sensitive)
        return xstrdup("***");
    if (s && is_image_id(s)) /* as `images` shows it: two fit in a line */
        return xstrndup(s + strlen("sha256:"), SHORT_ID);
    return text_in(v, VALUE_WIDTH);
}

static const struct node *step_into(const struct node *n, const json_t *step, struct mark *mark)
{
    if (json_is_integer(step)) {
        size_t i = (size_t)json_integer_value(step);
        if (!node_is(n, NODE_SEQUENCE) || i >= n->count)
            return NULL;
        *mark = n->items[i]->mark;
        return n->items[i];
    }
    const struct node_pair *pair = node_pair(n, json_string_value(step));
    if (!pair)
        return NULL;
    if (pair->key_mark.line || pair->value->mark.line)
        *mark = pair->key_mark.line ? pair->key_mark : pair->value->mark;
    return pair->value;
}

char *place_of_path(const struct project *p, const json_t *path)
{
    const struct node *n = p ? p->document : NULL;
    struct mark mark = {0};
    for (size_t i = 0; n && i < json_array_size(path); i++)
        n = step_into(n, json_array_get(path, i), &mark);
    return mark.file && mark.line ? xasprintf("%s:%d", mark.file, mark.line) : NULL;
}

int err_at_path(struct err *err, const struct project *p, const json_t *path)
{
    char *at AUTOFREE = place_of_path(p, path);
    if (!at || !err || !err->msg)
        return -1;
    size_t first = strcspn(err->msg, "\n"); /* the cause follows in lines of its own */
    char *said AUTOFREE = err->msg;
    err->msg = xasprintf("%.*s (%s)%s", (int)first, said, at, said + first);
    return -1;
}

static json_t *resolve(const json_t *reason, const struct project *p)
{
    const json_t *path = json_object_get(reason, "path");
    const json_t *old = json_object_get(reason, "old"), *now = json_object_get(reason, "new");
    const char *text = jstr(reason, "text", NULL);
    json_t *out = json_object();
    if (path) {
        char *field AUTOFREE = field_of(path), *at AUTOFREE = place_of_path(p, path);
        jset_str(out, "field", field);
        if (old || now) {
            bool sensitive = is_sensitive(path);
            char *before AUTOFREE = value_text(old, sensitive);
            char *after AUTOFREE = value_text(now, sensitive);
            jset_str(out, "old", before);
            jset_str(out, "new", after);
        }
        jset_str(out, "at", at);
    }
    jset_str(out, "text", text);
    return out;
}

json_t *reasons_resolve(const json_t *reasons, const struct project *p)
{
    if (!json_is_array(reasons))
        return NULL;
    json_t *out = json_array();
    size_t i;
    json_t *reason;
    json_array_foreach (reasons, i, reason)
        json_array_append_new(out, resolve(reason, p));
    return out;
}

char *reason_line(const json_t *reason)
{
    struct strbuf sb = STRBUF_INIT;
    const char *field = jstr(reason, "field", NULL), *text = jstr(reason, "text", NULL);
    const char *old = jstr(reason, "old", NULL), *now = jstr(reason, "new", NULL);
    const char *at = jstr(reason, "at", NULL);
    if (field)
        strbuf_addf(&sb, "%s%s", field, text || old ? ": " : "");
    if (text)
        strbuf_addf(&sb, "%s%s", text, old ? ": " : "");
    if (old)
        strbuf_addf(&sb, "%s -> %s", old, now);
    if (at)
        strbuf_addf(&sb, " (%s)", at);
    return strbuf_detach(&sb);
}
