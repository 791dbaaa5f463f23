#include "file/template.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"

/* "${NAME}" or "${NAME op TEXT}" cut out of a string. */
struct reference {
    const char *name;
    const char *op; /* "", ":-", "-", ":?", "?", ":+", "+" */
    const char *text;
    size_t len; /* of all of it */
};

static size_t name_length(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_')
        return 0;
    size_t n = 1;
    while (isalnum((unsigned char)s[n]) || s[n] == '_')
        n++;
    return n;
}

/* Offset of the brace that closes the first one in s[0..len), or -1. Whatever follows an opening
 * brace is skipped, so "{}" counts as one that opens. */
static long closing_brace(const char *s, size_t len)
{
    int open = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '}' && --open == 0)
            return (long)i;
        if (s[i] == '{') {
            open++;
            i++;
        }
    }
    return -1;
}

/* The last brace of the line at hand: looked up once a line, not once a reference. */
struct line {
    const char *end, *last;
};

static const char *last_brace(struct line *line, const char *from)
{
    if (!line->end || from > line->end) {
        line->end = from + strcspn(from, "\n");
        line->last = memrchr(from, '}', (size_t)(line->end - from));
    }
    return line->last && line->last >= from ? line->last : NULL;
}

/* ":-", "-", ... at s. */
static const char *operator_of(const char *s, bool colon)
{
    switch (s[colon]) {
    case '-':
        return colon ? ":-" : "-";
    case '+':
        return colon ? ":+" : "+";
    default:
        return colon ? ":?" : "?";
    }
}

/* Cuts the reference that starts with "${" at s; false where it is malformed. */
static bool parse_reference(struct arena *a, const char *s, struct line *line, struct reference *r)
{
    size_t n = name_length(s + 2);
    const char *p = s + 2 + n;
    if (!n)
        return false;
    r->name = arena_strndup(a, s + 2, n);
    r->op = r->text = "";
    if (*p == '}') {
        r->len = n + 3;
        return true;
    }
    bool colon = *p == ':';
    if (!p[colon] || !strchr("-+?", p[colon]))
        return false;
    /* To the last brace of the line first, then back to the one that matches. */
    const char *last = last_brace(line, p + colon + 1);
    if (!last)
        return false;
    r->len = (size_t)(last - s) + 1;
    long closing = closing_brace(s, r->len);
    if (closing >= 0)
        r->len = (size_t)closing + 1;
    const char *text = p + colon + 1;
    if (s + r->len <= text)
        return false;
    r->op = operator_of(p, colon);
    r->text = arena_strndup(a, text, (size_t)(s + r->len - 1 - text));
    return true;
}

struct substitution {
    struct arena *arena;
    const struct template_vars *vars;
    struct template_error *error;
    int depth;
    bool quiet; /* inside a text that may not be used */
};

static int fail(struct substitution *s, enum template_fault fault, const char *what,
                const char *reason)
{
    *s->error = (struct template_error){.fault = fault, .what = what, .reason = reason};
    return -1;
}

static int substitute(struct substitution *s, const char *in, struct strbuf *out);

/* The operator's text, substituted. */
static int substitute_text(struct substitution *s, const struct reference *r, const char **text,
                           bool used)
{
    *text = r->text;
    if (!strchr(r->text, '$'))
        return 0;
    if (s->depth >= TEMPLATE_DEPTH_MAX)
        return fail(s, TEMPLATE_TOO_DEEP, r->name, NULL);
    struct strbuf buf AUTOBUF = STRBUF_INIT;
    bool quiet = s->quiet;
    s->quiet = quiet || !used;
    s->depth++;
    int rc = substitute(s, r->text, &buf);
    s->depth--;
    s->quiet = quiet;
    *text = arena_strndup(s->arena, buf.buf, buf.len);
    return rc;
}

static void report_unset(struct substitution *s, const char *name)
{
    if (!s->quiet && s->vars->unset)
        s->vars->unset(s->vars->ctx, name);
}

static void report_used(struct substitution *s, const struct reference *r,
                        enum template_source from, const char *value)
{
    if (!s->quiet && s->vars->used)
        s->vars->used(s->vars->ctx, r->name, from, value);
}

static int resolve(struct substitution *s, const struct reference *r, const char **value)
{
    const char *v = s->vars->lookup(s->vars->ctx, r->name);
    if (!*r->op) {
        if (!v)
            report_unset(s, r->name);
        *value = v ? v : "";
        report_used(s, r, v ? TEMPLATE_FROM_VARIABLE : TEMPLATE_FROM_NOTHING, *value);
        return 0;
    }
    bool strict = r->op[0] == ':';
    bool present = v && (!strict || *v);
    char op = r->op[strict];
    const char *text;
    if (substitute_text(s, r, &text, op == '+' ? present : !present))
        return -1;
    if (op == '?' && !present)
        return fail(s, TEMPLATE_REQUIRED, r->name, text);
    if (op == '+')
        *value = present ? text : v ? v : "";
    else
        *value = present || op == '?' ? v : text;
    bool from_text = *value == text && op != '?';
    report_used(s, r,
                !from_text  ? v ? TEMPLATE_FROM_VARIABLE : TEMPLATE_FROM_NOTHING
                : op == '+' ? TEMPLATE_FROM_ALTERNATIVE
                            : TEMPLATE_FROM_DEFAULT,
                *value);
    return 0;
}

static int substitute(struct substitution *s, const char *in, struct strbuf *out)
{
    struct line line = {NULL, NULL};
    for (;;) {
        size_t plain = strcspn(in, "$");
        strbuf_add(out, in, plain);
        if (out->len > TEMPLATE_RESULT_MAX)
            return fail(s, TEMPLATE_TOO_LONG, NULL, NULL);
        in += plain;
        if (!*in)
            return 0;
        const char *value = NULL;
        size_t n = name_length(in + 1);
        if (in[1] == '$') {
            strbuf_addch(out, '$');
            in += 2;
        } else if (in[1] == '{') {
            struct reference r;
            if (!parse_reference(s->arena, in, &line, &r))
                return fail(s, TEMPLATE_INVALID, in, NULL);
            if (resolve(s, &r, &value))
                return -1;
            in += r.len;
        } else if (n) {
            struct reference r = {.name = arena_strndup(s->arena, in + 1, n), .op = ""};
            if (resolve(s, &r, &value))
                return -1;
            in += n + 1;
        } else {
            strbuf_addch(out, '$');
            in++;
        }
        if (value)
            strbuf_addstr(out, value);
    }
}

int template_substitute(struct arena *a, const char *s, const struct template_vars *vars,
                        const char **out, struct template_error *e)
{
    *e = (struct template_error){.fault = TEMPLATE_OK};
    *out = s;
    if (!strchr(s, '$'))
        return 0;
    struct substitution sub = {.arena = a, .vars = vars, .error = e};
    struct strbuf buf AUTOBUF = STRBUF_INIT;
    if (substitute(&sub, s, &buf))
        return -1;
    *out = arena_strndup(a, buf.buf, buf.len);
    return 0;
}

static void find_variables(struct arena *a, const char *s, int depth,
                           void (*found)(void *ctx, const struct template_variable *v), void *ctx)
{
    struct line line = {NULL, NULL};
    while ((s = strchr(s, '$'))) {
        size_t n = name_length(s + 1);
        struct reference r = {.op = "", .text = ""};
        if (s[1] == '$') {
            s += 2;
            continue;
        } else if (s[1] == '{' && parse_reference(a, s, &line, &r)) {
            s += r.len;
        } else if (n) {
            r.name = arena_strndup(a, s + 1, n);
            s += n + 1;
        } else {
            s++;
            continue;
        }
        char op = *r.op ? r.op[strlen(r.op) - 1] : '\0';
        struct template_variable v = {
            .name = r.name,
            .value = op == '-' ? r.text : "",
            .alternative = op == '+' ? r.text : "",
            .required = op == '?',
        };
        found(ctx, &v);
        if ((op == '-' || op == '+') && depth < TEMPLATE_DEPTH_MAX)
            find_variables(a, r.text, depth + 1, found, ctx);
    }
}

void template_variables(struct arena *a, const char *s,
                        void (*found)(void *ctx, const struct template_variable *v), void *ctx)
{
    find_variables(a, s, 0, found, ctx);
}
