#include "file/env.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"

const char *env_get(const struct env *e, const char *name)
{
    const struct env_value *v = map_get(&e->vars, name);
    return v ? v->value : NULL;
}

void env_set(struct arena *a, struct env *e, const char *name, const char *value,
             struct mark origin)
{
    struct env_value *v = arena_new_of(a, struct env_value);
    *v = (struct env_value){.value = value, .origin = origin};
    map_set(&e->vars, name, v);
}

void env_merge(struct env *e, const struct env *more)
{
    map_foreach (&more->vars, it)
        if (!map_get(&e->vars, it->key))
            map_set(&e->vars, it->key, it->value);
}

void env_import(struct arena *a, struct env *e, char *const *environ_list)
{
    for (; environ_list && *environ_list; environ_list++) {
        const char *eq = strchr(*environ_list, '=');
        if (!eq || eq == *environ_list)
            continue;
        const char *name = arena_strndup(a, *environ_list, (size_t)(eq - *environ_list));
        env_set(a, e, name, arena_strdup(a, eq + 1), (struct mark){0});
    }
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp((*(struct map_entry *const *)a)->key, (*(struct map_entry *const *)b)->key);
}

void env_print(const struct env *e, struct strbuf *out)
{
    struct map_entry **sorted AUTOFREE = xcalloc(e->vars.live + 1, sizeof(struct map_entry *));
    size_t n = 0;
    map_foreach (&e->vars, it)
        sorted[n++] = it;
    qsort(sorted, n, sizeof(*sorted), compare_entries);
    for (size_t i = 0; i < n; i++)
        strbuf_addf(out, "%s=%s\n", sorted[i]->key,
                    ((const struct env_value *)sorted[i]->value)->value);
}

void env_release(struct env *e)
{
    map_release(&e->vars);
}
