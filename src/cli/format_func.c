#include "cli/format_func.h"

#include <ctype.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"

bool format_value_true(const json_t *v)
{
    if (!v)
        return false;
    switch (json_typeof(v)) {
    case JSON_STRING:
        return json_string_length(v) > 0;
    case JSON_INTEGER:
        return json_integer_value(v) != 0;
    case JSON_REAL:
        return json_real_value(v) != 0;
    case JSON_TRUE:
        return true;
    case JSON_ARRAY:
        return json_array_size(v) > 0;
    case JSON_OBJECT:
        return json_object_size(v) > 0;
    case JSON_FALSE:
    case JSON_NULL:
        return false;
    }
    return false;
}

/* Lists of Docker's types are of structs, of which fmt.Print shows the values only: "{a b}". */
static void item_text(const json_t *item, struct strbuf *out)
{
    const char *key;
    json_t *member;
    size_t i = 0;
    if (!json_is_object(item)) {
        format_value_text(item, out);
        return;
    }
    strbuf_addch(out, '{');
    json_object_foreach ((json_t *)item, key, member) {
        if (i++)
            strbuf_addch(out, ' ');
        format_value_text(member, out);
    }
    strbuf_addch(out, '}');
}

/* As fmt.Print shows it: "[a b]", "map[k:v]". */
void format_value_text(const json_t *v, struct strbuf *out)
{
    size_t i;
    json_t *item;
    const char *key;
    if (!v)
        return;
    switch (json_typeof(v)) {
    case JSON_STRING:
        strbuf_add(out, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        strbuf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        strbuf_addf(out, "%g", json_real_value(v));
        break;
    case JSON_TRUE:
        strbuf_addstr(out, "true");
        break;
    case JSON_FALSE:
        strbuf_addstr(out, "false");
        break;
    case JSON_NULL:
        strbuf_addstr(out, "<nil>");
        break;
    case JSON_ARRAY:
        strbuf_addch(out, '[');
        json_array_foreach (v, i, item) {
            if (i)
                strbuf_addch(out, ' ');
            item_text(item, out);
        }
        strbuf_addch(out, ']');
        break;
    case JSON_OBJECT:
        strbuf_addstr(out, "map[");
        i = 0;
        json_object_foreach ((json_t *)v, key, item) {
            strbuf_addf(out, "%s%s:", i++ ? " " : "", key);
            format_value_text(item, out);
        }
        strbuf_addch(out, ']');
        break;
    }
}

static char *text_of(const json_t *v)
{
    struct strbuf out = STRBUF_INIT;
    format_value_text(v, &out);
    return strbuf_detach(&out);
}

static json_t *text_value(const char *s)
{
    return json_text(s);
}

static json_t *func_json(json_t *const *args, size_t n)
{
    (void)n;
    json_t *plain AUTOJSON = NULL;
    if (json_is_object(args[0])) { /* helper members stay inside */
        plain = json_copy(args[0]);
        json_object_del(plain, "_labels");
    }
    char *s AUTOFREE = json_go(plain ? plain : args[0]);
    return text_value(s);
}

static json_t *map_text(const json_t *v, int (*change)(int), bool first_only)
{
    char *s AUTOFREE = text_of(v);
    for (char *c = s; *c; c++) {
        if (!first_only || c == s || c[-1] == ' ')
            *c = (char)change((unsigned char)*c);
    }
    return text_value(s);
}

static json_t *func_upper(json_t *const *args, size_t n)
{
    (void)n;
    return map_text(args[0], toupper, false);
}

static json_t *func_lower(json_t *const *args, size_t n)
{
    (void)n;
    return map_text(args[0], tolower, false);
}

static json_t *func_title(json_t *const *args, size_t n)
{
    (void)n;
    return map_text(args[0], toupper, true);
}

static json_t *func_split(json_t *const *args, size_t n)
{
    (void)n;
    char *s AUTOFREE = text_of(args[0]), *by AUTOFREE = text_of(args[1]);
    json_t *out = json_array();
    char *at = s;
    for (char *hit; *by && (hit = strstr(at, by)); at = hit + strlen(by))
        json_array_append_new(out, json_stringn(at, (size_t)(hit - at)));
    json_array_append_new(out, text_value(at));
    return out;
}

static json_t *func_join(json_t *const *args, size_t n)
{
    (void)n;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    char *by AUTOFREE = text_of(args[1]);
    size_t i;
    json_t *item;
    json_array_foreach (args[0], i, item) {
        if (i)
            strbuf_addstr(&out, by);
        format_value_text(item, &out);
    }
    return text_value(out.buf);
}

static json_t *print_all(json_t *const *args, size_t n, const char *end)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_addch(&out, ' ');
        format_value_text(args[i], &out);
    }
    strbuf_addstr(&out, end);
    return text_value(out.buf);
}

static json_t *func_print(json_t *const *args, size_t n)
{
    return print_all(args, n, "");
}

static json_t *func_println(json_t *const *args, size_t n)
{
    return print_all(args, n, "\n");
}

/* %s, %v, %d, %q with width and "-"; anything else is printed as it stands. */
static json_t *func_printf(json_t *const *args, size_t n)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    char *fmt AUTOFREE = text_of(args[0]);
    size_t next = 1;
    for (const char *c = fmt; *c; c++) {
        size_t spec = *c == '%' ? 1 + strspn(c + 1, "-0123456789") : 0;
        if (!spec || !c[spec] || !strchr("svdq%", c[spec])) {
            strbuf_addch(&out, *c);
            continue;
        }
        if (c[spec] == '%') {
            strbuf_addch(&out, '%');
        } else if (next < n) {
            char *text AUTOFREE = text_of(args[next]);
            char *quoted AUTOFREE = c[spec] == 'q' ? xasprintf("\"%s\"", text) : xstrdup(text);
            int width = atoi(c + 1);
            width = width > 1000 ? 1000 : width < -1000 ? -1000 : width;
            strbuf_addf(&out, "%*s", width, quoted);
            next++;
        }
        c += spec;
    }
    return text_value(out.buf);
}

static json_t *func_truncate(json_t *const *args, size_t n)
{
    (void)n;
    char *s AUTOFREE = text_of(args[0]);
    json_int_t max = json_integer_value(args[1]);
    if (max >= 0 && (size_t)max < strlen(s))
        s[max] = '\0';
    return text_value(s);
}

/* docker's: blanks before and behind what is not empty */
static json_t *func_pad(json_t *const *args, size_t n)
{
    enum { PAD_MAX = 1000 };
    (void)n;
    char *s AUTOFREE = text_of(args[0]);
    json_int_t before = json_integer_value(args[1]), after = json_integer_value(args[2]);
    if (!*s || before < 0 || after < 0 || before > PAD_MAX || after > PAD_MAX)
        return text_value(s);
    char *padded AUTOFREE = xasprintf("%*s%s%*s", (int)before, "", s, (int)after, "");
    return text_value(padded);
}

static json_t *func_len(json_t *const *args, size_t n)
{
    (void)n;
    size_t len = json_is_string(args[0])  ? json_string_length(args[0])
                 : json_is_array(args[0]) ? json_array_size(args[0])
                                          : json_object_size(args[0]);
    return json_integer((json_int_t)len);
}

static json_t *func_index(json_t *const *args, size_t n)
{
    const json_t *v = args[0];
    for (size_t i = 1; i < n && v; i++)
        v = json_is_integer(args[i]) ? json_array_get(v, (size_t)json_integer_value(args[i]))
                                     : json_object_get(v, json_string_value(args[i]));
    return v ? json_incref((json_t *)v) : json_string("");
}

/* <0, 0, >0; numbers by value, everything else by text. */
static int compare(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        return x < y ? -1 : x > y;
    }
    char *s AUTOFREE = text_of(a), *t AUTOFREE = text_of(b);
    return strcmp(s, t);
}

static json_t *func_eq(json_t *const *args, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (compare(args[0], args[i]) == 0)
            return json_true();
    }
    return json_false();
}

static json_t *func_ne(json_t *const *args, size_t n)
{
    (void)n;
    return json_boolean(compare(args[0], args[1]) != 0);
}

static json_t *func_lt(json_t *const *args, size_t n)
{
    (void)n;
    return json_boolean(compare(args[0], args[1]) < 0);
}

static json_t *func_le(json_t *const *args, size_t n)
{
    (void)n;
    return json_boolean(compare(args[0], args[1]) <= 0);
}

static json_t *func_gt(json_t *const *args, size_t n)
{
    (void)n;
    return json_boolean(compare(args[0], args[1]) > 0);
}

static json_t *func_ge(json_t *const *args, size_t n)
{
    (void)n;
    return json_boolean(compare(args[0], args[1]) >= 0);
}

static json_t *func_and(json_t *const *args, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (!format_value_true(args[i]))
            return json_incref(args[i]);
    }
    return json_incref(args[n - 1]);
}

static json_t *func_or(json_t *const *args, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (format_value_true(args[i]))
            return json_incref(args[i]);
    }
    return json_incref(args[n - 1]);
}

static json_t *func_not(json_t *const *args, size_t n)
{
    (void)n;
    return json_boolean(!format_value_true(args[0]));
}

static const struct func {
    const char *name;
    size_t min, max;
    json_t *(*call)(json_t *const *args, size_t n);
} funcs[] = {
    {"and", 1, 16, func_and},     {"eq", 2, 16, func_eq},         {"ge", 2, 2, func_ge},
    {"gt", 2, 2, func_gt},        {"index", 1, 16, func_index},   {"join", 2, 2, func_join},
    {"json", 1, 1, func_json},    {"le", 2, 2, func_le},          {"len", 1, 1, func_len},
    {"lower", 1, 1, func_lower},  {"lt", 2, 2, func_lt},          {"ne", 2, 2, func_ne},
    {"not", 1, 1, func_not},      {"or", 1, 16, func_or},         {"pad", 3, 3, func_pad},
    {"print", 0, 16, func_print}, {"printf", 1, 16, func_printf}, {"println", 0, 16, func_println},
    {"split", 2, 2, func_split},  {"title", 1, 1, func_title},    {"truncate", 2, 2, func_truncate},
    {"upper", 1, 1, func_upper},
};

static const struct func *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(funcs); i++) {
        if (streq(funcs[i].name, name))
            return &funcs[i];
    }
    return NULL;
}

bool format_func_known(const char *name)
{
    return find(name) != NULL;
}

int format_func_call(const char *name, json_t *const *args, size_t n, json_t **out, struct err *err)
{
    const struct func *f = find(name);
    if (!f || n < f->min || n > f->max)
        return err_set(err, ERR_INVALID,
                       "template: :1: executing \"\" at <%s>: wrong number of args for %s: %zu",
                       name, name, n);
    *out = f->call(args, n);
    return 0;
}
