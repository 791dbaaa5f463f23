#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "file/dotenv.h"
#include "file/loader.h"
#include "file/paths.h"
#include "file/remote.h"

/* One entry of include:, short or long. */
struct entry {
    struct node *node;
    struct node *paths, *env_files; /* sequences or NULL */
    const char *project_directory;
};

static struct node *as_list(struct loader *l, struct node *n, const char *key)
{
    if (!node_given(n))
        return NULL;
    if (n->kind == NODE_STRING) {
        struct node *list = node_new(l->pass.arena, NODE_SEQUENCE, n->mark);
        node_append(l->pass.arena, list, n);
        return list;
    }
    bool ok = n->kind == NODE_SEQUENCE;
    for (size_t i = 0; ok && i < n->count; i++)
        ok = n->items[i]->kind == NODE_STRING;
    if (ok)
        return n;
    pass_error(&l->pass, NULL, &n->mark, "include: %s: want a string or a list of strings", key);
    return NULL;
}

/* False where there is nothing to include; what is wrong is reported. */
static bool read_entry(struct loader *l, struct node *n, struct entry *e)
{
    static const char *const keys[] = {"path", "env_file", "project_directory"};
    *e = (struct entry){.node = n};
    if (n->kind == NODE_STRING) {
        e->paths = as_list(l, n, "path");
        return !n->faulty;
    }
    if (n->kind != NODE_MAPPING && n->kind != NODE_NULL) {
        pass_error(&l->pass, NULL, &n->mark, "include: want a path or a mapping, not a %s",
                   node_kind_name(n));
        return false;
    }
    for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++) {
        struct closest near = {.word = n->pairs[i].key};
        bool known = false;
        for (size_t k = 0; k < ARRAY_SIZE(keys) && !known; k++) {
            known = streq(keys[k], n->pairs[i].key);
            closest_try(&near, keys[k]);
        }
        if (known)
            continue;
        pass_warning(&l->pass, NULL, &n->pairs[i].key_mark, "include: unknown key \"%s\"",
                     n->pairs[i].key);
        diag_suggest(l->pass.diag, near.best);
    }
    struct node *folder = node_get(n, "project_directory");
    if (node_given(folder) && !node_str(folder) && folder->kind != NODE_INT) {
        pass_error(&l->pass, NULL, &folder->mark, "include: project_directory: want a string");
        return false;
    }
    e->project_directory = node_given(folder) ? node_text(l->pass.arena, folder) : NULL;
    e->paths = as_list(l, node_get(n, "path"), "path");
    e->env_files = as_list(l, node_get(n, "env_file"), "env_file");
    if (!node_given(node_get(n, "path")) || (e->paths && !e->paths->count)) {
        pass_warning(&l->pass, NULL, &n->mark, "include: no path is given: nothing is included");
        return false;
    }
    return e->paths && !n->faulty;
}

static bool closes_cycle(const struct scope *scope, const char *path, const struct mark *mark)
{
    const struct scope *at = scope;
    while (at && !streq(at->main_file, path))
        at = at->up;
    if (!at && scope->depth < INCLUDE_DEPTH_MAX)
        return false;
    const struct pass *p = &scope->loader->pass;
    if (!at)
        pass_error(p, NULL, mark, "include nested deeper than %d", INCLUDE_DEPTH_MAX);
    else
        pass_error(p, NULL, mark, "include cycle: %s includes itself",
                   paths_display(p->arena, scope->loader->cwd, path));
    return true;
}

static const char *folder_of(struct arena *a, const char *dir, const char *path)
{
    const char *absolute = paths_join(a, *path == '/' ? "" : dir, path);
    if (!fs_is_dir(absolute))
        absolute = paths_dir(a, absolute);
    const char *relative = paths_relative(a, dir, absolute);
    return relative ? relative : absolute;
}

static const char *env_path(const struct scope *scope, const struct node *item)
{
    return paths_join(scope->loader->pass.arena, *item->string == '/' ? "" : scope->dir,
                      item->string);
}

/* Asked for also where nothing is included. */
static bool env_files_exist(const struct scope *scope, const struct entry *e)
{
    bool all = true;
    for (size_t i = 0; e->env_files && i < e->env_files->count; i++) {
        const char *path = env_path(scope, e->env_files->items[i]);
        if (fs_exists(path))
            continue;
        pass_error(&scope->loader->pass, NULL, &e->env_files->items[i]->mark,
                   "include: env file %s not found", path);
        all = false;
    }
    return all;
}

static int read_env_file(const struct scope *scope, const char *path, const struct mark *by,
                         struct env *vars)
{
    struct loader *l = scope->loader;
    const char *name = paths_display(l->pass.arena, l->cwd, path);
    origins_file(&l->origins, l->pass.arena, name, by);
    return dotenv_load(&l->pass, path, name, NULL, scope->env, NULL, vars, &l->unset);
}

/* The variables of the including project, completed from env_file or the folder's .env. */
static int read_env(const struct scope *scope, const struct entry *e, const char *folder,
                    struct env *env)
{
    struct loader *l = scope->loader;
    struct arena *a = l->pass.arena;
    struct env vars = {0};
    int rc = 0;
    if (!e->env_files || !e->env_files->count) {
        const char *path = paths_join(a, folder, ".env");
        struct stat st;
        if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
            rc = read_env_file(scope, path, &e->node->mark, &vars);
    }
    for (size_t i = 0; e->env_files && i < e->env_files->count && !rc; i++) {
        const struct node *item = e->env_files->items[i];
        rc = read_env_file(scope, env_path(scope, item), &item->mark, &vars);
    }
    env_merge(env, scope->env);
    env_merge(env, &vars);
    env_release(&vars);
    return rc;
}

static void import_section(struct loader *l, const struct node *from, struct node *to,
                           const char *section)
{
    const struct node *source = node_get(from, section);
    struct node *target = node_get(to, section);
    if (!node_is(source, NODE_MAPPING))
        return;
    if (!node_given(target)) {
        target = node_new(l->pass.arena, NODE_MAPPING, source->mark);
        node_put(l->pass.arena, to, section, target);
    }
    if (target->kind != NODE_MAPPING)
        return; /* the schema says so */
    for (size_t i = 0; i < source->count; i++) {
        const struct node_pair *pair = &source->pairs[i];
        const struct node_pair *same = node_pair(target, pair->key);
        if (!same) {
            node_set(l->pass.arena, target, pair->key, pair->key_mark, pair->value);
        } else if (!node_equal(same->value, pair->value)) {
            pass_error(&l->pass, NULL, &same->key_mark,
                       "%s.%s conflicts with the one of an included file", section, pair->key);
            diag_note(l->pass.diag, &pair->key_mark, "included from here");
        }
    }
}

static void include_entry(struct scope *scope, struct node *root, const struct entry *e)
{
    static const char *const sections[] = {"services", "volumes", "networks",
                                           "secrets",  "configs", "models"};
    struct loader *l = scope->loader;
    struct arena *a = l->pass.arena;
    size_t n = e->paths->count;
    if (pass_full(&l->pass, &e->node->mark))
        return;
    if (++l->includes > INCLUDES_MAX) {
        if (l->includes == INCLUDES_MAX + 1)
            pass_error(&l->pass, NULL, &e->node->mark, "more than %d includes", INCLUDES_MAX);
        return;
    }
    struct loaded_file *files = arena_array(a, struct loaded_file, n);
    struct scope inner = {
        .loader = l, .up = scope, .included_at = e->node->mark, .depth = scope->depth + 1};
    for (size_t i = 0; i < n; i++) {
        const struct node *item = e->paths->items[i];
        const char *path = remote_is(item->string)
                               ? remote_fetch(&l->pass, l->options, item->string, &item->mark)
                               : paths_join(a, *item->string == '/' ? "" : scope->dir,
                                            item->string);
        if (!path)
            return;
        if (i == 0) {
            inner.main_file = path;
            if (closes_cycle(scope, path, &item->mark))
                return;
        }
        if (loader_read(l, path, &item->mark, &files[i]))
            return;
    }
    const char *folder = e->project_directory;
    inner.dir = folder ? paths_join(a, *folder == '/' ? "" : scope->dir, folder)
                       : paths_dir(a, inner.main_file);
    inner.base = folder && *folder == '/'
                     ? folder
                     : folder_of(a, scope->dir, folder ? folder : inner.main_file);
    struct env *env = arena_new_of(a, struct env);
    vec_push(&l->envs, env);
    if (!read_env(scope, e, inner.dir, env)) {
        inner.env = env;
        const struct node *model = loader_model(&inner, files, n);
        for (size_t i = 0; model && i < ARRAY_SIZE(sections); i++)
            import_section(l, model, root, sections[i]);
    }
}

void include_apply(struct scope *scope, struct node *root)
{
    struct loader *l = scope->loader;
    struct node *list = node_get(root, "include");
    if (!list)
        return;
    node_del(root, "include");
    if (list->kind == NODE_NULL)
        return;
    if (list->kind != NODE_SEQUENCE) {
        pass_error(&l->pass, NULL, &list->mark, "include: want a list, not a %s",
                   node_kind_name(list));
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        struct entry e;
        bool given = read_entry(l, list->items[i], &e);
        if (env_files_exist(scope, &e) && given)
            include_entry(scope, root, &e);
    }
}
