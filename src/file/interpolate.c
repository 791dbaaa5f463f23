#include "file/interpolate.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "file/origin.h"
#include "file/scalar.h"
#include "file/template.h"

struct walk {
    const struct pass *pass;
    const struct env *env;
    struct unset_seen *seen;
    const struct node *node; /* whose string is being substituted */
    const struct place *at;  /* its */
};

void unset_seen_release(struct unset_seen *s)
{
    map_release(&s->names);
}

static const char *lookup(void *ctx, const char *name)
{
    const struct walk *w = ctx;
    return env_get(w->env, name);
}

static void unset(void *ctx, const char *name)
{
    struct walk *w = ctx;
    if (map_set(&w->seen->names, name, w->seen))
        return;
    diag_warning(w->pass->diag, &w->node->mark,
                 "The \"%s\" variable is not set. Defaulting to a blank string.", name);
    struct closest near = {.word = name, .limit = strlen(name) < 6 ? 1 : 2};
    map_foreach (&w->env->vars, it)
        if (strlen(it->key) > 2)
            closest_try(&near, it->key);
    diag_suggest(w->pass->diag, near.best);
    pass_note(w->pass, w->at, &w->node->mark);
}

/* A variable that is required is set, but to nothing. */
static void note_empty(const struct walk *w, const char *name)
{
    const struct env_value *v = map_get(&w->env->vars, name);
    if (v)
        diag_note(w->pass->diag, &v->origin, "%s is empty%s", name,
                  v->origin.file ? "" : " in the environment");
}

static void report(const struct walk *w, const struct place *at, const struct template_error *e)
{
    const struct pass *p = w->pass;
    const char *path = place_inner_path(p->arena, at);
    const struct mark *mark = &w->node->mark;
    switch (e->fault) {
    case TEMPLATE_OK:
        break;
    case TEMPLATE_INVALID:
        pass_error(p, at, mark,
                   "%s: invalid interpolation \"%.*s\": want ${NAME}, ${NAME:-default}, "
                   "${NAME:?message} or ${NAME:+other}; a literal $ is written $$",
                   path, (int)strcspn(e->what, "\n"), e->what);
        break;
    case TEMPLATE_REQUIRED:
        if (*e->reason)
            pass_error(p, at, mark, "%s: required variable %s is missing a value: %s", path,
                       e->what, e->reason);
        else
            pass_error(p, at, mark, "%s: required variable %s is missing a value", path, e->what);
        note_empty(w, e->what);
        break;
    case TEMPLATE_TOO_DEEP:
        pass_error(p, at, mark, "%s: variable references nested deeper than %d", path,
                   TEMPLATE_DEPTH_MAX);
        break;
    case TEMPLATE_TOO_LONG:
        pass_error(p, at, mark, "%s: longer than %d bytes after interpolation", path,
                   TEMPLATE_RESULT_MAX);
        break;
    }
}

bool interpolate_bool(const char *s, bool *v)
{
    static const char *const yes[] = {"true", "y", "yes", "on"};
    static const char *const no[] = {"false", "n", "no", "off"};
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
            *v = strcasecmp(s, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static void cast(const struct walk *w, struct node *n, enum field_cast type, const struct place *at)
{
    const char *s = n->string, *want = "an integer";
    bool ok = true;
    switch (type) {
    case CAST_NONE:
        break;
    case CAST_INT:
        ok = scalar_parse_int(s, 10, &n->integer);
        n->kind = NODE_INT;
        break;
    case CAST_FLOAT:
    case CAST_FLOAT32:
        want = "a number";
        ok = scalar_parse_float(s, &n->number);
        n->kind = NODE_FLOAT;
        n->tag = type == CAST_FLOAT32 ? TAG_FLOAT32 : TAG_NONE;
        if (ok && type == CAST_FLOAT32)
            n->number = (double)(float)n->number;
        break;
    case CAST_BOOL:
        want = "true or false";
        bool v = false;
        ok = interpolate_bool(s, &v);
        n->kind = NODE_BOOL;
        if (ok && strcasecmp(s, "true") && strcasecmp(s, "false"))
            pass_warning(w->pass, at, &n->mark, "%s: \"%s\" is not a boolean in YAML 1.2: write %s",
                         place_inner_path(w->pass->arena, at), s, v ? "true" : "false");
        n->boolean = v;
        break;
    }
    if (ok)
        return;
    pass_error(w->pass, at, &n->mark, "%s: invalid value \"%s\": want %s",
               place_inner_path(w->pass->arena, at), s, want);
    n->kind = NODE_NULL;
    n->faulty = true;
}

static void walk_string(struct walk *w, struct node *n, enum field_cast type,
                        const struct place *at)
{
    struct template_vars vars = {.lookup = lookup, .unset = unset, .ctx = w};
    struct template_error e;
    w->node = n;
    w->at = at;
    if (pass_full(w->pass, &n->mark)) {
        n->faulty = true;
        return;
    }
    const char *value;
    bool substituted = strchr(n->string, '$');
    if (template_substitute(w->pass->arena, n->string, &vars, &value, &e)) {
        report(w, at, &e);
        n->faulty = true;
        return;
    }
    if (substituted)
        origins_text(w->pass->origins, n, w->env);
    n->string = value;
    cast(w, n, type, at);
}

/* What the table says of a value. */
struct view {
    const struct object *object; /* of a mapping's members */
    bool named;                  /* the members are names, and object is theirs */
    enum field_cast cast;        /* of a string */
    bool deep;                   /* cast goes for all strings below */
};

static struct view view_of(const struct field *f)
{
    if (!f)
        return (struct view){.object = NULL};
    return (struct view){
        .object = f->object,
        .named = f->type == TYPE_OBJECT_MAP,
        .cast = (enum field_cast)f->cast,
        .deep = f->type == TYPE_ULIMITS,
    };
}

static void walk_value(struct walk *w, struct node *n, struct view view, const struct place *at)
{
    if (n->kind == NODE_STRING) {
        walk_string(w, n, view.cast, at);
    } else if (n->kind == NODE_MAPPING) {
        for (size_t i = 0; i < n->count; i++) {
            struct node_pair *pair = &n->pairs[i];
            struct place here = {.up = at, .key = pair->key};
            struct view below = view;
            if (!view.deep)
                below = view.named    ? (struct view){.object = view.object}
                        : view.object ? view_of(field_of(view.object, pair))
                                      : (struct view){.object = NULL};
            walk_value(w, pair->value, below, &here);
        }
    } else if (n->kind == NODE_SEQUENCE) {
        for (size_t i = 0; i < n->count; i++) {
            struct place here = {.up = at, .index = i};
            walk_value(w, n->items[i], (struct view){.object = view.object}, &here);
        }
    }
}

void interpolate_document(const struct pass *p, struct node *root, const struct env *env,
                          struct unset_seen *seen)
{
    struct walk w = {.pass = p, .env = env, .seen = seen};
    walk_value(&w, root, (struct view){.object = &root_object}, NULL);
}

int interpolate_string(const struct pass *p, const struct node *n, const struct env *env,
                       struct unset_seen *seen, const char **out)
{
    struct walk w = {.pass = p, .env = env, .seen = seen, .node = n};
    struct template_vars vars = {.lookup = lookup, .unset = unset, .ctx = &w};
    struct template_error e;
    if (!template_substitute(p->arena, n->string, &vars, out, &e)) {
        origins_text(p->origins, n, env);
        return 0;
    }
    struct place at = {.key = "name"};
    report(&w, &at, &e);
    return -1;
}
