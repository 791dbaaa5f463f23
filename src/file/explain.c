#include "file/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/history.h"
#include "file/paths.h"

enum { STEPS_MAX = 32, EXTENDS_DEPTH = 100 };

/* One step of the path: a key, or an element of a list. */
struct part {
    const char *key;   /* NULL: an element */
    struct mark *same; /* of an element: its place and those of the elements that it replaced */
    size_t same_n;
};

struct search {
    const struct pass *pass;
    const struct history *history;
    const struct env *env;
    struct part parts[STEPS_MAX];
    size_t parts_n;
    VEC(struct explain_step) found; /* oldest first */
};

/* The longest key of the mapping that text goes on with; its length in *n. */
static const struct node_pair *longest_key(const struct node *map, const char *text, size_t *n)
{
    const struct node_pair *best = NULL;
    for (size_t i = 0; i < map->count; i++) {
        size_t len = strlen(map->pairs[i].key);
        if (starts_with(text, map->pairs[i].key) && (!text[len] || strchr(".[", text[len])) &&
            (!best || len > *n)) {
            best = &map->pairs[i];
            *n = len;
        }
    }
    return best;
}

/* Says what is wrong with the path at text, below a value that stands at done. */
static void report_unknown(const struct search *s, const struct node *n, const char *done,
                           const char *text, const struct object *object)
{
    size_t len = *text == '[' ? strcspn(text, "]") + 1 : strcspn(text, ".[");
    const char *key = arena_strndup(s->pass->arena, text, len);
    const char *where = *done ? done : "the project";
    struct closest near = {.word = key};
    for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++)
        closest_try(&near, n->pairs[i].key);
    if (n->kind == NODE_SEQUENCE)
        diag_error(s->pass->diag, &n->mark, "%s is a list of %u: no element %s", where, n->count,
                   key);
    else if (n->kind != NODE_MAPPING)
        diag_error(s->pass->diag, &n->mark, "%s is a %s: there is no %s in it", where,
                   node_kind_name(n), key);
    else if (object && field_named(object, key))
        diag_error(s->pass->diag, NULL, "%s has no \"%s\": it is not set", where, key);
    else
        diag_error(s->pass->diag, NULL, "%s has no \"%s\"", where, key);
    if (n->kind == NODE_MAPPING && !(object && field_named(object, key)))
        diag_suggest(s->pass->diag, near.best);
}

static const struct node *element(const struct node *n, const char *text, size_t *len)
{
    char *end;
    unsigned long i = n->kind == NODE_SEQUENCE && text[0] == '[' ? strtoul(text + 1, &end, 10) : 0;
    if (n->kind != NODE_SEQUENCE || text[0] != '[' || end == text + 1 || *end != ']' ||
        i >= n->count)
        return NULL;
    *len = (size_t)(end + 1 - text);
    return n->items[i];
}

/* ["KEY"] */
static const struct node_pair *quoted_key(const struct search *s, const struct node *n,
                                          const char *text, size_t *len)
{
    const char *end = starts_with(text, "[\"") ? strstr(text, "\"]") : NULL;
    if (!end || n->kind != NODE_MAPPING)
        return NULL;
    *len = (size_t)(end + 2 - text);
    return node_pair(n, arena_strndup(s->pass->arena, text + 2, *len - 4));
}

static void remember_element(struct search *s, struct part *part, const struct node *n)
{
    const struct history *h = s->history;
    part->same = arena_array(s->pass->arena, struct mark, h->replaced.n + 1);
    part->same[part->same_n++] = n->mark;
    /* from the last one back, so that what was replaced by a replaced one is found too */
    for (size_t i = h->replaced.n; i-- > 0;) {
        bool known = false, wins = false;
        for (size_t k = 0; k < part->same_n; k++) {
            wins |= mark_equal(&part->same[k], &h->replaced.v[i].winner);
            known |= mark_equal(&part->same[k], &h->replaced.v[i].loser);
        }
        if (wins && !known)
            part->same[part->same_n++] = h->replaced.v[i].loser;
    }
}

/* The node that the path names, and its parts; NULL where it was reported. */
static const struct node *follow(struct search *s, const struct node *root, const char *path)
{
    const struct node *n = root;
    const struct object *object = &root_object;
    bool named = false;
    for (const char *at = path; *at;) {
        size_t len = 0;
        const struct node_pair *pair = quoted_key(s, n, at, &len);
        const struct node *item = pair ? NULL : element(n, at, &len);
        if (!pair && !item && n->kind == NODE_MAPPING)
            pair = longest_key(n, at, &len);
        if ((!pair && !item) || s->parts_n == STEPS_MAX) {
            size_t done = (size_t)(at - path) - (at > path && at[-1] == '.');
            report_unknown(s, n, arena_strndup(s->pass->arena, path, done), at,
                           named ? NULL : object);
            return NULL;
        }
        struct part *part = &s->parts[s->parts_n++];
        n = pair ? pair->value : item;
        if (pair) {
            const struct field *f = object && !named ? field_named(object, pair->key) : NULL;
            part->key = pair->key;
            object = named ? object : f ? f->object : NULL;
            named = !named && f && f->type == TYPE_OBJECT_MAP;
        } else {
            remember_element(s, part, n);
        }
        at += len;
        at += *at == '.';
    }
    return n;
}

struct way {
    const struct way *up;
    const char *how;
    struct mark mark;
};

static void copy_variable(void *ctx, const struct origin_variable *v)
{
    struct explain_step *step = ctx;
    if (step->variables)
        step->variables[step->variables_n] = *v;
    step->variables_n++;
}

static void add_variables(const struct search *s, struct explain_step *step)
{
    const struct origin_text *t = origins_text_at(s->pass->origins, &step->mark);
    if (!t)
        return;
    step->text = t->text;
    origins_variables(s->pass, t, copy_variable, step); /* counts */
    step->variables = arena_array(s->pass->arena, struct origin_variable, step->variables_n);
    step->variables_n = 0;
    origins_variables(s->pass, t, copy_variable, step);
}

/* "- NAME" and "NAME:" of an environment take the value of the variable. */
static void add_taken(const struct search *s, struct explain_step *step)
{
    const char *name = s->parts_n < 4 ? NULL : s->parts[3].key;
    if (!name || !s->parts[2].key || !streq(s->parts[2].key, "environment"))
        return;
    bool bare = step->value->kind == NODE_NULL ||
                (node_str(step->value) && streq(step->value->string, name));
    const struct env_value *v = bare ? map_get(&s->env->vars, name) : NULL;
    if (!v || step->variables_n)
        return;
    step->variables = arena_new_of(s->pass->arena, struct origin_variable);
    step->variables[step->variables_n++] = (struct origin_variable){
        .name = name, .value = v->value, .from = TEMPLATE_FROM_VARIABLE, .mark = v->origin};
}

/* The aliases that put in what stands at mark; not that of a merge key, which says it itself. */
static void add_aliases(const struct search *s, struct explain_step *step, const struct way *way)
{
    const struct origin_alias *a = origins_alias_of(s->pass->origins, &step->mark);
    for (; a && step->ways_n < EXPLAIN_WAYS_MAX; a = origins_alias_of(s->pass->origins, &a->mark)) {
        const struct way *merge = way;
        while (merge && !(streq(merge->how, "merge key") && merge->mark.line == a->mark.line &&
                          streq(merge->mark.file, a->mark.file)))
            merge = merge->up;
        if (!merge)
            step->ways[step->ways_n++] = (struct explain_way){.how = "alias", .mark = a->mark};
    }
}

static void add_step(struct search *s, enum explain_kind kind, struct mark mark,
                     const struct node *value, const struct way *way)
{
    struct explain_step step = {.kind = kind, .mark = mark, .value = value};
    add_aliases(s, &step, way);
    for (; way && step.ways_n < EXPLAIN_WAYS_MAX; way = way->up)
        step.ways[step.ways_n++] = (struct explain_way){.how = way->how, .mark = way->mark};
    if (value) {
        add_variables(s, &step);
        add_taken(s, &step);
    }
    vec_push(&s->found, step);
}

static bool names_key(const struct node *item, const char *key)
{
    const char *text = node_str(item);
    size_t n = strlen(key);
    return text && starts_with(text, key) && (!text[n] || text[n] == '=' || text[n] == ':');
}

static bool is_same(const struct part *part, const struct node *item)
{
    for (size_t i = 0; i < part->same_n; i++)
        if (mark_equal(&part->same[i], &item->mark))
            return true;
    return false;
}

static void search_value(struct search *s, const struct node *n, size_t part,
                         const struct way *way);

static void search_member(struct search *s, const struct node *n, size_t part,
                          const struct way *way)
{
    const char *key = s->parts[part].key;
    const struct way *used = way;
    struct way won;
    vec_foreach (&s->history->merges, it) {
        if (!mark_equal(&it->map, &n->mark) || !streq(it->key, key))
            continue;
        struct way merge = {.up = way, .how = "merge key", .mark = it->at};
        if (it->lost) {
            search_value(s, it->value, part + 1, &merge);
        } else {
            won = merge;
            used = &won;
        }
    }
    const struct node *value = node_get(n, key);
    if (value)
        search_value(s, value, part + 1, used);
}

/* What n, which stands for the parts before part, says of the path. */
static void search_value(struct search *s, const struct node *n, size_t part, const struct way *way)
{
    if (part == s->parts_n) {
        add_step(s, EXPLAIN_OVERRIDDEN, n->mark, n, way);
    } else if (n->kind == NODE_MAPPING) {
        if (s->parts[part].key)
            search_member(s, n, part, way);
    } else if (n->kind == NODE_SEQUENCE) {
        for (size_t i = 0; i < n->count; i++) {
            const struct node *item = n->items[i];
            const char *key = s->parts[part].key;
            if (key ? names_key(item, key) : is_same(&s->parts[part], item))
                search_value(s, item, part + 1, way);
        }
    } else if (n->kind != NODE_NULL) {
        add_step(s, EXPLAIN_OVERRIDDEN, n->mark, n, way); /* a short form of it all */
    }
}

/* !reset and !override in the layer that stand at the path or above it. name: what the layer calls
 * the service. */
static void search_resets(struct search *s, const struct history_layer *layer, const char *name,
                          const struct way *way)
{
    for (size_t i = 0; layer->doc && i < layer->doc->resets_n; i++) {
        const struct node_path *path = &layer->doc->resets[i];
        bool above = path->n <= s->parts_n;
        for (size_t k = 0; above && k < path->n; k++) {
            const char *key = k == 1 && name ? name : s->parts[k].key;
            above = key && streq(path->keys[k], key);
        }
        if (above)
            add_step(s, path->replaces ? EXPLAIN_REPLACED : EXPLAIN_REMOVED, path->mark, NULL, way);
    }
}

static void search_service(struct search *s, const struct history_layer *layer, const char *name,
                           const struct way *way, int depth);

static void search_base(struct search *s, const struct history_layer *layer,
                        const struct node *extends, const struct way *way, int depth)
{
    const struct node *service = extends->kind == NODE_MAPPING ? node_get(extends, "service")
                                                               : extends;
    const char *file = node_get_str(extends, "file"), *name = node_str(service);
    struct arena *a = s->pass->arena;
    struct way here = {.up = way, .how = "extends", .mark = extends->mark};
    if (!name || depth > EXTENDS_DEPTH)
        return;
    if (!file && !layer->extended) {
        search_service(s, layer, name, &here, depth + 1);
        return;
    }
    const char *path = file ? paths_join(a, *file == '/' ? "" : layer->dir, file) : layer->path;
    for (size_t i = 0; i < s->history->layers.n; i++) {
        const struct history_layer *other = &s->history->layers.v[i];
        if (other->extended && streq(other->path, path))
            search_service(s, other, name, &here, depth + 1);
    }
}

static void search_service(struct search *s, const struct history_layer *layer, const char *name,
                           const struct way *way, int depth)
{
    const struct node *service = node_get(node_get(layer->root, "services"), name);
    const struct node *extends = node_get(service, "extends");
    if (node_given(extends))
        search_base(s, layer, extends, way, depth);
    search_resets(s, layer, name, way);
    if (service)
        search_value(s, service, 2, way);
}

static void search_layer(struct search *s, const struct history_layer *layer)
{
    struct way by = {.how = layer->how, .mark = layer->by};
    const struct way *way = layer->by.file ? &by : NULL;
    if (s->parts_n >= 2 && s->parts[0].key && streq(s->parts[0].key, "services")) {
        search_service(s, layer, s->parts[1].key, way, 0);
    } else {
        search_resets(s, layer, NULL, way);
        search_value(s, layer->root, 0, way);
    }
}

static bool is_scalar(const struct node *n)
{
    return n->kind != NODE_SEQUENCE && n->kind != NODE_MAPPING;
}

static void judge(struct search *s, const struct node *value)
{
    size_t winner = s->found.n, from = 0;
    for (size_t i = 0; i < s->found.n; i++)
        if (!s->found.v[i].value)
            from = i;
    /* The place of the value; where a pass made it anew without one, the last one that was said. */
    for (size_t i = s->found.n; i-- > from && winner == s->found.n;)
        if (s->found.v[i].value && mark_equal(&s->found.v[i].mark, &value->mark))
            winner = i;
    for (size_t i = s->found.n; i-- > from && winner == s->found.n;)
        if (s->found.v[i].value)
            winner = i;
    if (winner < s->found.n)
        s->found.v[winner].kind = EXPLAIN_SET;
    size_t parts = 0;
    for (size_t i = from; i < s->found.n; i++)
        parts += s->found.v[i].value && !is_scalar(s->found.v[i].value);
    if (!is_scalar(value) && parts > 1)
        for (size_t i = from; i < s->found.n; i++)
            if (s->found.v[i].value)
                s->found.v[i].kind = EXPLAIN_PART;
}

void explain_find(const struct pass *p, const struct node *root, const struct node *disabled,
                  const struct env *env, struct explain *e)
{
    struct search s = {.pass = p, .history = p->origins->history, .env = env};
    struct node everything = *root; /* a service without an active profile can be explained too */
    struct node *services = node_get(root, "services");
    if (node_is(services, NODE_MAPPING) && disabled->count) {
        everything = *node_clone(p->arena, root);
        services = node_get(&everything, "services");
        for (size_t i = 0; i < disabled->count; i++)
            node_put(p->arena, services, disabled->pairs[i].key, disabled->pairs[i].value);
    }
    e->value = follow(&s, &everything, e->path);
    if (!e->value)
        return;
    e->mark = e->value->mark;
    /* Variables of files are weaker than environment: and labels:. */
    for (int documents = 0; documents < 2; documents++)
        for (size_t i = 0; i < s.history->layers.n; i++) {
            const struct history_layer *layer = &s.history->layers.v[i];
            if (!layer->extended && !layer->doc == !documents)
                search_layer(&s, layer);
        }
    judge(&s, e->value);
    e->n = s.found.n;
    e->steps = arena_array(p->arena, struct explain_step, e->n);
    for (size_t i = 0; i < e->n; i++)
        e->steps[i] = s.found.v[e->n - 1 - i];
    vec_release(&s.found);
}
