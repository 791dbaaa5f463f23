#include "image/module/dockerfile.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/map.h"
#include "base/mem.h"
#include "image/module/instructions.h"
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

static void add_base(struct scan *s, const char *name, const char *platform)
{
    bool number = *name && strspn(name, "0123456789") == strlen(name);
    char *lower AUTOFREE = word_lower(name);
    if (!*name || number || streq(name, "scratch") || map_get(&s->stages, lower))
        return;
    vec_foreach (s->bases, b)
        if (streq(b->name, name) && !b->platform == !platform &&
            (!platform || streq(b->platform, platform)))
            return;
    vec_push(s->bases, (struct base_image){xstrdup(name), platform ? xstrdup(platform) : NULL});
}

/* A stage begins. name NULL: it has none. */
static void note_stage(struct scan *s, const char *image, const char *name)
{
    char *lower AUTOFREE = word_lower(image), *number AUTOFREE = xasprintf("%zu", s->stages_n++);
    void *from = map_get(&s->stages, lower);
    if (!from)
        from = streq(image, "scratch") ? &scratch : &other;
    if (!s->target || streq(s->target, number) || (name && !strcasecmp(s->target, name)))
        s->from_scratch = from == &scratch;
    char *key AUTOFREE = name ? word_lower(name) : NULL;
    if (key)
        map_set(&s->stages, key, from);
}

static void from_line(struct scan *s, const char *rest)
{
    char *platform AUTOFREE = NULL, *image AUTOFREE = NULL, *name AUTOFREE = NULL;
    s->before_from = false;
    for (;;) {
        char *word AUTOFREE = word_next(&rest);
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
            name = word_next(&rest);
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
        char *word AUTOFREE = word_next(&rest);
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
        char *word AUTOFREE = word_next(&rest);
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

static void on_instruction(void *ctx, const struct instruction *i)
{
    struct scan *s = ctx;
    s->escape = i->escape;
    if (!strcasecmp(i->name, "FROM"))
        from_line(s, i->rest);
    else if (!strcasecmp(i->name, "ARG"))
        arg_line(s, i->rest);
    else if (!strcasecmp(i->name, "COPY") || !strcasecmp(i->name, "ADD") ||
             !strcasecmp(i->name, "RUN"))
        flag_line(s, i->rest);
}

static bool scan(const char *text, const char *const *args, const char *target, base_images *bases)
{
    struct scan s = {.bases = bases, .target = target, .before_from = true};
    *bases = (base_images){0};
    for (size_t i = 0; args && args[i]; i++) {
        char *name AUTOFREE = xstrndup(args[i], strcspn(args[i], "="));
        const char *eq = strchr(args[i], '=');
        set_variable(&s, name, eq ? eq + 1 : "");
        map_set(&s.overrides, name, bases);
    }
    dockerfile_instructions(text, on_instruction, &s);
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
