#include "file/origin.h"

#include <string.h>

#include "base/mem.h"

enum { VALUE_SHOWN = 100, WAY_SHOWN = 10 };

void origins_release(struct origins *o)
{
    vec_release(&o->texts);
    vec_release(&o->aliases);
    vec_release(&o->extends);
    map_release(&o->files);
}

void origins_text(struct origins *o, const struct node *n, const struct env *env)
{
    if (o)
        vec_push(&o->texts, (struct origin_text){.mark = n->mark, .text = n->string, .env = env});
}

void origins_file(struct origins *o, struct arena *a, const char *file, const struct mark *by)
{
    if (!o || !by || !by->file || map_get(&o->files, file))
        return;
    struct mark *mark = arena_new_of(a, struct mark);
    *mark = *by;
    map_set(&o->files, file, mark);
}

void origins_extends(struct origins *o, struct origin_extends extends)
{
    if (o)
        vec_push(&o->extends, extends);
}

unsigned origins_alias(struct origins *o, struct origin_alias alias)
{
    if (!o || o->aliases.n == ALIASES_MAX)
        return 0;
    vec_push(&o->aliases, alias);
    return (unsigned)o->aliases.n;
}

/* The statement that brought the file in, or NULL: the user named it. */
static const struct mark *origins_of_file(const struct origins *o, const char *file)
{
    return o && file ? map_get(&o->files, file) : NULL;
}

const struct origin_text *origins_text_at(const struct origins *o, const struct mark *mark)
{
    if (o)
        vec_foreach (&o->texts, it)
            if (mark_equal(&it->mark, mark))
                return it;
    return NULL;
}

const struct origin_alias *origins_alias_of(const struct origins *o, const struct mark *mark)
{
    return o && mark->alias ? &o->aliases.v[mark->alias - 1] : NULL;
}

struct listing {
    const struct origin_text *text;
    void (*use)(void *ctx, const struct origin_variable *v);
    void *ctx;
};

static const char *look_up(void *ctx, const char *name)
{
    const struct listing *l = ctx;
    return env_get(l->text->env, name);
}

static void list_used(void *ctx, const char *name, enum template_source from, const char *value)
{
    const struct listing *l = ctx;
    const struct env_value *known = map_get(&l->text->env->vars, name);
    struct origin_variable v = {.name = name, .value = value, .from = from};
    if (known && from == TEMPLATE_FROM_VARIABLE)
        v.mark = known->origin;
    l->use(l->ctx, &v);
}

void origins_variables(const struct pass *p, const struct origin_text *t,
                       void (*use)(void *ctx, const struct origin_variable *v), void *ctx)
{
    struct listing l = {.text = t, .use = use, .ctx = ctx};
    struct template_vars vars = {.lookup = look_up, .used = list_used, .ctx = &l};
    struct template_error e;
    const char *out;
    template_substitute(p->arena, t->text, &vars, &out, &e);
}

const char *origin_variable_text(struct arena *a, const struct origin_variable *v)
{
    const char *more = strlen(v->value) > VALUE_SHOWN ? "..." : "";
    switch (v->from) {
    case TEMPLATE_FROM_VARIABLE:
        return arena_printf(a, "%s is \"%.*s%s\"%s", v->name, VALUE_SHOWN, v->value, more,
                            v->mark.file ? "" : " in the environment");
    case TEMPLATE_FROM_DEFAULT:
        return arena_printf(a, "%s is not set: its default \"%.*s%s\" is taken", v->name,
                            VALUE_SHOWN, v->value, more);
    case TEMPLATE_FROM_ALTERNATIVE:
        return arena_printf(a, "%s is set: \"%.*s%s\" stands for it", v->name, VALUE_SHOWN,
                            v->value, more);
    case TEMPLATE_FROM_NOTHING:
        return arena_printf(a, "%s is not set: it counts as blank", v->name);
    }
    return "";
}

static void note_variable(void *ctx, const struct origin_variable *v)
{
    const struct pass *p = ctx;
    diag_note(p->diag, &v->mark, "%s", origin_variable_text(p->arena, v));
}

static bool is_within(const struct origin_range *r, const struct mark *mark)
{
    return r->file && streq(r->file, mark->file) && mark->line >= r->first &&
           (!r->last || mark->line <= r->last);
}

/* From the service to the one whose text holds mark, by way of what each extends. */
static void note_extends(const struct pass *p, const char *service, const struct mark *mark)
{
    const struct origin_extends *way[WAY_SHOWN];
    size_t n = 0;
    while (service && n < WAY_SHOWN) {
        const struct origin_extends *next = NULL;
        vec_foreach (&p->origins->extends, it)
            if (streq(it->service, service))
                next = it;
        if (!next)
            return;
        way[n++] = next;
        if (is_within(&next->base_range, mark))
            break;
        service = streq(next->base, service) ? NULL : next->base;
        if (!service || n == WAY_SHOWN)
            return;
    }
    while (n--)
        diag_note(p->diag, &way[n]->mark, "\"%s\" is extended by \"%s\" here", way[n]->base,
                  way[n]->service);
}

/* The chain of aliases from what is at mark outwards; the place of the last one. */
static struct mark note_aliases(const struct pass *p, struct mark mark)
{
    const struct origin_alias *alias;
    for (int n = 0; n < WAY_SHOWN && (alias = origins_alias_of(p->origins, &mark)); n++) {
        diag_note(p->diag, &alias->mark, "it comes in here, through *%s", alias->name);
        mark = alias->mark;
    }
    return mark;
}

/* The chain of statements that brought the file in. */
static void note_files(const struct pass *p, const char *file)
{
    for (int depth = 0; depth < WAY_SHOWN; depth++) {
        const struct mark *by = origins_of_file(p->origins, file);
        if (!by)
            return;
        diag_note(p->diag, by, "%s is read because of this", file);
        file = by->file;
    }
}

void origins_note(const struct pass *p, const char *service, const struct mark *mark)
{
    if (!p->origins || !mark || !mark->file || p->diag->last_dropped)
        return;
    const struct origin_text *text = origins_text_at(p->origins, mark);
    if (text)
        origins_variables(p, text, note_variable, (void *)p);
    const struct mark outer = note_aliases(p, *mark);
    if (service)
        note_extends(p, service, &outer);
    note_files(p, outer.file);
}
