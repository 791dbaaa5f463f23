#include "image/module/lint_vars.h"

#include <jansson.h>
#include <stdbool.h>
#include <strings.h>

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "file/diag.h"
#include "image/module/words.h"
#include "image/reference.h"

/* What is known at one place of the file. */
struct scope {
    struct map set;      /* name -> value, heap */
    struct map declared; /* ARG without a value */
    bool whole;          /* ... of the image that it starts from as well */
};

struct lint_vars {
    const struct lint_source *source;
    lint_warning warn;
    void *ctx;
    struct scope globals; /* before the first FROM, with what the build gives */
    struct map defaults;  /* the same without that: name -> value, heap */
    struct map stages;    /* name in lower case -> struct scope, heap */
    struct scope *stage;  /* NULL: before the first FROM, or in one */
    size_t line;
    char escape;
    char **missing; /* of the word that is looked at: names without a value */
};

static void set_value(struct map *m, const char *name, const char *value)
{
    free(map_set(m, name, xstrdup(value)));
}

static void free_values(struct map *m)
{
    map_foreach (m, it)
        free(it->value);
    map_release(m);
}

static void scope_release(struct scope *s)
{
    free_values(&s->set);
    map_release(&s->declared);
}

static void scope_free(struct scope *s)
{
    if (s)
        scope_release(s);
    free(s);
}

static struct scope *scope_copy(const struct scope *from)
{
    struct scope *s = xcalloc(1, sizeof(*s));
    s->whole = from->whole;
    map_foreach (&from->set, it)
        set_value(&s->set, it->key, it->value);
    map_foreach (&from->declared, it)
        map_set(&s->declared, it->key, s);
    return s;
}

static const char *scope_value(struct lint_vars *v, const struct scope *s, const char *name)
{
    const char *value = map_get(&s->set, name);
    if (value || map_get(&s->declared, name))
        return value;
    for (size_t i = 0; v->missing && v->missing[i]; i++)
        if (streq(v->missing[i], name))
            return NULL;
    strv_push(&v->missing, name);
    return NULL;
}

static const char *stage_value(void *ctx, const char *name)
{
    struct lint_vars *v = ctx;
    return scope_value(v, v->stage, name);
}

static const char *global_value(void *ctx, const char *name)
{
    struct lint_vars *v = ctx;
    return scope_value(v, &v->globals, name);
}

static const char *default_value(void *ctx, const char *name)
{
    struct lint_vars *v = ctx;
    return map_get(&v->defaults, name);
}

static void tell_missing(struct lint_vars *v)
{
    const struct scope *s = v->stage ? v->stage : &v->globals;
    for (size_t i = 0; v->missing && v->missing[i]; i++) {
        const char *name = v->missing[i], *sigil = v->stage ? "$" : "";
        struct closest near = {.word = name};
        map_foreach (&s->set, it)
            closest_try(&near, it->key);
        map_foreach (&s->declared, it)
            closest_try(&near, it->key);
        char *hint AUTOFREE = near.best ? xasprintf(" (did you mean %s%s?)", sigil, near.best)
                                        : xstrdup("");
        char *message AUTOFREE = v->stage
                                     ? xasprintf("Usage of undefined variable '$%s'%s", name, hint)
                                     : xasprintf("FROM argument '%s' is not declared%s", name,
                                                 hint);
        v->warn(v->ctx, v->stage ? "UndefinedVar" : "UndefinedArgInFrom", message, v->line);
    }
    strv_free(v->missing);
    v->missing = NULL;
}

static char *expand(struct lint_vars *v, const char *word, bool quotes)
{
    char *text = word_expand(word, v->escape, quotes, stage_value, v);
    if (!v->stage->whole) {
        strv_free(v->missing);
        v->missing = NULL;
    }
    tell_missing(v);
    return text;
}

static void check(struct lint_vars *v, const char *word)
{
    free(expand(v, word, true));
}

/* ---- words of an instruction */

/* As word_next(), but blanks in quotes belong to a word. */
static char *next_quoted_word(const char **p, char escape)
{
    *p += strspn(*p, " \t");
    const char *start = *p;
    char quote = 0;
    for (; **p && (quote || (**p != ' ' && **p != '\t')); (*p)++) {
        if (**p == escape && (*p)[1])
            (*p)++;
        else if (quote ? **p == quote : **p == '"' || **p == '\'')
            quote = quote ? 0 : **p;
    }
    return *p > start ? xstrndup(start, (size_t)(*p - start)) : NULL;
}

/* The words, or the elements of a JSON array. */
static void check_words(struct lint_vars *v, const char *rest)
{
    json_t *list AUTOJSON = *rest == '[' ? json_loads(rest, 0, NULL) : NULL, *item;
    size_t i;
    json_array_foreach (list, i, item)
        if (json_is_string(item))
            check(v, json_string_value(item));
    while (!list) {
        char *word AUTOFREE = word_next(&rest);
        if (!word)
            return;
        check(v, word);
    }
}

static void check_copy(struct lint_vars *v, const char *rest, const char *body)
{
    static const char *const flags[] = {"--chown=", "--chmod=", "--checksum="};
    for (;;) {
        const char *next = rest;
        char *word AUTOFREE = word_next(&next);
        if (!word || !starts_with(word, "--"))
            break;
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
            if (starts_with(word, flags[i]))
                check(v, word + strlen(flags[i]));
        rest = next;
    }
    rest += strspn(rest, " \t");
    check_words(v, rest);
    if (body)
        free(expand(v, body, false));
}

static void check_mounts(struct lint_vars *v, const char *rest)
{
    for (;;) {
        char *word AUTOFREE = word_next(&rest);
        if (!word || !starts_with(word, "--"))
            return;
        if (starts_with(word, "--mount="))
            check(v, word);
    }
}

/* ---- what gives variables a value */

/* NAME=VALUE of the build, NULL: it does not give it. */
static const char *given(const struct lint_vars *v, const char *name)
{
    size_t n = strlen(name);
    for (const char *const *a = v->source->args; a && *a; a++)
        if (starts_with(*a, name) && (*a)[n] == '=')
            return *a + n + 1;
    return NULL;
}

static bool is_automatic(const char *name)
{
    static const char *const names[] = {"PLATFORM", "OS", "ARCH", "VARIANT"};
    const char *rest = starts_with(name, "BUILD")    ? name + strlen("BUILD")
                       : starts_with(name, "TARGET") ? name + strlen("TARGET")
                                                     : "";
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(rest, names[i]))
            return true;
    return false;
}

/* One word of ARG; text: behind its "=", NULL without one. */
typedef void declare(struct lint_vars *v, const char *name, const char *text);

static void stage_arg(struct lint_vars *v, const char *name, const char *text)
{
    char *own AUTOFREE = text ? expand(v, text, true) : NULL;
    const char *value = given(v, name);
    if (!value)
        value = own ? own : map_get(&v->globals.set, name);
    if (value)
        set_value(&v->stage->set, name, value);
    else
        map_set(&v->stage->declared, name, v);
}

static void global_arg(struct lint_vars *v, const char *name, const char *text)
{
    char *own AUTOFREE = text ? word_expand(text, v->escape, true, global_value, v) : NULL;
    char *plain AUTOFREE = text ? word_expand(text, v->escape, true, default_value, v) : NULL;
    const char *value = given(v, name);
    if (!value)
        value = own;
    if (value)
        set_value(&v->globals.set, name, value);
    else
        map_set(&v->globals.declared, name, v);
    if (plain)
        set_value(&v->defaults, name, plain);
    strv_free(v->missing); /* an ARG of nothing is nothing: FROM tells */
    v->missing = NULL;
}

static void read_args(struct lint_vars *v, const char *rest, declare *use)
{
    for (;;) {
        char *word AUTOFREE = next_quoted_word(&rest, v->escape);
        if (!word)
            return;
        char *eq = strchr(word, '=');
        if (eq)
            *eq = '\0';
        use(v, word, eq ? eq + 1 : NULL);
    }
}

/* ENV and LABEL: NAME=VALUE ..., or the old form NAME and the rest. What ENV sets counts from the next
 * instruction on. */
static void check_pairs(struct lint_vars *v, const char *rest, bool sets)
{
    const char *p = rest;
    char *first AUTOFREE = next_quoted_word(&p, v->escape);
    char **pairs AUTOSTRV = xcalloc(1, sizeof(*pairs));
    if (first && !strchr(first, '=')) {
        char *name AUTOFREE = expand(v, first, true);
        p += strspn(p, " \t");
        char *value AUTOFREE = expand(v, p, true);
        char *pair AUTOFREE = xasprintf("%s=%s", name, value);
        strv_push(&pairs, pair);
        rest = "";
    }
    for (;;) {
        char *word AUTOFREE = next_quoted_word(&rest, v->escape);
        if (!word)
            break;
        char *pair AUTOFREE = expand(v, word, true);
        strv_push(&pairs, pair);
    }
    for (size_t i = 0; sets && pairs[i]; i++) {
        char *eq = strchr(pairs[i], '=');
        if (eq)
            *eq = '\0';
        set_value(&v->stage->set, pairs[i], eq ? eq + 1 : "");
    }
}

/* What an image gives its containers. */
static struct scope *base_scope(struct lint_vars *v, const char *image, const char *platform)
{
    struct scope *s = xcalloc(1, sizeof(*s));
    set_value(&s->set, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    s->whole = streq(image, "scratch");
    if (s->whole || !v->source->environment)
        return s;
    char **env AUTOSTRV = v->source->environment(v->source->ctx, image, platform);
    s->whole = env != NULL;
    for (size_t i = 0; env && env[i]; i++) {
        char *name AUTOFREE = xstrndup(env[i], strcspn(env[i], "="));
        set_value(&s->set, name, env[i] + strlen(name) + (env[i][strlen(name)] == '='));
    }
    return s;
}

static char *expand_from(struct lint_vars *v, const char *word)
{
    char *text = word_expand(word, v->escape, true, global_value, v);
    tell_missing(v);
    return text;
}

static void check_default(struct lint_vars *v, const char *word)
{
    char *image AUTOFREE = word_expand(word, v->escape, true, default_value, v);
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (*image && reference_parse(image, &ref, NULL) == 0)
        return;
    char *message AUTOFREE = xasprintf(
        "Default value for ARG %s results in empty or invalid base image name", word);
    v->warn(v->ctx, "InvalidDefaultArgInFrom", message, v->line);
}

static void begin_stage(struct lint_vars *v, const char *rest)
{
    char *platform AUTOFREE = NULL, *image AUTOFREE = NULL, *name AUTOFREE = NULL;
    v->stage = NULL; /* FROM sees nothing of the stage before it */
    for (;;) {
        char *word AUTOFREE = word_next(&rest);
        if (!word)
            break;
        if (starts_with(word, "--platform=") && !platform) {
            platform = expand_from(v, word + strlen("--platform="));
        } else if (!starts_with(word, "--") && !image) {
            check_default(v, word);
            image = expand_from(v, word);
        } else if (!strcasecmp(word, "as") && !name) {
            name = word_next(&rest);
        }
    }
    char *key AUTOFREE = word_lower(image ? image : "");
    const struct scope *before = map_get(&v->stages, key);
    struct scope *s = before ? scope_copy(before) : base_scope(v, image ? image : "", platform);
    v->stage = s;
    /* One without a name is filed under what no FROM can say. */
    char *own AUTOFREE = name ? word_lower(name) : xasprintf(" %zu", v->line);
    scope_free(map_set(&v->stages, own, s));
}

void lint_vars_instruction(struct lint_vars *v, const struct instruction *i)
{
    const char *name = i->name, *rest = i->rest;
    v->line = i->line;
    v->escape = i->escape;
    if (!strcasecmp(name, "FROM"))
        begin_stage(v, rest);
    else if (!strcasecmp(name, "ARG") && !v->stage)
        read_args(v, rest, global_arg);
    else if (!v->stage)
        return;
    else if (!strcasecmp(name, "ARG"))
        read_args(v, rest, stage_arg);
    else if (!strcasecmp(name, "ENV") || !strcasecmp(name, "LABEL"))
        check_pairs(v, rest, !strcasecmp(name, "ENV"));
    else if (!strcasecmp(name, "COPY") || !strcasecmp(name, "ADD"))
        check_copy(v, rest, i->body);
    else if (!strcasecmp(name, "VOLUME"))
        check_words(v, rest);
    else if (!strcasecmp(name, "RUN"))
        check_mounts(v, rest);
    else if (!strcasecmp(name, "WORKDIR") || !strcasecmp(name, "USER") ||
             !strcasecmp(name, "STOPSIGNAL"))
        check(v, rest);
}

struct lint_vars *lint_vars_new(const struct lint_source *source, lint_warning warn, void *ctx)
{
    struct lint_vars *v = xcalloc(1, sizeof(*v));
    v->source = source;
    v->warn = warn;
    v->ctx = ctx;
    for (const char *const *a = source->args; a && *a; a++) {
        char *name AUTOFREE = xstrndup(*a, strcspn(*a, "="));
        if (!is_automatic(name))
            continue;
        set_value(&v->globals.set, name, given(v, name));
        set_value(&v->defaults, name, given(v, name));
    }
    return v;
}

void lint_vars_free(struct lint_vars *v)
{
    scope_release(&v->globals);
    free_values(&v->defaults);
    map_foreach (&v->stages, it)
        scope_free(it->value);
    map_release(&v->stages);
    strv_free(v->missing);
    free(v);
}
