#include "file/paths.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "file/fields.h"

struct resolver {
    const struct pass *pass;
    const char *dir, *home;
};

const char *paths_join(struct arena *a, const char *dir, const char *name)
{
    char *joined AUTOFREE = *dir ? xasprintf("%s/%s", dir, name) : xstrdup(name);
    char *clean AUTOFREE = path_clean(joined);
    return arena_strdup(a, clean);
}

const char *paths_dir(struct arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return ".";
    return slash == path ? "/" : paths_join(a, "", arena_strndup(a, path, (size_t)(slash - path)));
}

const char *paths_relative(struct arena *a, const char *base, const char *target)
{
    const char *b = paths_join(a, "", base), *t = paths_join(a, "", target);
    if (streq(b, t))
        return ".";
    if (streq(b, "."))
        b = "";
    if ((*b == '/') != (*t == '/'))
        return NULL;
    /* Past the leading components that both have. */
    size_t common = 0;
    for (size_t i = 0;; i++) {
        bool b_end = !b[i] || b[i] == '/', t_end = !t[i] || t[i] == '/';
        if (b_end && t_end)
            common = i;
        if (!b[i] || !t[i] || b[i] != t[i])
            break;
    }
    struct strbuf out AUTOBUF = STRBUF_INIT;
    for (const char *p = b + common; *p;) {
        p += *p == '/';
        size_t n = strcspn(p, "/");
        if (n == 2 && strncmp(p, "..", 2) == 0)
            return NULL;
        if (n)
            strbuf_addf(&out, "%s..", out.len ? "/" : "");
        p += n;
    }
    const char *rest = t + common + (t[common] == '/');
    if (*rest)
        strbuf_addf(&out, "%s%s", out.len ? "/" : "", rest);
    return arena_strndup(a, out.len ? out.buf : ".", out.len ? out.len : 1);
}

const char *paths_display(struct arena *a, const char *cwd, const char *path)
{
    size_t n = strlen(cwd);
    if (*path != '/' || strncmp(path, cwd, n) || (path[n] != '/' && n > 1))
        return path;
    return arena_strdup(a, path + n + (path[n] == '/'));
}

static const char *expand_home(const struct resolver *r, const char *path)
{
    return *path == '~' && r->home ? paths_join(r->pass->arena, r->home, path + 1) : path;
}

static const char *absolute(const struct resolver *r, const char *path)
{
    path = expand_home(r, path);
    return *path == '/' || !*path ? path : paths_join(r->pass->arena, r->dir, path);
}

/* "C:\x", "\\server\share": absolute, though not here. */
static bool is_windows_absolute(const char *path)
{
    if (isalpha((unsigned char)path[0]) && path[1] == ':')
        return path[2] == '\\' || path[2] == '/';
    return starts_with(path, "\\\\");
}

static const char *absolute_unix(const struct resolver *r, const char *path)
{
    path = expand_home(r, path);
    return *path == '/' || is_windows_absolute(path) ? path
                                                     : paths_join(r->pass->arena, r->dir, path);
}

static bool is_remote_context(const char *s)
{
    static const char *const prefixes[] = {"https://",    "http://", "git://",  "ssh://",
                                           "github.com/", "git@",    "service:"};
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (starts_with(s, prefixes[i]))
            return true;
    return strstr(s, "://");
}

/* Replaces the first component that is a symbolic link, with all before it, by its target. */
static const char *follow_link(const struct resolver *r, const char *path, const struct mark *mark,
                               const struct place *at)
{
    if (*path != '/')
        return path;
    for (const char *end = path + 1;; end++) {
        end += strcspn(end, "/");
        char *part AUTOFREE = xstrndup(path, (size_t)(end - path));
        struct stat st;
        if (lstat(part, &st) == 0 && S_ISLNK(st.st_mode)) {
            char *target AUTOFREE = realpath(part, NULL);
            if (target)
                return arena_printf(r->pass->arena, "%s%s", target, end);
            pass_error(r->pass, at, mark, "%s: cannot follow the symbolic link %s: %s",
                       place_inner_path(r->pass->arena, at), part, strerror(errno));
            return path;
        }
        if (!*end)
            return path;
    }
}

static void resolve_text(const struct resolver *r, struct node *n, enum field_path kind,
                         const struct place *at)
{
    if (!node_is(n, NODE_STRING))
        return;
    if (kind == PATH_MAYBE_WINDOWS || kind == PATH_SSH)
        n->string = absolute_unix(r, n->string);
    else if (kind == PATH_SYMLINK)
        n->string = follow_link(r, absolute(r, n->string), &n->mark, at);
    else if (kind == PATH_PLAIN || !is_remote_context(n->string))
        n->string = absolute(r, n->string);
}

static void resolve_volume(const struct resolver *r, struct node *n, const struct place *at)
{
    const char *type = node_get_str(n, "type");
    if (!type || !streq(type, "bind"))
        return;
    struct node *source = node_get(n, "source");
    if (!source) {
        pass_error(r->pass, at, &n->mark, "%s: a bind mount needs a source",
                   place_inner_path(r->pass->arena, at));
        n->faulty = true;
        return;
    }
    resolve_text(r, source, PATH_MAYBE_WINDOWS, at);
}

static void resolve_driver_opts(const struct resolver *r, const struct node *volume,
                                const struct place *at)
{
    const char *driver = node_get_str(volume, "driver");
    const struct node *opts = node_get(volume, "driver_opts");
    const char *o = node_get_str(opts, "o");
    if (driver && streq(driver, "local") && o && streq(o, "bind"))
        resolve_text(r, node_get(opts, "device"), PATH_MAYBE_WINDOWS, at);
}

static void resolve_value(const struct resolver *r, struct node *n, enum field_path kind,
                          const struct place *at)
{
    if (kind == PATH_CONTEXTS || kind == PATH_SSH || kind == PATH_DRIVER_OPTS) {
        for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++) {
            struct place here = {.up = at, .key = n->pairs[i].key};
            if (kind == PATH_DRIVER_OPTS)
                resolve_driver_opts(r, n->pairs[i].value, &here);
            else
                resolve_text(r, n->pairs[i].value, kind, &here);
        }
        return;
    }
    resolve_text(r, n, kind, at);
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++) {
        struct place here = {.up = at, .index = i};
        if (kind == PATH_VOLUMES)
            resolve_volume(r, n->items[i], &here);
        else if (kind == PATH_ENV_FILE)
            resolve_text(r, node_get(n->items[i], "path"), PATH_PLAIN, &here);
        else
            resolve_text(r, n->items[i], kind, &here);
    }
}

static void resolve_members(const struct resolver *r, struct node *map, const struct object *object,
                            bool named, const struct place *at)
{
    for (size_t i = 0; i < map->count; i++) {
        struct node_pair *pair = &map->pairs[i];
        struct node *value = pair->value;
        struct place here = {.up = at, .key = pair->key};
        const struct field *f = named ? NULL : field_of(object, pair);
        if (named && value->kind == NODE_MAPPING)
            resolve_members(r, value, object, false, &here);
        if (!f)
            continue;
        if (f->path != PATH_NONE) {
            resolve_value(r, value, (enum field_path)f->path, &here);
            map->faulty |= value->faulty;
        } else if (f->object && value->kind == NODE_MAPPING) {
            resolve_members(r, value, f->object, f->type == TYPE_OBJECT_MAP, &here);
        }
        for (size_t j = 0; f->object && value->kind == NODE_SEQUENCE && j < value->count; j++) {
            struct place item = {.up = &here, .index = j};
            if (f->path == PATH_NONE && value->items[j]->kind == NODE_MAPPING)
                resolve_members(r, value->items[j], f->object, false, &item);
        }
    }
}

void paths_resolve(const struct pass *p, struct node *root, const char *dir, const char *home)
{
    struct resolver r = {.pass = p, .dir = dir, .home = home};
    resolve_members(&r, root, &root_object, false, NULL);
}
