#include "cli/options.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"

bool parse_int(const char *s, int64_t *out)
{
    char *end;
    errno = 0;
    if (!*s || strspn(s, "+-0123456789abcdefABCDEFxX") != strlen(s))
        return false;
    long long v = strtoll(s, &end, 0);
    if (*end || errno)
        return false;
    *out = v;
    return true;
}

static struct option_value *find_long(struct args *args, const char *name, size_t len)
{
    for (size_t i = 0; i < args->values_n; i++) {
        const char *have = args->values[i].option->name;
        if (strlen(have) == len && memcmp(have, name, len) == 0)
            return &args->values[i];
    }
    return NULL;
}

static struct option_value *find_short(struct args *args, char c)
{
    for (size_t i = 0; i < args->values_n; i++) {
        if (args->values[i].option->shorthand == c)
            return &args->values[i];
    }
    return NULL;
}

static void list_add(struct option_value *v, const char *s)
{
    v->list = xrealloc(v->list, (v->list_n + 2) * sizeof(*v->list));
    v->list[v->list_n++] = s;
    v->list[v->list_n] = NULL;
}

/* Splits at commas into copies that args owns. */
static void list_add_words(struct args *args, struct option_value *v, const char *s)
{
    for (;;) {
        size_t n = strcspn(s, ",");
        char *word AUTOFREE = xstrndup(s, n);
        strv_push(&args->owned, word);
        list_add(v, args->owned[strv_len((const char *const *)args->owned) - 1]);
        if (!s[n])
            return;
        s += n + 1;
    }
}

/* "-t, --timeout" */
static void option_title(const struct option *o, char *out, size_t size)
{
    if (o->shorthand)
        snprintf(out, size, "-%c, --%s", o->shorthand, o->name);
    else
        snprintf(out, size, "--%s", o->name);
}

static int value_set(struct args *args, struct option_value *v, const char *text, size_t order,
                     struct err *err)
{
    char title[64];
    option_title(v->option, title, sizeof(title));
    switch (v->option->kind) {
    case OPTION_BOOL:
        if (!bool_parse(text, &v->on))
            return err_set(err, ERR_INVALID,
                           "invalid argument \"%s\" for \"%s\" flag: strconv.ParseBool: parsing "
                           "\"%s\": invalid syntax",
                           text, title, text);
        break;
    case OPTION_INT:
        if (!parse_int(text, &v->number))
            return err_set(err, ERR_INVALID,
                           "invalid argument \"%s\" for \"%s\" flag: strconv.ParseInt: parsing "
                           "\"%s\": invalid syntax",
                           text, title, text);
        break;
    case OPTION_STRING:
        v->text = text;
        break;
    case OPTION_LIST:
        list_add(v, text);
        break;
    case OPTION_WORDS:
        list_add_words(args, v, text);
        break;
    }
    v->given = true;
    v->order = order;
    return 0;
}

/* The values as they are before any argument is read. */
static void values_init(struct args *args, const struct option *const *tables)
{
    size_t n = 0;
    for (size_t t = 0; tables[t]; t++) {
        for (const struct option *o = tables[t]; o->name; o++)
            n++;
    }
    args->values = xcalloc(n + 1, sizeof(*args->values));
    for (size_t t = 0; tables[t]; t++) {
        for (const struct option *o = tables[t]; o->name; o++) {
            struct option_value *v = &args->values[args->values_n++];
            v->option = o;
            v->text = o->fallback && o->kind == OPTION_STRING ? o->fallback : "";
            if (o->fallback && o->kind == OPTION_BOOL)
                bool_parse(o->fallback, &v->on);
            if (o->fallback && o->kind == OPTION_INT)
                parse_int(o->fallback, &v->number);
        }
    }
}

struct parser {
    struct args *args;
    int argc, i;
    char **argv;
    size_t order;
    bool *help;
};

static int parse_long(struct parser *p, const char *s, struct err *err)
{
    size_t len = strcspn(s, "=");
    if (len == 0 || s[0] == '-')
        return err_set(err, ERR_INVALID, "bad flag syntax: --%s", s);
    struct option_value *v = find_long(p->args, s, len);
    if (!v) {
        if (len == 4 && memcmp(s, "help", 4) == 0) {
            *p->help = true;
            return 0;
        }
        return err_set(err, ERR_INVALID, "unknown flag: --%.*s", (int)len, s);
    }
    if (s[len] == '=')
        return value_set(p->args, v, s + len + 1, ++p->order, err);
    if (v->option->kind == OPTION_BOOL)
        return value_set(p->args, v, "true", ++p->order, err);
    if (p->i + 1 >= p->argc)
        return err_set(err, ERR_INVALID, "flag needs an argument: --%s", s);
    return value_set(p->args, v, p->argv[++p->i], ++p->order, err);
}

static int parse_shorts(struct parser *p, const char *s, struct err *err)
{
    for (const char *c = s; *c; c++) {
        struct option_value *v = find_short(p->args, *c);
        if (!v) {
            if (*c == 'h') {
                *p->help = true;
                return 0;
            }
            return err_set(err, ERR_INVALID, "unknown shorthand flag: '%c' in -%s", *c, c);
        }
        if (c[1] == '=' && c[2])
            return value_set(p->args, v, c + 2, ++p->order, err);
        if (v->option->kind == OPTION_BOOL) {
            if (value_set(p->args, v, "true", ++p->order, err) < 0)
                return -1;
            continue;
        }
        if (c[1])
            return value_set(p->args, v, c + 1, ++p->order, err);
        if (p->i + 1 >= p->argc)
            return err_set(err, ERR_INVALID, "flag needs an argument: '%c' in -%s", *c, c);
        return value_set(p->args, v, p->argv[++p->i], ++p->order, err);
    }
    return 0;
}

int args_parse(struct args *args, const struct option *const *tables, struct option_rules rules,
               int argc, char **argv, bool *help, struct err *err)
{
    *args = (struct args){0};
    *help = false;
    values_init(args, tables);
    args->positional = xcalloc((size_t)argc + 1, sizeof(*args->positional));
    args->dash = (size_t)argc + 1;
    struct parser p = {.args = args, .argc = argc, .argv = argv, .help = help};
    bool plain = false;
    for (; p.i < argc; p.i++) {
        const char *s = argv[p.i];
        if (plain || s[0] != '-' || !s[1]) {
            args->positional[args->n++] = s;
            plain = plain || rules.stop_at_argument;
        } else if (streq(s, "--")) {
            plain = true;
            args->dash = args->n;
        } else {
            int rc = s[1] == '-' ? parse_long(&p, s + 2, err) : parse_shorts(&p, s + 1, err);
            if (rc < 0) {
                args_release(args);
                return -1;
            }
            if (*help)
                return 0;
        }
    }
    if (args->dash > args->n)
        args->dash = args->n;
    return 0;
}

void args_release(struct args *args)
{
    for (size_t i = 0; i < args->values_n; i++)
        free(args->values[i].list);
    free(args->values);
    free(args->positional);
    strv_free(args->owned);
    *args = (struct args){0};
}

static struct option_value *value_of(const struct args *args, const char *name)
{
    struct option_value *v = find_long((struct args *)args, name, strlen(name));
    assert(v && "an option that is in no table");
    return v;
}

bool args_bool(const struct args *args, const char *name)
{
    return value_of(args, name)->on;
}

int64_t args_int(const struct args *args, const char *name)
{
    return value_of(args, name)->number;
}

const char *args_str(const struct args *args, const char *name)
{
    return value_of(args, name)->text;
}

const char *const *args_list(const struct args *args, const char *name)
{
    static const char *const none[] = {NULL};
    const struct option_value *v = value_of(args, name);
    return v->list ? (const char *const *)v->list : none;
}

bool args_given(const struct args *args, const char *name)
{
    return value_of(args, name)->given;
}
