#include "runtime/cdi.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/paths.h"
#include "base/strbuf.h"
#include "file/diag.h"
#include "file/yaml.h"

const char *const cdi_hook_names[] = {
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    NULL};

/* Later ones go before earlier ones. */
static const char *const folders[] = {"/etc/cdi", "/var/run/cdi"};

/* What gpus: means with each driver, and what it means without one, in order. */
static const struct {
    const char *driver, *kind;
} gpu_kinds[] = {{"nvidia", "nvidia.com/gpu"}, {"amd", "amd.com/gpu"}};

struct description {
    const char *path, *kind;
    const struct node *root;
    size_t folder;
    bool applied; /* what it wants for each of its devices */
};

struct catalogue {
    struct arena *arena; /* the edits' */
    struct diag diag;
    VEC(struct description) list;
};

/* --- names -------------------------------------------------------------------------------------- */

static bool is_word(const char *s, size_t n, const char *inner)
{
    if (!n || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr(inner, s[i]))
            return false;
    return true;
}

bool cdi_is_name(const char *s)
{
    const char *equals = strchr(s, '=');
    const char *slash = equals ? memchr(s, '/', (size_t)(equals - s)) : NULL;
    return slash && isalpha((unsigned char)s[0]) && is_word(s, (size_t)(slash - s), "_-.") &&
           isalpha((unsigned char)slash[1]) &&
           is_word(slash + 1, (size_t)(equals - slash - 1), "_-") &&
           is_word(equals + 1, strlen(equals + 1), "_-.:");
}

/* --- the descriptions ----------------------------------------------------------------------------- */

static int bad(const struct description *d, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "CDI device injection failed: %s: %s", d->path, what);
}

/* One that cannot be read is as good as none, until a device is missing. */
static void read_description(struct catalogue *c, const char *path, size_t folder)
{
    char *text = NULL;
    size_t len = 0;
    struct err err AUTOERR = ERR_INIT;
    struct yaml_stream stream = {0};
    path = arena_strdup(c->arena, path);
    if (fs_read(path, YAML_FILE_MAX, &text, &len, &err) < 0) {
        diag_error(&c->diag, NULL, "%s", err.msg);
        return;
    }
    int rc = yaml_parse(c->arena, path, text, len, NULL, &stream, &c->diag);
    diag_source(&c->diag, path, text, len);
    const char *kind = rc == 0 && stream.n ? node_get_str(stream.docs[0].root, "kind") : NULL;
    if (kind)
        vec_push(&c->list, (struct description){path, kind, stream.docs[0].root, folder, false});
    else if (rc == 0)
        diag_error(&c->diag, NULL, "%s: no kind", path);
}

static int is_description(const struct dirent *e)
{
    return ends_with(e->d_name, ".json") || ends_with(e->d_name, ".yaml");
}

static void catalogue_read(struct catalogue *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        struct dirent **entries = NULL;
        int n = scandir(folders[i], &entries, is_description, alphasort);
        for (int k = 0; k < n; k++) {
            char *path AUTOFREE = path_join(folders[i], entries[k]->d_name);
            read_description(c, path, i);
            free(entries[k]);
        }
        free(entries);
    }
}

static bool has_kind(const struct catalogue *c, const char *kind)
{
    vec_foreach (&c->list, d)
        if (streq(d->kind, kind))
            return true;
    return false;
}

static const struct node *device_of(const struct description *d, const char *name)
{
    size_t kind = strlen(d->kind);
    const struct node *devices = node_get(d->root, "devices");
    if (strncmp(name, d->kind, kind) || name[kind] != '=' || !node_is(devices, NODE_SEQUENCE))
        return NULL;
    for (size_t i = 0; i < devices->count; i++) {
        const char *own = node_get_str(devices->items[i], "name");
        if (own && streq(own, name + kind + 1))
            return devices->items[i];
    }
    return NULL;
}

/* *found NULL: nobody describes it. */
static int find(struct catalogue *c, const char *name, struct description **found, struct err *err)
{
    *found = NULL;
    vec_foreach (&c->list, d) {
        if (!device_of(d, name))
            continue;
        if (*found && (*found)->folder == d->folder)
            return err_set(err, ERR_INVALID,
                           "CDI device injection failed: %s is described by both %s and %s", name,
                           (*found)->path, d->path);
        *found = d;
    }
    return 0;
}

/* --- edits ---------------------------------------------------------------------------------------- */

static const struct node *list_of(const struct node *edits, const char *key)
{
    static const struct node empty = {.kind = NODE_SEQUENCE};
    const struct node *list = node_get(edits, key);
    return node_is(list, NODE_SEQUENCE) ? list : &empty;
}

static int64_t number_of(const struct node *n, const char *key, int64_t fallback)
{
    const struct node *v = node_get(n, key);
    return node_is(v, NODE_INT) ? v->integer : fallback;
}

static mode_t type_of(const char *text)
{
    return streq(text, "b") ? S_IFBLK : streq(text, "p") ? S_IFIFO : S_IFCHR;
}

/* What the description leaves out is as on the host. */
static int add_node(const struct description *d, const struct node *n, const struct user *user,
                    struct cdi_edits *out, struct err *err)
{
    const char *path = node_get_str(n, "path"), *host = node_get_str(n, "hostPath");
    const char *type = node_get_str(n, "type"), *access = node_get_str(n, "permissions");
    int64_t number = number_of(n, "major", 0);
    mode_t kind = type ? type_of(type) : 0;
    struct stat st = {.st_rdev = makedev((unsigned)number, (unsigned)number_of(n, "minor", 0))};
    if (!path)
        return bad(d, "a device node without a path", err);
    if (!kind || (!number && kind != S_IFIFO)) {
        host = host ? host : path;
        if (stat(host, &st) < 0)
            return err_sys(err, errno, "CDI device injection failed: %s: device \"%s\"", d->path,
                           host);
        mode_t real = st.st_mode & S_IFMT;
        if ((kind && kind != real) || (real != S_IFCHR && real != S_IFBLK && real != S_IFIFO))
            return err_set(err, ERR_INVALID,
                           "CDI device injection failed: %s: \"%s\" is not a device of type \"%s\"",
                           d->path, host, type ? type : "c");
        kind = real;
    }
    st.st_mode = kind | ((mode_t)number_of(n, "fileMode", 0666) & 07777);
    st.st_uid = (uid_t)number_of(n, "uid", user->uid);
    st.st_gid = (gid_t)number_of(n, "gid", user->gid);
    vec_push(&out->nodes, (struct cdi_node){path, st, access && *access ? access : "rwm"});
    return 0;
}

static int add_hook(const struct description *d, const struct node *n, struct cdi_edits *out,
                    struct err *err)
{
    const char *name = node_get_str(n, "hookName");
    for (size_t i = 0; name && cdi_hook_names[i]; i++)
        if (streq(name, cdi_hook_names[i]) && node_get_str(n, "path")) {
            vec_push(&out->hooks, n);
            return 0;
        }
    return bad(d, "a hook without a known hookName or without a path", err);
}

static int add_mount(const struct description *d, const struct node *n, struct cdi_edits *out,
                     struct err *err)
{
    if (!node_get_str(n, "hostPath") || !node_get_str(n, "containerPath"))
        return bad(d, "a mount without hostPath or without containerPath", err);
    vec_push(&out->mounts, n);
    return 0;
}

static int apply(const struct description *d, const struct node *edits, const struct user *user,
                 struct cdi_edits *out, struct err *err)
{
    const struct node *env = list_of(edits, "env"), *nodes = list_of(edits, "deviceNodes");
    const struct node *mounts = list_of(edits, "mounts"), *hooks = list_of(edits, "hooks");
    const struct node *groups = list_of(edits, "additionalGids");
    if (node_given(node_get(edits, "intelRdt")) || list_of(edits, "netDevices")->count)
        return bad(d, "intelRdt and netDevices are not supported", err);
    for (size_t i = 0; i < env->count; i++)
        if (node_str(env->items[i]) && strchr(env->items[i]->string, '='))
            vec_push(&out->env, env->items[i]->string);
    for (size_t i = 0; i < groups->count; i++)
        if (node_is(groups->items[i], NODE_INT) && groups->items[i]->integer > 0)
            vec_push(&out->groups, (gid_t)groups->items[i]->integer);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < nodes->count; i++)
        rc = add_node(d, nodes->items[i], user, out, err);
    for (size_t i = 0; rc == 0 && i < mounts->count; i++)
        rc = add_mount(d, mounts->items[i], out, err);
    for (size_t i = 0; rc == 0 && i < hooks->count; i++)
        rc = add_hook(d, hooks->items[i], out, err);
    return rc;
}

/* --- requests ------------------------------------------------------------------------------------- */

static bool has_word(const struct strings *list, const char *word)
{
    for (size_t i = 0; i < list->n; i++)
        if (streq(list->v[i], word))
            return true;
    return false;
}

static int no_driver(const struct device_request *q, const char *kind, struct err *err)
{
    struct strbuf words AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < q->capabilities.n; i++)
        strbuf_addf(&words, "%s%s", i ? " " : "", q->capabilities.v[i]);
    char *where AUTOFREE =
        kind ? xasprintf(": no file in %s or %s describes %s", folders[0], folders[1], kind) : NULL;
    return err_set(err, ERR_NOT_FOUND,
                   "could not select device driver \"%s\" with capabilities: [[%s]]%s",
                   q->driver ? q->driver : "", words.buf ? words.buf : "", where ? where : "");
}

/* The kind of device that a request for GPUs means here; NULL: none that we know. */
static const char *gpu_kind(const struct catalogue *c, const struct device_request *q)
{
    bool any = !q->driver || !*q->driver;
    if (!has_word(&q->capabilities, "gpu"))
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(gpu_kinds); i++)
        if (any ? has_kind(c, gpu_kinds[i].kind) : streq(q->driver, gpu_kinds[i].driver))
            return gpu_kinds[i].kind;
    return any ? gpu_kinds[0].kind : NULL;
}

/* False: nobody describes it. */
static bool push_name(const struct catalogue *c, const char *kind, const char *device,
                      char ***names)
{
    char *name AUTOFREE = xasprintf("%s=%s", kind, device);
    strv_push(names, name);
    vec_foreach (&c->list, d)
        if (device_of(d, name))
            return true;
    return false;
}

static int request_names(const struct catalogue *c, const struct device_request *q, char ***names,
                         struct err *err)
{
    if (q->driver && streq(q->driver, "cdi")) {
        for (size_t i = 0; i < q->ids.n; i++)
            strv_push(names, q->ids.v[i]);
        return 0;
    }
    const char *kind = gpu_kind(c, q);
    if (!kind || !has_kind(c, kind))
        return no_driver(q, kind, err);
    for (size_t i = 0; i < q->ids.n; i++)
        push_name(c, kind, q->ids.v[i], names);
    if (q->count < 0)
        push_name(c, kind, "all", names);
    bool more = true;
    for (int64_t i = 0; more && i < q->count; i++) {
        char number[32];
        snprintf(number, sizeof(number), "%lld", (long long)i);
        more = push_name(c, kind, number, names);
    }
    return 0;
}

static int collect_names(const struct catalogue *c, const struct service *service, char ***names,
                         struct err *err)
{
    for (size_t i = 0; i < service->devices_n; i++)
        if (cdi_is_name(service->devices[i].source))
            strv_push(names, service->devices[i].source);
    for (size_t i = 0; i < service->resources.device_requests_n; i++)
        if (request_names(c, &service->resources.device_requests[i], names, err) < 0)
            return -1;
    return 0;
}

static int unresolvable(const struct catalogue *c, const char *names, struct err *err)
{
    char *trouble AUTOFREE = diag_first_error(&c->diag);
    return err_set(err, ERR_NOT_FOUND,
                   "CDI device injection failed: unresolvable CDI devices %s%s%s", names,
                   trouble ? ": " : "", trouble ? trouble : "");
}

static int resolve(struct catalogue *c, const struct service *service, const struct user *user,
                   struct cdi_edits *out, struct err *err)
{
    char **names AUTOSTRV = NULL;
    struct strbuf missing AUTOBUF = STRBUF_INIT;
    if (collect_names(c, service, &names, err) < 0)
        return -1;
    for (size_t i = 0; names && names[i]; i++) {
        struct description *d;
        if (find(c, names[i], &d, err) < 0)
            return -1;
        if (!d) {
            strbuf_addf(&missing, "%s%s", missing.len ? ", " : "", names[i]);
            continue;
        }
        if (!d->applied && apply(d, node_get(d->root, "containerEdits"), user, out, err) < 0)
            return -1;
        d->applied = true;
        if (apply(d, node_get(device_of(d, names[i]), "containerEdits"), user, out, err) < 0)
            return -1;
    }
    return missing.len ? unresolvable(c, missing.buf, err) : 0;
}

static bool wants_any(const struct service *service)
{
    for (size_t i = 0; i < service->devices_n; i++)
        if (cdi_is_name(service->devices[i].source))
            return true;
    return service->resources.device_requests_n > 0;
}

int cdi_resolve(const struct service *service, const struct user *user, struct cdi_edits *out,
                struct err *err)
{
    *out = (struct cdi_edits){0};
    if (!wants_any(service))
        return 0;
    out->arena = arena_new();
    struct catalogue c = {.arena = out->arena, .diag = DIAG_INIT};
    catalogue_read(&c);
    int rc = resolve(&c, service, user, out, err);
    diag_release(&c.diag);
    vec_release(&c.list);
    return rc;
}

void cdi_edits_release(struct cdi_edits *e)
{
    vec_release(&e->env);
    vec_release(&e->nodes);
    vec_release(&e->mounts);
    vec_release(&e->hooks);
    vec_release(&e->groups);
    if (e->arena)
        arena_free(e->arena);
    *e = (struct cdi_edits){0};
}
