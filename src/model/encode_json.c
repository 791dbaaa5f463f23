#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/encode.h"
#include "model/sink.h"

static void new_line(struct json_sink *s)
{
    if (s->sink.flags & ENCODE_COMPACT)
        return;
    static const char spaces[] = "                                                                ";
    strbuf_addch(s->sink.out, '\n');
    for (size_t n = (size_t)s->depth * 2, part; n; n -= part) {
        part = n < sizeof(spaces) - 1 ? n : sizeof(spaces) - 1;
        strbuf_add(s->sink.out, spaces, part);
    }
}

static void put_escape(struct strbuf *out, unsigned char c)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    const char *at = strchr(from, c);
    if (at && c)
        strbuf_addf(out, "\\%c", to[at - from]);
    else
        strbuf_addf(out, "\\u%04x", c);
}

/* As Go's encoding/json: <, >, & and the line separators are escaped too. */
static void put_text(struct json_sink *s, const char *text)
{
    struct strbuf *out = s->sink.out;
    strbuf_addch(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        size_t plain = strspn((const char *)p, "abcdefghijklmnopqrstuvwxyz0123456789_-./: "
                                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        if (plain > 1) {
            strbuf_add(out, p, plain);
            p += plain - 1;
            continue;
        }
        if (*p < 0x20 || strchr("\"\\<>&", *p)) {
            put_escape(out, *p);
        } else if (*p == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
            strbuf_addf(out, "\\u20%02x", p[2] - 0x80);
            p += 2;
        } else {
            size_t n = utf8_length((const char *)p);
            strbuf_add(out, n ? (const char *)p : "\xef\xbf\xbd", n ? n : 3); /* U+FFFD */
            p += n ? n - 1 : 0;
            if (*p == '$' && !(s->sink.flags & ENCODE_KEEP_DOLLAR))
                strbuf_addch(out, '$');
        }
    }
    strbuf_addch(out, '"');
}

/* Shortest digits; an exponent only below 1e-6 and from 1e21 on. */
static void put_float(struct json_sink *s, const struct node *n)
{
    if (n->tag == TAG_UINT64) {
        strbuf_addf(s->sink.out, "%" PRIu64, n->whole);
        return;
    }
    if (!isfinite(n->number)) {
        s->sink.failed = true;
        return;
    }
    char buf[40];
    double size = fabs(n->number);
    node_format_float(n->number, n->tag == TAG_FLOAT32 ? 32 : 64, 21, buf);
    char *e = strchr(buf, 'e');
    if (e && size >= 1e-6 && size < 1e-4) {
        int digits = 0;
        for (const char *p = buf; p < e; p++)
            digits += *p >= '0' && *p <= '9';
        snprintf(buf, sizeof(buf), "%.*f", digits - 1 - atoi(e + 1), n->number);
    } else if (e && e[1] == '-' && e[2] == '0') {
        memmove(e + 2, e + 3, strlen(e + 3) + 1); /* 1e-09 as 1e-9 */
    }
    strbuf_addstr(s->sink.out, buf);
}

static void json_open(struct json_sink *s, size_t n, bool sequence)
{
    strbuf_addstr(s->sink.out, sequence ? n ? "[" : "[]" : n ? "{" : "{}");
    if (!n)
        return;
    s->depth++;
    s->first[s->depth] = true;
    s->sequence[s->depth] = sequence;
}

static void json_mapping(struct sink *sink, size_t n)
{
    json_open((struct json_sink *)sink, n, false);
}

static void json_sequence(struct sink *sink, size_t n)
{
    json_open((struct json_sink *)sink, n, true);
}

static void json_item(struct sink *sink)
{
    struct json_sink *s = (struct json_sink *)sink;
    if (!s->first[s->depth])
        strbuf_addch(s->sink.out, ',');
    s->first[s->depth] = false;
    new_line(s);
}

static void json_key(struct sink *sink, const char *key)
{
    struct json_sink *s = (struct json_sink *)sink;
    json_item(sink);
    put_text(s, key);
    strbuf_addstr(s->sink.out, s->sink.flags & ENCODE_COMPACT ? ":" : ": ");
}

static void json_end(struct sink *sink)
{
    struct json_sink *s = (struct json_sink *)sink;
    bool sequence = s->sequence[s->depth--];
    new_line(s);
    strbuf_addch(s->sink.out, sequence ? ']' : '}');
}

static void json_scalar(struct sink *sink, const struct node *n)
{
    struct json_sink *s = (struct json_sink *)sink;
    if (n->kind == NODE_NULL)
        strbuf_addstr(sink->out, "null");
    else if (n->kind == NODE_BOOL)
        strbuf_addstr(sink->out, n->boolean ? "true" : "false");
    else if (n->kind == NODE_INT)
        strbuf_addf(sink->out, "%" PRId64, n->integer);
    else if (n->kind == NODE_FLOAT)
        put_float(s, n);
    else
        put_text(s, n->string);
}

void json_sink_init(struct json_sink *s, struct strbuf *out, unsigned flags)
{
    s->sink = (struct sink){
        .mapping = json_mapping,
        .key = json_key,
        .sequence = json_sequence,
        .item = json_item,
        .end = json_end,
        .scalar = json_scalar,
        .out = out,
        .flags = flags,
        .json = true,
    };
    s->depth = 0;
}
