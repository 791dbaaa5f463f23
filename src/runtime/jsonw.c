#include "runtime/jsonw.h"

#include <stddef.h>
#include <string.h>

#include "base/utf8.h"

static void put_string(struct strbuf *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    strbuf_addch(out, '"');
    while (*s) {
        const unsigned char *run = s;
        while (*run >= 0x20 && *run < 0x80 && *run != '"' && *run != '\\')
            run++;
        strbuf_add(out, s, (size_t)(run - s));
        s = run;
        if (!*s)
            break;
        if (*s == '"' || *s == '\\') {
            strbuf_addch(out, '\\');
            strbuf_addch(out, (char)*s++);
        } else if (*s < 0x20) {
            strbuf_addf(out, "\\u%04x", *s++);
        } else {
            size_t n = utf8_length((const char *)s);
            strbuf_add(out, n ? (const char *)s : "\\ufffd", n ? n : 6);
            s += n ? n : 1;
        }
    }
    strbuf_addch(out, '"');
}

static void start(struct jsonw *w, const char *key)
{
    if (w->comma)
        strbuf_addch(&w->out, ',');
    if (key) {
        put_string(&w->out, key);
        strbuf_addch(&w->out, ':');
    }
    w->comma = true;
}

static void open_with(struct jsonw *w, const char *key, char bracket)
{
    start(w, key);
    strbuf_addch(&w->out, bracket);
    w->comma = false;
}

static void close_with(struct jsonw *w, char bracket)
{
    strbuf_addch(&w->out, bracket);
    w->comma = true;
}

void jsonw_object(struct jsonw *w, const char *key)
{
    open_with(w, key, '{');
}

void jsonw_array(struct jsonw *w, const char *key)
{
    open_with(w, key, '[');
}

void jsonw_end_object(struct jsonw *w)
{
    close_with(w, '}');
}

void jsonw_end_array(struct jsonw *w)
{
    close_with(w, ']');
}

void jsonw_str(struct jsonw *w, const char *key, const char *value)
{
    start(w, key);
    put_string(&w->out, value);
}

void jsonw_int(struct jsonw *w, const char *key, int64_t value)
{
    start(w, key);
    strbuf_addf(&w->out, "%lld", (long long)value);
}

void jsonw_uint(struct jsonw *w, const char *key, uint64_t value)
{
    start(w, key);
    strbuf_addf(&w->out, "%llu", (unsigned long long)value);
}

void jsonw_bool(struct jsonw *w, const char *key, bool value)
{
    start(w, key);
    strbuf_addstr(&w->out, value ? "true" : "false");
}

void jsonw_raw(struct jsonw *w, const char *key, const char *json)
{
    start(w, key);
    strbuf_addstr(&w->out, json);
}

void jsonw_strv(struct jsonw *w, const char *key, const char *const *v)
{
    jsonw_array(w, key);
    for (size_t i = 0; v && v[i]; i++)
        jsonw_str(w, NULL, v[i]);
    jsonw_end_array(w);
}
