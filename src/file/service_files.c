#include "file/service_files.h"

#include "base/fs.h"
#include "base/mem.h"
#include "file/dotenv.h"
#include "file/history.h"
#include "file/origin.h"
#include "file/paths.h"

struct reader {
    const struct pass *pass;
    const struct env *env;
    struct unset_seen *seen;
    const char *cwd;
    const struct place *at;
};

/* -1 where it was reported. */
static int load(const struct reader *r, const struct node *path, const char *key, const char *what,
                const char *format, bool required, const struct env *first,
                const struct env *second, struct env *vars)
{
    if (!fs_exists(path->string)) {
        if (!required)
            return 0;
        pass_error(r->pass, r->at, &path->mark, "%s %s not found", what, path->string);
        return -1;
    }
    const char *name = paths_display(r->pass->arena, r->cwd, path->string);
    origins_file(r->pass->origins, r->pass->arena, name, &path->mark);
    if (dotenv_load(r->pass, path->string, name, format, first, second, vars, r->seen))
        return -1;
    if (r->pass->origins)
        history_variables(r->pass->origins->history, r->pass->arena, r->at->key, key, &path->mark,
                          name, vars);
    return 0;
}

/* values that are strings, over vars */
static void put_strings(struct arena *a, struct env *vars, const struct node *values)
{
    for (size_t i = 0; node_is(values, NODE_MAPPING) && i < values->count; i++) {
        const struct node *value = values->pairs[i].value;
        if (value->kind == NODE_STRING)
            env_set(a, vars, values->pairs[i].key, value->string, value->mark);
    }
}

/* The variables as a mapping; what values holds, also null, wins. */
static struct node *combine(struct arena *a, const struct env *vars, const struct node *values,
                            struct mark mark)
{
    struct node *map = node_new(a, NODE_MAPPING, mark);
    map_foreach (&vars->vars, it) {
        const struct env_value *v = it->value;
        node_put(a, map, arena_strdup(a, it->key), node_new_string(a, v->value, v->origin));
    }
    for (size_t i = 0; node_is(values, NODE_MAPPING) && i < values->count; i++)
        node_set(a, map, values->pairs[i].key, values->pairs[i].key_mark, values->pairs[i].value);
    node_sort(map);
    return map;
}

static void read_env_files(struct reader *r, struct node *service)
{
    struct arena *a = r->pass->arena;
    const struct node *files = node_get(service, "env_file");
    const struct node *values = node_get(service, "environment");
    for (size_t i = 0; node_is(values, NODE_MAPPING) && i < values->count; i++) {
        struct node_pair *pair = &values->pairs[i];
        const char *value = pair->value->kind == NODE_NULL ? env_get(r->env, pair->key) : NULL;
        if (value)
            pair->value = node_new_string(a, value, pair->value->mark);
    }
    if (!node_is(files, NODE_SEQUENCE))
        return;
    struct env own = {0}, vars = {0};
    put_strings(a, &own, values);
    put_strings(a, &vars, values);
    for (size_t i = 0; i < files->count; i++) {
        const struct node *path = node_get(files->items[i], "path");
        if (!node_str(path))
            pass_error(r->pass, r->at, &files->items[i]->mark, "env_file[%zu]: the path is empty",
                       i);
        else if (load(r, path, "environment", "env file", node_get_str(files->items[i], "format"),
                      node_get_bool(files->items[i], "required", true), r->env, &own, &vars))
            service->faulty = true;
    }
    struct node *combined = combine(a, &vars, values, files->mark);
    env_release(&own);
    env_release(&vars);
    node_del(service, "env_file");
    if (combined->count)
        node_put(a, service, "environment", combined);
}

static void read_label_files(struct reader *r, struct node *service, bool drop)
{
    struct arena *a = r->pass->arena;
    const struct node *files = node_get(service, "label_file");
    if (!node_is(files, NODE_SEQUENCE))
        return;
    struct env labels = {0};
    for (size_t i = 0; i < files->count; i++)
        if (load(r, files->items[i], "labels", "label file", NULL, true, NULL, NULL, &labels))
            service->faulty = true;
    struct node *combined = combine(a, &labels, node_get(service, "labels"), files->mark);
    env_release(&labels);
    if (combined->count)
        node_put(a, service, "labels", combined);
    if (drop)
        node_del(service, "label_file");
}

static void each_service(struct reader r, struct node *root, bool labels, bool drop)
{
    const struct node *services = node_get(root, "services");
    struct place top = {.key = "services"};
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        struct place at = {.up = &top, .key = services->pairs[i].key};
        r.at = &at;
        if (services->pairs[i].value->kind != NODE_MAPPING)
            continue;
        if (labels)
            read_label_files(&r, services->pairs[i].value, drop);
        else
            read_env_files(&r, services->pairs[i].value);
    }
}

void service_files_environment(const struct pass *p, struct node *root, const struct env *env,
                               struct unset_seen *seen, const char *cwd)
{
    struct reader r = {.pass = p, .env = env, .seen = seen, .cwd = cwd};
    each_service(r, root, false, true);
}

void service_files_labels(const struct pass *p, struct node *root, struct unset_seen *seen,
                          const char *cwd, bool drop)
{
    struct reader r = {.pass = p, .seen = seen, .cwd = cwd};
    each_service(r, root, true, drop);
}
