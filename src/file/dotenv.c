#include "file/dotenv.h"

#include <ctype.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "file/origin.h"
#include "file/template.h"

struct reader {
    const struct pass *pass;
    const char *name;
    const char *p, *end;
    int line;
    const struct env *first, *second;
    struct env *vars;
    struct unset_seen *seen;
};

static struct mark here(const struct reader *r)
{
    return (struct mark){.file = r->name, .line = r->line, .col = 1};
}

/* Bytes of the white space at p other than the end of a line; NEL and no-break space count. */
static size_t blank(const struct reader *r, const char *p)
{
    if (p >= r->end)
        return 0;
    if (*p == ' ' || *p == '\t' || *p == '\v' || *p == '\f' || *p == '\r')
        return 1;
    if (p + 1 < r->end && (unsigned char)p[0] == 0xc2 &&
        ((unsigned char)p[1] == 0x85 || (unsigned char)p[1] == 0xa0))
        return 2;
    return 0;
}

static void skip_blank(struct reader *r)
{
    for (size_t n; (n = blank(r, r->p));)
        r->p += n;
}

/* Moves to the next statement; false at the end of the file. */
static bool next_statement(struct reader *r)
{
    while (r->p < r->end) {
        if (*r->p == '\n') {
            r->line++;
            r->p++;
        } else if (*r->p == '#') {
            const char *nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
            r->p = nl ? nl : r->end;
        } else if (blank(r, r->p)) {
            skip_blank(r);
        } else {
            return true;
        }
    }
    return false;
}

static bool is_name_char(unsigned char c)
{
    return isalnum(c) || strchr("_.-[]", c) || c >= 0x80;
}

static int bad_name(const struct reader *r, const char *at, const char *start)
{
    struct mark m = here(r);
    const char *nl = memchr(start, '\n', (size_t)(r->end - start));
    int n = (int)((nl ? nl : r->end) - start);
    m.col = (unsigned)(at - start) + 1;
    pass_error(r->pass, NULL, &m, "unexpected character \"%c\" in variable name \"%.*s\"", *at,
               n > 60 ? 60 : n, start);
    return -1;
}

/* Reads "NAME =", "NAME:" or a NAME alone. */
static int read_name(struct reader *r, const char **name, bool *alone)
{
    if (r->end - r->p > 7 && strncmp(r->p, "export", 6) == 0 && blank(r, r->p + 6)) {
        r->p += 6;
        skip_blank(r);
    }
    const char *start = r->p, *p = start, *last = start;
    while (p < r->end && *p != '=' && *p != ':' && *p != '\n') {
        size_t space = blank(r, p);
        if (!space && !is_name_char((unsigned char)*p))
            return bad_name(r, p, start);
        p += space ? space : 1;
        if (!space)
            last = p;
    }
    *alone = p == r->end || *p == '\n';
    *name = arena_strndup(r->pass->arena, start, (size_t)(last - start));
    if (strchr(*name, ' ')) {
        struct mark m = here(r);
        pass_error(r->pass, NULL, &m, "variable name \"%s\" contains a space", *name);
        return -1;
    }
    r->p = p;
    if (!*alone) {
        r->p++;
        skip_blank(r);
    }
    return 0;
}

static const char *look_up(void *ctx, const char *name)
{
    const struct reader *r = ctx;
    const char *v = r->first ? env_get(r->first, name) : NULL;
    if (!v && r->second)
        v = env_get(r->second, name);
    return v ? v : env_get(r->vars, name);
}

static void note_unset(void *ctx, const char *name)
{
    const struct reader *r = ctx;
    if (map_set(&r->seen->names, name, r->seen))
        return;
    struct mark m = here(r);
    pass_warning(r->pass, NULL, &m, "The \"%s\" variable is not set. Defaulting to a blank string.",
                 name);
}

static int expand(struct reader *r, const char *text, const char **value)
{
    struct template_vars vars = {.lookup = look_up, .unset = note_unset, .ctx = r};
    struct template_error e;
    if (!template_substitute(r->pass->arena, text, &vars, value, &e))
        return 0;
    struct mark m = here(r);
    if (e.fault == TEMPLATE_REQUIRED)
        pass_error(r->pass, NULL, &m, "required variable %s is missing a value%s%s", e.what,
                   *e.reason ? ": " : "", e.reason);
    else if (e.fault == TEMPLATE_TOO_DEEP)
        pass_error(r->pass, NULL, &m, "variable references nested deeper than %d",
                   TEMPLATE_DEPTH_MAX);
    else if (e.fault == TEMPLATE_TOO_LONG)
        pass_error(r->pass, NULL, &m, "longer than %d bytes after interpolation",
                   TEMPLATE_RESULT_MAX);
    else
        pass_error(r->pass, NULL, &m, "invalid interpolation in \"%.60s\"", text);
    return -1;
}

static void put_utf8(struct strbuf *out, unsigned c)
{
    if (c < 0x80) {
        strbuf_addch(out, (char)c);
    } else {
        strbuf_addch(out, (char)(0xc0 | c >> 6));
        strbuf_addch(out, (char)(0x80 | (c & 0x3f)));
    }
}

/* Writes what "\0" and the up to three digits at s mean, and returns how many were read: a byte,
 * or, where they are no octal number of one, a backslash and the digits (the zero is lost, as in
 * the reference). */
static size_t put_octal(const char *s, struct strbuf *out)
{
    size_t n = strspn(s, "0123456789");
    n = n > 3 ? 3 : n;
    unsigned c = n == 3 && strspn(s, "01234567") >= 3
                     ? (unsigned)((s[0] - '0') * 64 + (s[1] - '0') * 8 + (s[2] - '0'))
                     : 256;
    if (c < 256) {
        put_utf8(out, c);
        return n;
    }
    strbuf_addch(out, '\\');
    strbuf_add(out, s, n);
    return n;
}

/* Shell escapes of a double-quoted value: \n and its kind, \0ddd in octal; "\$" becomes "$$", so
 * that interpolation leaves it alone. Other backslashes stay. */
static void expand_escapes(const char *s, struct strbuf *out)
{
    static const char names[] = "abfnrtv\"\\", bytes[] = "\a\b\f\n\r\t\v\"\\";
    for (; *s; s++) {
        if (*s != '\\') {
            strbuf_addch(out, *s);
            continue;
        }
        const char *at = s[1] ? strchr(names, s[1]) : NULL;
        if (at) {
            strbuf_addch(out, bytes[at - names]);
            s++;
        } else if (s[1] == '$') {
            strbuf_addstr(out, "$$");
            s++;
        } else if (s[1] == '0') {
            s += 1 + put_octal(s + 2, out);
        } else {
            strbuf_addch(out, '\\');
        }
    }
}

static int read_quoted(struct reader *r, const char **value)
{
    char quote = *r->p;
    const char *start = r->p;
    int first_line = r->line;
    struct strbuf raw AUTOBUF = STRBUF_INIT;
    bool escaped = false;
    for (r->p++; r->p < r->end; r->p++) {
        char c = *r->p;
        if (c == '\n')
            r->line++;
        if (c == quote && !escaped)
            break;
        if (c == '\\' && !escaped) {
            escaped = true;
            continue;
        }
        if (escaped && c != quote)
            strbuf_addch(&raw, '\\');
        escaped = false;
        strbuf_addch(&raw, c);
    }
    if (r->p == r->end) {
        const char *nl = memchr(start, '\n', (size_t)(r->end - start));
        int n = (int)((nl ? nl : r->end) - start);
        r->line = first_line;
        struct mark m = here(r);
        pass_error(r->pass, NULL, &m, "quoted value is not closed: %.*s", n > 60 ? 60 : n, start);
        return -1;
    }
    r->p++;
    if (quote == '\'') {
        *value = arena_strndup(r->pass->arena, raw.buf, raw.len);
        return 0;
    }
    struct strbuf text AUTOBUF = STRBUF_INIT;
    expand_escapes(raw.buf, &text);
    return expand(r, arena_strndup(r->pass->arena, text.buf, text.len), value);
}

static int read_value(struct reader *r, const char **value)
{
    if (r->p < r->end && (*r->p == '"' || *r->p == '\''))
        return read_quoted(r, value);
    const char *nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
    const char *stop = nl ? nl : r->end;
    const char *comment = memmem(r->p, (size_t)(stop - r->p), " #", 2);
    if (comment)
        stop = comment;
    while (stop > r->p && isspace((unsigned char)stop[-1]))
        stop--;
    const char *text = arena_strndup(r->pass->arena, r->p, (size_t)(stop - r->p));
    r->p = nl ? nl : r->end;
    return expand(r, text, value);
}

static int read_all(struct reader *r)
{
    while (next_statement(r)) {
        const char *name, *value;
        bool alone;
        struct mark m = here(r);
        if (read_name(r, &name, &alone))
            return -1;
        if (alone) {
            value = look_up(r, name);
        } else if (read_value(r, &value)) {
            return -1;
        }
        if (value)
            env_set(r->pass->arena, r->vars, name, value, m);
    }
    return 0;
}

static const char *skip_bom(const char *text, size_t len)
{
    return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
}

int dotenv_parse(const struct pass *p, const char *name, const char *text, size_t len,
                 const struct env *first, const struct env *second, struct env *vars,
                 struct unset_seen *seen)
{
    if (memchr(text, '\0', len)) {
        struct mark m = {.file = name, .line = 1, .col = 1};
        pass_error(p, NULL, &m, "NUL byte: this is no text file");
        return -1;
    }
    struct reader r = {.pass = p,
                       .name = name,
                       .p = skip_bom(text, len),
                       .end = text + len,
                       .line = 1,
                       .first = first,
                       .second = second,
                       .vars = vars,
                       .seen = seen};
    return read_all(&r);
}

/* NAME=VALUE lines taken literally, as `docker run --env-file` reads them. */
static int parse_raw(const struct pass *p, const char *name, const char *text, size_t len,
                     const struct env *first, const struct env *second, struct env *vars)
{
    struct mark m = {.file = name, .col = 1};
    const char *end = text + len;
    for (const char *line = skip_bom(text, len); line < end;) {
        const char *nl = memchr(line, '\n', (size_t)(end - line));
        const char *stop = nl ? nl : end, *next = nl ? nl + 1 : end;
        m.line++;
        if (stop > line && stop[-1] == '\r')
            stop--;
        while (line < stop && isspace((unsigned char)*line))
            line++;
        const char *eq = memchr(line, '=', (size_t)(stop - line));
        const char *key = arena_strndup(p->arena, line, (size_t)((eq ? eq : stop) - line));
        if (line == stop || *line == '#') {
            line = next;
            continue;
        }
        if (!*key || key[strcspn(key, " \t\v\f\r")]) {
            pass_error(p, NULL, &m,
                       *key ? "variable name \"%s\" contains white space"
                            : "no variable name before \"=\"%s",
                       key);
            return -1;
        }
        const char *value = eq ? arena_strndup(p->arena, eq + 1, (size_t)(stop - eq - 1)) : NULL;
        if (!eq && first)
            value = env_get(first, key);
        if (!eq && !value && second)
            value = env_get(second, key);
        if (value)
            env_set(p->arena, vars, key, value, m);
        line = next;
    }
    return 0;
}

int dotenv_load(const struct pass *p, const char *path, const char *name, const char *format,
                const struct env *first, const struct env *second, struct env *vars,
                struct unset_seen *seen)
{
    char *text = NULL;
    size_t len;
    struct err err AUTOERR = ERR_INIT;
    if (streq(path, "/dev/null")) /* the one device that people name here: no variables */
        return 0;
    if (fs_read(path, DOTENV_FILE_MAX, &text, &len, &err)) {
        diag_error(p->diag, NULL, "cannot read env file: %s", err.msg);
        origins_note(p, NULL, &(struct mark){.file = name});
        return -1;
    }
    diag_source(p->diag, name, text, len);
    if (!format || !*format || streq(format, ".env"))
        return dotenv_parse(p, name, text, len, first, second, vars, seen);
    if (!streq(format, "raw")) {
        struct mark m = {.file = name};
        pass_error(p, NULL, &m, "unsupported env_file format \"%s\": want \"raw\"", format);
        return -1;
    }
    if (memchr(text, '\0', len)) {
        struct mark m = {.file = name, .line = 1, .col = 1};
        pass_error(p, NULL, &m, "NUL byte: this is no text file");
        return -1;
    }
    return parse_raw(p, name, text, len, first, second, vars);
}
