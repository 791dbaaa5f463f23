#include "model/changes.h"

#include <stdarg.h>
#include <stdbool.h>

json_t *changes_path(const char *first, ...)
{
    json_t *path = json_array();
    va_list ap;
    va_start(ap, first);
    for (const char *s = first; s; s = va_arg(ap, const char *))
        json_array_append_new(path, json_text(s));
    va_end(ap);
    return path;
}

static void add(json_t *list, const json_t *path, const json_t *a, const json_t *b)
{
    json_t *change = json_object();
    json_object_set_new(change, "path", path ? json_copy((json_t *)path) : json_array());
    if (a)
        json_object_set(change, "old", (json_t *)a);
    if (b)
        json_object_set(change, "new", (json_t *)b);
    json_array_append_new(list, change);
}

static json_t *below(const json_t *path, json_t *take_step)
{
    json_t *inner = path ? json_copy((json_t *)path) : json_array();
    json_array_append_new(inner, take_step);
    return inner;
}

static void compare_objects(json_t *list, const json_t *path, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)a, key, value) {
        json_t *inner AUTOJSON = below(path, json_text(key));
        changes_add(list, inner, value, json_object_get(b, key));
    }
    json_object_foreach ((json_t *)b, key, value) {
        json_t *inner AUTOJSON = below(path, json_text(key));
        if (!json_object_get(a, key))
            changes_add(list, inner, NULL, value);
    }
}

static bool holds_containers(const json_t *array)
{
    size_t i;
    json_t *item;
    json_array_foreach (array, i, item)
        if (json_is_object(item) || json_is_array(item))
            return true;
    return false;
}

static bool has_equal(const json_t *array, const json_t *item)
{
    size_t i;
    json_t *other;
    json_array_foreach (array, i, other)
        if (json_equal(other, item))
            return true;
    return false;
}

/* Elements that came and went, where a list of mappings has another length. */
static void compare_members(json_t *list, const json_t *path, const json_t *a, const json_t *b)
{
    size_t i;
    json_t *item;
    json_array_foreach (a, i, item) {
        json_t *inner AUTOJSON = below(path, json_integer((json_int_t)i));
        if (!has_equal(b, item))
            add(list, inner, item, NULL);
    }
    json_array_foreach (b, i, item) {
        json_t *inner AUTOJSON = below(path, json_integer((json_int_t)i));
        if (!has_equal(a, item))
            add(list, inner, NULL, item);
    }
}

static void compare_arrays(json_t *list, const json_t *path, const json_t *a, const json_t *b)
{
    if (!holds_containers(a) && !holds_containers(b)) {
        add(list, path, a, b); /* a command line is read as a whole */
        return;
    }
    if (json_array_size(a) != json_array_size(b)) {
        compare_members(list, path, a, b);
        return;
    }
    size_t i;
    json_t *item;
    json_array_foreach (a, i, item) {
        json_t *inner AUTOJSON = below(path, json_integer((json_int_t)i));
        changes_add(list, inner, item, json_array_get(b, i));
    }
}

void changes_add(json_t *list, const json_t *path, const json_t *a, const json_t *b)
{
    if (a && b && json_equal(a, b))
        return;
    /* A mapping that came or went is told member by member. */
    bool mappings = (!a || json_is_object(a)) && (!b || json_is_object(b));
    if (mappings && (json_object_size(a) || json_object_size(b)))
        compare_objects(list, path, a, b);
    else if (json_is_array(a) && json_is_array(b))
        compare_arrays(list, path, a, b);
    else if (a || b)
        add(list, path, a, b);
}
