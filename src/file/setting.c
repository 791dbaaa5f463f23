#include "file/setting.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "base/vec.h"
#include "file/dotenv.h"
#include "file/paths.h"
#include "file/remote.h"

extern char **environ;

static const char *const file_names[] = {"compose.yaml", "compose.yml", "docker-compose.yml",
                                         "docker-compose.yaml"};
static const char *const override_names[] = {"compose.override.yml", "compose.override.yaml",
                                             "docker-compose.override.yml",
                                             "docker-compose.override.yaml"};

struct finder {
    const struct pass *pass;
    struct arena *arena;
    const struct load_options *options;
    struct unset_seen *seen;
    struct setting *s;
};

static void list_add(struct arena *a, struct document_list *list, const char *item)
{
    const char **v = arena_array(a, const char *, list->n + 2);
    if (list->n)
        memcpy(v, list->v, list->n * sizeof(*v));
    v[list->n++] = item;
    list->v = v;
}

/* The parts of text between separators. */
static void list_split(struct arena *a, struct document_list *list, const char *text,
                       const char *separator, bool trim)
{
    for (;;) {
        const char *end = strstr(text, separator);
        size_t n = end ? (size_t)(end - text) : strlen(text);
        const char *from = text, *to = text + n;
        while (trim && from < to && isspace((unsigned char)*from))
            from++;
        while (trim && to > from && isspace((unsigned char)to[-1]))
            to--;
        list_add(a, list, arena_strndup(a, from, (size_t)(to - from)));
        if (!end)
            return;
        text = end + strlen(separator);
    }
}

static const char *absolute(const struct finder *f, const char *path)
{
    return paths_join(f->arena, *path == '/' ? "" : f->s->cwd, path);
}

/* --project-directory, else the folder of the first file, else the current one. */
static const char *working_dir(const struct finder *f)
{
    const char *dir = f->options->project_directory;
    if (dir && *dir)
        return absolute(f, dir);
    for (size_t i = 0; i < f->s->files.n; i++)
        if (!streq(f->s->files.v[i], "-"))
            return paths_dir(f->arena, f->s->files.v[i]);
    return f->s->cwd;
}

static bool env_file_disabled(const struct finder *f)
{
    const char *v = env_get(&f->s->env, "COMPOSE_DISABLE_ENV_FILE");
    bool on;
    return v && bool_parse(v, &on) && on;
}

/* Completes the environment from the .env files: those named, or the one of the folder. */
static int read_env_files(struct finder *f)
{
    struct document_list list = {0};
    if (f->s->env_files.n)
        list = f->s->env_files;
    else if (!env_file_disabled(f)) {
        const char *path = paths_join(f->arena, working_dir(f), ".env");
        struct stat st;
        if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
            list_add(f->arena, &list, path);
    }
    struct env vars = {0};
    int rc = 0;
    for (size_t i = 0; i < list.n && !rc; i++) {
        const char *name = paths_display(f->arena, f->s->cwd, list.v[i]);
        if (!fs_exists(list.v[i])) {
            diag_error(f->pass->diag, NULL, "couldn't find env file: %s", list.v[i]);
            rc = -1;
        } else if (fs_is_dir(list.v[i])) {
            diag_error(f->pass->diag, NULL, "env file %s is a folder", list.v[i]);
            rc = -1;
        } else {
            rc = dotenv_load(f->pass, list.v[i], name, NULL, &f->s->env, NULL, &vars, f->seen);
        }
    }
    env_merge(&f->s->env, &vars);
    env_release(&vars);
    return rc;
}

static int add_files(struct finder *f, const struct document_list *paths)
{
    for (size_t i = 0; i < paths->n; i++) {
        const char *path = paths->v[i];
        if (remote_is(path) && !(path = remote_fetch(f->pass, f->options, path, NULL)))
            return -1;
        list_add(f->arena, &f->s->files, streq(path, "-") ? path : absolute(f, path));
    }
    return 0;
}

static int files_from_env(struct finder *f)
{
    const char *text = env_get(&f->s->env, "COMPOSE_FILE");
    const char *separator = env_get(&f->s->env, "COMPOSE_PATH_SEPARATOR");
    if (f->s->files.n || !text)
        return 0;
    struct document_list list = {0};
    list_split(f->arena, &list, text, separator && *separator ? separator : ":", false);
    if (add_files(f, &list))
        return -1;
    for (size_t i = 0; i < f->s->files.n; i++) {
        if (streq(f->s->files.v[i], "-") || fs_exists(f->s->files.v[i]))
            continue;
        diag_error(f->pass->diag, NULL, "COMPOSE_FILE: %s does not exist", f->s->files.v[i]);
        return -1;
    }
    return 0;
}

static const char *first_in(struct finder *f, const char *dir, const char *const *names, size_t n,
                            const char *what)
{
    const char *found = NULL;
    struct strbuf all AUTOBUF = STRBUF_INIT;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const char *path = paths_join(f->arena, dir, names[i]);
        if (!fs_exists(path))
            continue;
        strbuf_addf(&all, "%s%s", count++ ? ", " : "", names[i]);
        if (!found)
            found = path;
    }
    if (count > 1)
        diag_warning(f->pass->diag, NULL, "several %s in %s (%s): using %s", what, dir, all.buf,
                     path_base(found));
    return found;
}

/* compose.yaml and its kin in the folder or the nearest one above. */
static void look_up_files(struct finder *f)
{
    if (f->s->files.n)
        return;
    for (const char *dir = working_dir(f);; dir = paths_dir(f->arena, dir)) {
        const char *path = first_in(f, dir, file_names, ARRAY_SIZE(file_names), "Compose files");
        if (path) {
            const char *over = first_in(f, dir, override_names, ARRAY_SIZE(override_names),
                                        "override files");
            list_add(f->arena, &f->s->files, path);
            if (over)
                list_add(f->arena, &f->s->files, over);
            return;
        }
        if (streq(dir, "/") || streq(dir, "."))
            return;
    }
}

static void find_profiles(struct finder *f)
{
    const char *const *given = f->options->profiles;
    const char *text = env_get(&f->s->env, "COMPOSE_PROFILES");
    if (given && *given)
        for (; *given; given++)
            list_add(f->arena, &f->s->profiles, *given);
    else /* without any, the empty profile is active */
        list_split(f->arena, &f->s->profiles, text ? text : "", ",", true);
}

int setting_find(const struct pass *p, const struct load_options *options, struct unset_seen *seen,
                 struct setting *out)
{
    *out = (struct setting){0};
    struct finder f = {.pass = p, .arena = p->arena, .options = options, .seen = seen, .s = out};
    char *cwd AUTOFREE = options->cwd ? xstrdup(options->cwd) : getcwd(NULL, 0);
    if (!cwd) {
        diag_error(p->diag, NULL, "the current folder does not exist any more");
        return -1;
    }
    out->cwd = arena_strdup(p->arena, cwd);
    env_import(p->arena, &out->env, options->environ ? options->environ : environ);
    out->home = env_get(&out->env, "HOME");
    if (!env_get(&out->env, "PWD")) /* as every shell has it */
        env_set(p->arena, &out->env, "PWD", out->cwd, (struct mark){0});
    struct document_list given = {0};
    for (const char *const *file = options->files; file && *file; file++)
        list_add(p->arena, &given, *file);
    const char *env_files = env_get(&out->env, "COMPOSE_ENV_FILES");
    for (const char *const *file = options->env_files; file && *file; file++)
        list_add(p->arena, &out->env_files, absolute(&f, *file));
    if (!out->env_files.n && env_files && *env_files) {
        struct document_list names = {0};
        list_split(p->arena, &names, env_files, ",", false);
        for (size_t i = 0; i < names.n; i++)
            list_add(p->arena, &out->env_files, absolute(&f, names.v[i]));
    }
    /* The first .env may say where the files are, the one beside them completes it. */
    if (add_files(&f, &given) || read_env_files(&f) || files_from_env(&f))
        return -1;
    look_up_files(&f);
    out->working_dir = working_dir(&f);
    if (read_env_files(&f))
        return -1;
    find_profiles(&f);
    return 0;
}

const char *project_name_normalize(struct arena *a, const char *name)
{
    char *out = arena_alloc(a, strlen(name) + 1), *p = out;
    for (; *name; name++) {
        char c = (char)tolower((unsigned char)*name);
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (letter || ((c == '_' || c == '-') && p > out))
            *p++ = c;
    }
    return out;
}

bool project_name_is_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return *name && !name[n] && *name != '_' && *name != '-';
}

const char *setting_project_name(const struct pass *p, const struct load_options *options,
                                 const struct setting *setting, bool *fixed)
{
    const char *name = options->project_name;
    if (!name || !*name)
        name = env_get(&setting->env, "COMPOSE_PROJECT_NAME");
    *fixed = name && *name;
    if (!*fixed)
        return project_name_normalize(p->arena, path_base(setting->working_dir));
    if (project_name_is_valid(name))
        return name;
    diag_error(p->diag, NULL,
               "invalid project name \"%s\": want lower-case letters, digits, hyphens and "
               "underscores, with a letter or digit first",
               name);
    return NULL;
}
