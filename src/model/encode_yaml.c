#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "file/scalar.h"
#include "model/encode.h"
#include "model/sink.h"

/* What a string allows of the styles, as libyaml's emitter judges it. */
struct analysis {
    bool plain, single, block;
};

static size_t decode_utf8(const unsigned char *p, uint32_t *c)
{
    size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    *c = n == 1 ? *p : *p & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return i;
        *c = *c << 6 | (p[i] & 0x3f);
    }
    return n;
}

static bool is_printable(uint32_t c)
{
    return c == '\n' || (c >= 0x20 && c <= 0x7e) ||
           (c >= 0xa0 && c <= 0xd7ff && c != 0x2028 && c != 0x2029) ||
           (c >= 0xe000 && c <= 0xfffd && c != 0xfeff);
}

static struct analysis analyze(const char *s)
{
    struct analysis a = {true, true, true};
    size_t len = strlen(s);
    if (!len)
        return (struct analysis){true, true, false};
    bool after_space = true, after_break = false, indicator = false;
    if (starts_with(s, "---") || starts_with(s, "..."))
        indicator = true;
    for (size_t i = 0, width; i < len; i += width) {
        uint32_t c;
        width = decode_utf8((const unsigned char *)s + i, &c);
        char next = s[i + width];
        bool space_next = !next || next == ' ' || next == '\n' || next == '\t';
        bool space = c == ' ', line = c == '\n', last = i + width == len;
        if (i == 0 && c < 0x80 && strchr("#,[]{}&*!|>'\"%@`", (int)c))
            indicator = true;
        if (i == 0 && c < 0x80 && strchr("?:-", (int)c) && space_next)
            indicator = true;
        if (i > 0 && ((c == ':' && space_next) || (c == '#' && after_space)))
            indicator = true;
        if (c == '\t')
            a.plain = a.single = false;
        else if (!is_printable(c))
            a.plain = a.single = a.block = false;
        if (space || line) {
            if (i == 0 || last)
                a.plain = false;
            if (space && last)
                a.block = false;
            if (space && after_break)
                a.plain = a.single = false;
            if (line && after_space && i > 0 && s[i - 1] == ' ')
                a.plain = a.single = a.block = false;
        }
        if (line)
            a.plain = false;
        after_break = line;
        after_space = space || line || c == '\t';
    }
    if (indicator)
        a.plain = false;
    return a;
}

/* 190:20:30, a number of YAML 1.1. */
static bool is_sexagesimal(const char *s)
{
    s += *s == '-' || *s == '+';
    if (!isdigit((unsigned char)*s))
        return false;
    s += strspn(s, "0123456789_");
    if (*s != ':')
        return false;
    while (*s == ':') {
        size_t n = strspn(++s, "0123456789");
        if (n < 1 || n > 2 || (n == 2 && *s > '5'))
            return false;
        s += n;
    }
    if (*s == '.')
        s += 1 + strspn(s + 1, "0123456789_");
    return !*s;
}

/* Booleans of YAML 1.1. */
static bool is_old_bool(const char *s)
{
    static const char *const words[] = {"y", "Y", "yes", "Yes", "YES", "on",  "On",  "ON",
                                        "n", "N", "no",  "No",  "NO",  "off", "Off", "OFF"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (streq(s, words[i]))
            return true;
    return false;
}

static void put_dollars(const struct sink *s, char c)
{
    strbuf_addch(s->out, c);
    if (c == '$' && !(s->flags & ENCODE_KEEP_DOLLAR))
        strbuf_addch(s->out, '$');
}

static void put_plain(const struct sink *s, const char *text)
{
    for (;;) {
        size_t n = strcspn(text, "$");
        strbuf_add(s->out, text, n);
        if (!text[n])
            return;
        put_dollars(s, '$');
        text += n + 1;
    }
}

static void put_single(const struct sink *s, const char *text)
{
    strbuf_addch(s->out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            strbuf_addch(s->out, '\'');
        put_dollars(s, *text);
    }
    strbuf_addch(s->out, '\'');
}

static void put_double(const struct sink *s, const char *text)
{
    static const char from[] = "\a\b\t\n\v\f\r\033\"\\", to[] = "abtnvfre\"\\";
    strbuf_addch(s->out, '"');
    for (size_t width; *text; text += width) {
        uint32_t c;
        width = decode_utf8((const unsigned char *)text, &c);
        const char *at = c < 0x80 ? strchr(from, (int)c) : NULL;
        if (at)
            strbuf_addf(s->out, "\\%c", to[at - from]);
        else if (c == 0x85 || c == 0xa0)
            strbuf_addstr(s->out, c == 0x85 ? "\\N" : "\\_");
        else if (c == 0x2028 || c == 0x2029)
            strbuf_addstr(s->out, c == 0x2028 ? "\\L" : "\\P");
        else if (is_printable(c))
            for (size_t i = 0; i < width; i++)
                put_dollars(s, text[i]);
        else
            strbuf_addf(s->out, c <= 0xff ? "\\x%02X" : c <= 0xffff ? "\\u%04X" : "\\U%08X", c);
    }
    strbuf_addch(s->out, '"');
}

static void put_indent(const struct yaml_sink *s, int depth)
{
    static const char spaces[] = "                                                                ";
    for (size_t n = (size_t)depth * 2, part; n; n -= part) {
        part = n < sizeof(spaces) - 1 ? n : sizeof(spaces) - 1;
        strbuf_add(s->sink.out, spaces, part);
    }
}

/* | with its hints: the indentation where the text starts with white space, what becomes of the
 * line breaks at the end. */
static void put_literal(const struct yaml_sink *s, const char *text)
{
    size_t len = strlen(text);
    strbuf_addch(s->sink.out, '|');
    if (*text == ' ' || *text == '\n')
        strbuf_addch(s->sink.out, '2');
    if (text[len - 1] != '\n')
        strbuf_addch(s->sink.out, '-');
    else if (len == 1 || text[len - 2] == '\n')
        strbuf_addch(s->sink.out, '+');
    while (*text) {
        size_t n = strcspn(text, "\n");
        strbuf_addch(s->sink.out, '\n');
        if (n)
            put_indent(s, s->depth);
        for (size_t i = 0; i < n; i++)
            put_dollars(&s->sink, text[i]);
        text += n + (text[n] == '\n');
    }
}

/* A word that starts with a letter and holds nothing that could mean something else: most are. */
static bool is_simple_word(const char *text)
{
    if (!isalpha((unsigned char)*text) && *text != '/')
        return false;
    /* The words of scalar_is_plain_string() and is_old_bool(): true, no, off, null, ... */
    if (strchr("tTfFnNyYoO", *text) && strlen(text) < 6)
        return false;
    return !text[strspn(text,
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")];
}

/* Bytes that are no text; more than a line of them as go-yaml folds them. */
static void put_binary(const struct yaml_sink *s, const char *text)
{
    enum { LINE = 70 };
    struct strbuf all AUTOBUF = STRBUF_INIT, folded AUTOBUF = STRBUF_INIT;
    strbuf_add_base64(&all, text, strlen(text));
    strbuf_addstr(s->sink.out, "!!binary ");
    if (all.len < LINE) {
        strbuf_addstr(s->sink.out, all.buf);
        return;
    }
    for (size_t i = 0; i < all.len; i += LINE)
        strbuf_addf(&folded, "%.*s\n", LINE, all.buf + i);
    put_literal(s, folded.buf);
}

static void put_string(const struct yaml_sink *s, const char *text, bool key)
{
    if (is_simple_word(text)) {
        strbuf_addstr(s->sink.out, text);
        return;
    }
    if (!utf8_is_valid(text)) {
        put_binary(s, text);
        return;
    }
    struct analysis a = analyze(text);
    if (strchr(text, '\n') && !key && a.block)
        put_literal(s, text);
    else if (strchr(text, '\n') || !scalar_is_plain_string(text) || is_sexagesimal(text) ||
             is_old_bool(text))
        put_double(&s->sink, text);
    else if (a.plain)
        put_plain(&s->sink, text);
    else if (a.single)
        put_single(&s->sink, text);
    else
        put_double(&s->sink, text);
}

static void put_float(const struct sink *s, const struct node *n)
{
    char buf[40];
    if (n->tag == TAG_UINT64) {
        strbuf_addf(s->out, "%" PRIu64, n->whole);
        return;
    }
    if (isnan(n->number) || isinf(n->number)) {
        strbuf_addstr(s->out, isnan(n->number) ? ".nan" : n->number > 0 ? ".inf" : "-.inf");
        return;
    }
    node_format_float(n->number, n->tag == TAG_FLOAT32 ? 32 : 64, 6, buf);
    strbuf_addstr(s->out, buf);
}

/* Ends the line before and indents, unless a "- " just did that. */
static void start_entry(struct yaml_sink *s)
{
    if (s->inline_next) {
        s->inline_next = false;
        return;
    }
    if (s->sink.out->len || s->sink.taken)
        strbuf_addch(s->sink.out, '\n');
    if (s->depth > 1)
        put_indent(s, s->depth - 1);
}

static void yaml_open(struct yaml_sink *s, size_t n, bool sequence)
{
    if (!n) {
        strbuf_addstr(s->sink.out,
                      s->depth ? (sequence ? " []" : " {}") : (sequence ? "[]" : "{}"));
        s->inline_next = false;
        return;
    }
    bool in_sequence = s->depth && s->sequence[s->depth];
    if (in_sequence) {
        strbuf_addch(s->sink.out, ' ');
        s->inline_next = true;
    }
    s->depth++;
    s->sequence[s->depth] = sequence;
}

static void yaml_mapping(struct sink *sink, size_t n)
{
    yaml_open((struct yaml_sink *)sink, n, false);
}

static void yaml_sequence(struct sink *sink, size_t n)
{
    yaml_open((struct yaml_sink *)sink, n, true);
}

static void yaml_item(struct sink *sink)
{
    start_entry((struct yaml_sink *)sink);
    strbuf_addch(sink->out, '-');
}

static void yaml_key(struct sink *sink, const char *key)
{
    struct yaml_sink *s = (struct yaml_sink *)sink;
    start_entry(s);
    put_string(s, key, true);
    strbuf_addch(sink->out, ':');
}

static void yaml_end(struct sink *sink)
{
    ((struct yaml_sink *)sink)->depth--;
}

static void yaml_scalar(struct sink *sink, const struct node *n)
{
    struct yaml_sink *s = (struct yaml_sink *)sink;
    if (s->depth)
        strbuf_addch(sink->out, ' ');
    if (n->kind == NODE_NULL)
        strbuf_addstr(sink->out, "null");
    else if (n->kind == NODE_BOOL)
        strbuf_addstr(sink->out, n->boolean ? "true" : "false");
    else if (n->kind == NODE_INT)
        strbuf_addf(sink->out, "%" PRId64, n->integer);
    else if (n->kind == NODE_FLOAT)
        put_float(sink, n);
    else if (n->tag == TAG_TIMESTAMP)
        strbuf_addstr(sink->out, n->string);
    else
        put_string(s, n->string, false);
}

void yaml_sink_init(struct yaml_sink *s, struct strbuf *out, unsigned flags)
{
    s->sink = (struct sink){
        .mapping = yaml_mapping,
        .key = yaml_key,
        .sequence = yaml_sequence,
        .item = yaml_item,
        .end = yaml_end,
        .scalar = yaml_scalar,
        .out = out,
        .flags = flags,
    };
    s->depth = 0;
    s->inline_next = false;
}

static bool is_letter(unsigned char c)
{
    return isalpha(c) || c >= 0x80;
}

/* The value of the digits at s + i, which follow the same text in both keys. */
static size_t number_at(const char *s, size_t i, int64_t *v)
{
    while (isdigit((unsigned char)s[i]))
        *v = (int64_t)((uint64_t)*v * 10 + (uint64_t)(s[i++] - '0'));
    return i;
}

int yaml_key_compare(const char *a, const char *b)
{
    size_t i = 0;
    while (a[i] && a[i] == b[i])
        i++;
    if (!a[i] || !b[i])
        return a[i] ? 1 : b[i] ? -1 : 0;
    bool after_digit = i && isdigit((unsigned char)a[i - 1]);
    bool x = is_letter((unsigned char)a[i]), y = is_letter((unsigned char)b[i]);
    bool less;
    if (x && y) {
        less = (unsigned char)a[i] < (unsigned char)b[i];
    } else if (x || y) {
        less = after_digit ? x : y;
    } else {
        int64_t v = 0, w = 0;
        if (a[i] == '0' || b[i] == '0') {
            /* Leading zeros count only behind other digits. */
            for (size_t j = i; j-- > 0 && isdigit((unsigned char)a[j]);)
                if (a[j] != '0') {
                    v = w = 1;
                    break;
                }
        }
        size_t ai = number_at(a, i, &v), bi = number_at(b, i, &w);
        less = v != w ? v < w : ai != bi ? ai < bi : (unsigned char)a[i] < (unsigned char)b[i];
    }
    return less ? -1 : 1;
}
