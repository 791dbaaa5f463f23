#include "cli/reasons.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "cli/terminal.h"

enum { VALUE_WIDTH = 60 };

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

static char *value_text(const json_t *v, bool sensitive)
{
    if (!v)
        return xstrdup("(none)");
    if (sensitive)
        return xstrdup("***");
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    if (text && text_width(text) > VALUE_WIDTH) {
        text[text_fit(text, VALUE_WIDTH - 3)] = '\0';
        char *cut = xasprintf("%s...", text);
        free(text);
        text = cut;
    }
    return text ? text : xstrdup("?");
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
