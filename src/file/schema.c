#include "file/schema.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"

/* schema/schema.S */
extern const char schema_json[];
extern const char schema_json_end[];

struct schema_set {
    struct arena *arena;
    struct schema *root;
    struct map defs;     /* "#/$defs/NAME" -> struct schema */
    struct map patterns; /* text -> struct schema_pattern */
    struct schema **all; /* for the release of their maps */
    size_t all_n, all_cap;
    json_t *json;
};

static struct schema *compile(struct schema_set *set, const json_t *j);

static unsigned type_bit(const char *name)
{
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(name, names[i]))
            return 1u << i;
    abort();
}

static unsigned compile_types(const json_t *j)
{
    unsigned types = 0;
    size_t i;
    json_t *item;
    if (json_is_string(j))
        return type_bit(json_string_value(j));
    json_array_foreach (j, i, item)
        types |= type_bit(json_string_value(item));
    return types;
}

static const char **compile_strings(struct schema_set *set, const json_t *j)
{
    if (!j)
        return NULL;
    const char **v = arena_array(set->arena, const char *, json_array_size(j) + 1);
    size_t i;
    json_t *item;
    json_array_foreach (j, i, item)
        v[i] = json_string_value(item);
    return v;
}

static struct schema_pattern *compile_pattern(struct schema_set *set, const char *text)
{
    struct schema_pattern *p = map_get(&set->patterns, text);
    if (!p) {
        p = arena_new_of(set->arena, struct schema_pattern);
        p->text = text;
        map_set(&set->patterns, text, p);
    }
    return p;
}

static void compile_object(struct schema_set *set, struct schema *s, const json_t *j)
{
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(j, "properties"), key, value)
        map_set(&s->properties, key, compile(set, value));
    json_t *patterns = json_object_get(j, "patternProperties");
    s->members = arena_array(set->arena, struct schema_member, json_object_size(patterns));
    json_object_foreach (patterns, key, value)
        s->members[s->members_n++] = (struct schema_member){.pattern = compile_pattern(set, key),
                                                            .schema = compile(set, value)};
    s->closed = json_is_false(json_object_get(j, "additionalProperties"));
}

static struct schema *compile(struct schema_set *set, const json_t *j)
{
    struct schema *s = arena_new_of(set->arena, struct schema);
    if (set->all_n == set->all_cap) {
        set->all_cap = set->all_cap ? set->all_cap * 2 : 512;
        set->all = xrealloc(set->all, set->all_cap * sizeof(struct schema *));
    }
    set->all[set->all_n++] = s;
    s->ref = json_string_value(json_object_get(j, "$ref"));
    s->types = compile_types(json_object_get(j, "type"));
    s->unique = json_is_true(json_object_get(j, "uniqueItems"));
    const json_t *min = json_object_get(j, "minimum"), *max = json_object_get(j, "maximum");
    s->has_min = min;
    s->has_max = max;
    s->min = json_number_value(min);
    s->max = json_number_value(max);
    s->required = compile_strings(set, json_object_get(j, "required"));
    s->values = compile_strings(set, json_object_get(j, "enum"));
    const char *pattern = json_string_value(json_object_get(j, "pattern"));
    s->want = json_string_value(json_object_get(j, "x-want"));
    if (pattern)
        s->pattern = compile_pattern(set, pattern);
    const json_t *items = json_object_get(j, "items"), *one_of = json_object_get(j, "oneOf");
    if (items)
        s->items = compile(set, items);
    s->one_of = arena_array(set->arena, struct schema *, json_array_size(one_of));
    for (size_t i = 0; i < json_array_size(one_of); i++)
        s->one_of[s->one_of_n++] = compile(set, json_array_get(one_of, i));
    compile_object(set, s, j);
    return s;
}

struct schema_set *schema_load(void)
{
    struct schema_set *set = xcalloc(1, sizeof(*set));
    set->arena = arena_new();
    json_error_t error;
    set->json = json_loadb(schema_json, (size_t)(schema_json_end - schema_json), 0, &error);
    if (!set->json) {
        fprintf(stderr, "built-in schema, line %d: %s\n", error.line, error.text);
        abort();
    }
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(set->json, "$defs"), key, value) {
        const char *ref = arena_printf(set->arena, "#/$defs/%s", key);
        map_set(&set->defs, ref, compile(set, value));
    }
    set->root = compile(set, set->json);
    for (size_t i = 0; i < set->all_n; i++)
        if (set->all[i]->ref && !(set->all[i]->target = map_get(&set->defs, set->all[i]->ref)))
            abort();
    return set;
}

void schema_free(struct schema_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->all_n; i++)
        map_release(&set->all[i]->properties);
    map_foreach (&set->patterns, it) {
        struct schema_pattern *p = it->value;
        if (p->compiled)
            regfree(&p->regex);
    }
    map_release(&set->defs);
    map_release(&set->patterns);
    free(set->all);
    json_decref(set->json);
    arena_free(set->arena);
    free(set);
}

const struct schema *schema_root(const struct schema_set *set)
{
    return set->root;
}

const struct schema *schema_follow(const struct schema *s)
{
    while (s->target)
        s = s->target;
    return s;
}

bool schema_matches(struct schema_pattern *p, const char *s)
{
    /* The patterns of nearly every key, without the regex machine. */
    if (streq(p->text, "^x-"))
        return starts_with(s, "x-");
    if (streq(p->text, ".+"))
        return *s;
    if (streq(p->text, "^[a-zA-Z0-9._-]+$"))
        return *s && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-")];
    if (!p->compiled) {
        if (regcomp(&p->regex, p->text, REG_EXTENDED | REG_NOSUB))
            abort();
        p->compiled = true;
    }
    return regexec(&p->regex, s, 0, NULL, 0) == 0;
}

const struct schema *schema_property(const struct schema *s, const char *name)
{
    const struct schema *found = map_get(&s->properties, name);
    for (size_t i = 0; !found && i < s->members_n; i++)
        if (schema_matches(s->members[i].pattern, name))
            found = s->members[i].schema;
    return found;
}
