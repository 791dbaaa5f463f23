#include "image/module/dockerfile.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/words.h"

struct scan {
    struct map variables; /* values, heap */
    struct map overrides; /* names given from outside */
    struct map
        stages; /* name in lower case -> &scratch or &other: what it starts from in the end */
    base_images *bases;
    const char *target; /* name or number of the stage that is wanted, NULL: the last */
    size_t stages_n;
    bool from_scratch; /* the stage that is wanted, as far as it is known */
    bool before_from;
    char escape;
};

static char scratch, other;

static void set_variable(struct scan *s, const char *name, const char *value)
{
    free(map_set(&s->variables, name, xstrdup(value)));
}

static const char *variable(void *ctx, const char *name)
{
    const struct scan *s = ctx;
    return map_get(&s->variables, name);
}

static char *expand(struct scan *s, const char *text)
{
    return word_expand(text, s->escape, true, variable, s);
}

static char *lower_case(const char *text)
{
    char *out = xstrdup(text);
    for (char *p = out; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return out;
}

static void add_base(struct scan *s, const char *name, const char *platform)
{
    bool number = *name && strspn(name, "0123456789") == strlen(name);
    char *lower AUTOFREE = lower_case(name);
    if (!*name || number || streq(name, "scratch") || map_get(&s->stages, lower))
        return;
    vec_foreach (s->bases, b)
        if (streq(b->name, name) && !b->platform == !platform &&
            (!platform || streq(b->platform, platform)))
            return;
    vec_push(s->bases, (struct base_image){xstrdup(name), platform ? xstrdup(platform) : NULL});
}

static char *word_at(const char **p)
{
    *p += strspn(*p, " \t");
    size_t n = strcspn(*p, " \t");
    if (!n)
        return NULL;
    char *word = xstrndup(*p, n);
    *p += n;
    return word;
}

/* A stage begins. name NULL: it has none. */
static void note_stage(struct scan *s, const char *image, const char *name)
{
    char *lower AUTOFREE = lower_case(image), *number AUTOFREE = xasprintf("%zu", s->stages_n++);
    void *from = map_get(&s->stages, lower);
    if (!from)
        from = streq(image, "scratch") ? &scratch : &other;
    if (!s->target || streq(s->target, number) || (name && !strcasecmp(s->target, name)))
        s->from_scratch = from == &scratch;
    char *key AUTOFREE = name ? lower_case(name) : NULL;
    if (key)
        map_set(&s->stages, key, from);
}

static void from_line(struct scan *s, const char *rest)
{
    char *platform AUTOFREE = NULL, *image AUTOFREE = NULL, *name AUTOFREE = NULL;
    s->before_from = false;
    for (;;) {
        char *word AUTOFREE = word_at(&rest);
        if (!word)
            break;
        if (starts_with(word, "--platform=")) {
            free(platform);
            platform = expand(s, word + 11);
        } else if (!starts_with(word, "--") && !image) {
            image = expand(s, word);
            add_base(s, image, platform);
        } else if (!strcasecmp(word, "as")) {
            free(name);
            name = word_at(&rest);
        }
    }
    if (image)
        note_stage(s, image, name);
}

static void arg_line(struct scan *s, const char *rest)
{
    if (!s->before_from)
        return; /* of a stage: FROM does not see it */
    for (;;) {
        char *word AUTOFREE = word_at(&rest);
        if (!word)
            return;
        char *eq = strchr(word, '=');
        if (eq)
            *eq = '\0';
        if (map_get(&s->overrides, word) || !eq)
            continue;
        char *value AUTOFREE = expand(s, eq + 1);
        set_variable(s, word, value);
    }
}

/* COPY --from=X and RUN --mount=...,from=X. */
static void flag_line(struct scan *s, const char *rest)
{
    for (;;) {
        char *word AUTOFREE = word_at(&rest);
        if (!word || !starts_with(word, "--"))
            return;
        if (starts_with(word, "--from="))
            add_base(s, word + 7, NULL);
        const char *from = starts_with(word, "--mount=") ? strstr(word, "from=") : NULL;
        if (from && (from[-1] == ',' || from[-1] == '=')) {
            char *name AUTOFREE = xstrndup(from + 5, strcspn(from + 5, ","));
            add_base(s, name, NULL);
        }
    }
}

static void logical_line(struct scan *s, const char *line)
{
    const char *p = line + strspn(line, " \t");
    char *keyword AUTOFREE = word_at(&p);
    if (!keyword)
        return;
    if (!strcasecmp(keyword, "FROM"))
        from_line(s, p);
    else if (!strcasecmp(keyword, "ARG"))
        arg_line(s, p);
    else if (!strcasecmp(keyword, "COPY") || !strcasecmp(keyword, "ADD") ||
             !strcasecmp(keyword, "RUN"))
        flag_line(s, p);
}

/* The end marks of the here-documents that a line opens: RUN <<EOF, COPY <<-"A" <<B /x. */
static char **here_marks(const char *line)
{
    char **marks = NULL;
    const char *p = line + strspn(line, " \t");
    if (strncasecmp(p, "RUN", 3) && strncasecmp(p, "COPY", 4) && strncasecmp(p, "ADD", 3))
        return NULL;
    while ((p = strstr(p, "<<"))) {
        p += 2;
        if (*p == '-')
            p++;
        char quote = *p == '"' || *p == '\'' ? *p++ : 0;
        size_t n = 0;
        while (isalnum((unsigned char)p[n]) || p[n] == '_')
            n++;
        if (!n)
            continue;
        char *mark AUTOFREE = xstrndup(p, n);
        strv_push(&marks, mark);
        p += n;
        if (quote && *p == quote)
            p++;
    }
    return marks;
}

static const char *next_line(const char *p, struct strbuf *line)
{
    size_t n = strcspn(p, "\n");
    strbuf_setlen(line, 0);
    strbuf_add(line, p, n);
    if (line->len && line->buf[line->len - 1] == '\r')
        strbuf_setlen(line, line->len - 1);
    return p[n] ? p + n + 1 : p + n;
}

static const char *skip_here_documents(const char *p, const char *logical)
{
    char **marks AUTOSTRV = here_marks(logical);
    struct strbuf line AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; marks && marks[i]; i++)
        while (*p) {
            p = next_line(p, &line);
            if (streq(line.buf + strspn(line.buf, "\t"), marks[i]))
                break;
        }
    return p;
}

static void scan_lines(struct scan *s, const char *text)
{
    struct strbuf line AUTOBUF = STRBUF_INIT, logical AUTOBUF = STRBUF_INIT;
    const char *directive = strcasestr(text, "# escape=`");
    /* A directive stands before everything else. */
    if (directive && strspn(text, "# \t\nabcdefghijklmnopqrstuvwxyz=`./:-1234567890") >=
                         (size_t)(directive - text))
        s->escape = '`';
    for (const char *p = text; *p;) {
        p = next_line(p, &line);
        const char *start = line.buf + strspn(line.buf, " \t");
        if (*start == '#' || (!*start && logical.len))
            continue; /* comments and empty lines do not end a continued line */
        size_t n = line.len;
        while (n && (line.buf[n - 1] == ' ' || line.buf[n - 1] == '\t'))
            n--;
        bool goes_on = n && line.buf[n - 1] == s->escape;
        strbuf_add(&logical, line.buf, goes_on ? n - 1 : n);
        if (goes_on && *p)
            continue;
        logical_line(s, logical.buf);
        p = skip_here_documents(p, logical.buf);
        strbuf_setlen(&logical, 0);
    }
}

static bool scan(const char *text, const char *const *args, const char *target, base_images *bases)
{
    struct scan s = {.bases = bases, .target = target, .before_from = true, .escape = '\\'};
    *bases = (base_images){0};
    for (size_t i = 0; args && args[i]; i++) {
        char *name AUTOFREE = xstrndup(args[i], strcspn(args[i], "="));
        const char *eq = strchr(args[i], '=');
        set_variable(&s, name, eq ? eq + 1 : "");
        map_set(&s.overrides, name, bases);
    }
    scan_lines(&s, text);
    map_foreach (&s.variables, it)
        free(it->value);
    map_release(&s.variables);
    map_release(&s.overrides);
    map_release(&s.stages);
    return s.from_scratch;
}

void dockerfile_bases(const char *text, const char *const *args, base_images *bases)
{
    scan(text, args, NULL, bases);
}

bool dockerfile_from_scratch(const char *text, const char *const *args, const char *target)
{
    base_images bases;
    bool yes = scan(text, args, target, &bases);
    base_images_release(&bases);
    return yes;
}

void base_images_release(base_images *bases)
{
    vec_foreach (bases, b) {
        free(b->name);
        free(b->platform);
    }
    vec_release(bases);
}
