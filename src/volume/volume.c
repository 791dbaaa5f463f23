#include "volume/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/inroot.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/version.h"
#include "model/node_json.h"
#include "volume/copy.h"
#include "volume/driver.h"

#define LABEL_PROJECT "com.docker.compose.project"
#define LABEL_VOLUME  "com.docker.compose.volume"
#define LABEL_VERSION "com.docker.compose.version"

enum { CONFIG_MAX = 64 << 20 };

void volume_state_release(struct volume_state *v)
{
    free(v->name);
    free(v->driver);
    free(v->mountpoint);
    free(v->project);
    free(v->key);
    free(v->config_hash);
    json_decref(v->definition);
    json_decref(v->labels);
    *v = (struct volume_state){0};
}

static bool is_name(const char *s)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t n = strlen(s);
    return n > 0 && n < 256 && !strchr("_.-", s[0]) && strspn(s, allowed) == n;
}

static int check_name(const char *name, struct err *err)
{
    if (is_name(name))
        return 0;
    return err_set(err, ERR_INVALID,
                   "volume name \"%s\" is invalid: want letters, digits, \"_\", \".\" and \"-\", "
                   "a letter or digit first",
                   name);
}

/* Orders making and removing between processes. */
static int take_lock(const struct paths *p, struct err *err)
{
    char *dir AUTOFREE = path_join(p->root, "volumes");
    /* No volume's name starts with a dot. */
    char *path AUTOFREE = path_join(dir, ".lock");
    int fd = -1;
    if (fs_mkdir_p(dir, 0711, err) < 0 || fs_lock(path, true, &fd, err) < 0)
        return -1;
    return fd;
}

static char *mountpoint_of(const struct paths *p, const char *name)
{
    char *dir AUTOFREE = paths_volume(p, name);
    return path_join(dir, "_data");
}

static char *hash_of(const json_t *definition)
{
    char *text AUTOFREE = json_dumps(definition, JSON_COMPACT | JSON_SORT_KEYS);
    char hex[SHA256_DIGEST_STRING_LENGTH];
    if (!text)
        return xstrdup("");
    SHA256Data((const uint8_t *)text, strlen(text), hex);
    return xstrdup(hex);
}

static int load(const struct paths *p, const char *name, json_t **doc, struct volume_state *out,
                struct err *err)
{
    char *dir AUTOFREE = paths_volume(p, name);
    char *path AUTOFREE = path_join(dir, "volume.json");
    json_t *j AUTOJSON = NULL;
    struct err failure AUTOERR = ERR_INIT;
    if (json_read(path, &j, &failure) < 0) {
        if (failure.kind == ERR_NOT_FOUND)
            return err_set(err, ERR_NOT_FOUND, "no such volume: %s", name);
        err_move(err, &failure);
        return -1;
    }
    const json_t *labels = json_object_get(j, "labels");
    const char *project = jstr(labels, LABEL_PROJECT, NULL),
               *key = jstr(labels, LABEL_VOLUME, NULL);
    *out = (struct volume_state){
        .name = xstrdup(name),
        .driver = xstrdup(jstr(j, "driver", "local")),
        .mountpoint = mountpoint_of(p, name),
        .project = project ? xstrdup(project) : NULL,
        .key = key ? xstrdup(key) : NULL,
        .config_hash = hash_of(json_object_get(j, "definition")),
        .definition = json_incref(json_object_get(j, "definition")),
        .labels = json_incref(json_object_get(j, "labels")),
        .created = jint(j, "created", 0),
        .anonymous = jbool(j, "anonymous", false),
    };
    if (doc)
        *doc = STEAL(j);
    return 0;
}

int volume_load(const struct paths *p, const char *name, struct volume_state *out, struct err *err)
{
    if (check_name(name, err) < 0)
        return -1;
    return load(p, name, NULL, out, err);
}

static json_t *options_of(const struct volume *def)
{
    json_t *o = json_object();
    for (size_t i = 0; def && i < def->driver_opts.n; i++)
        json_object_set_new(
            o, def->driver_opts.v[i].key,
            json_string(def->driver_opts.v[i].value ? def->driver_opts.v[i].value : ""));
    return o;
}

static json_t *describe(const char *project, const struct volume *def, const char *name)
{
    json_t *labels = json_object();
    for (size_t i = 0; def && i < def->labels.n; i++)
        json_object_set_new(labels, def->labels.v[i].key,
                            json_string(def->labels.v[i].value ? def->labels.v[i].value : ""));
    jset_str(labels, LABEL_PROJECT, project);
    if (def)
        jset_str(labels, LABEL_VOLUME, def->key);
    jset_str(labels, LABEL_VERSION, compose_version);
    json_t *j = json_object();
    jset_str(j, "name", name);
    jset_str(j, "driver", "local");
    json_object_set_new(j, "driver_opts", options_of(def));
    json_object_set_new(j, "labels", labels);
    jset_str(j, "project", project);
    if (def && def->node)
        json_object_set_new(j, "definition", node_to_json(def->node));
    json_object_set_new(j, "created", json_integer(time_now()));
    json_object_set_new(j, "anonymous", json_boolean(!def));
    return j;
}

/* Takes away what a driver has mounted. Only then may anything be removed: behind a bind mount lie
 * the user's own files. */
static int detach(const char *data, const char *name, struct err *err)
{
    while (umount2(data, UMOUNT_NOFOLLOW) == 0)
        ;
    if (errno == EBUSY)
        return err_set(err, ERR_CONFLICT, "remove %s: volume is in use", name);
    return errno == EINVAL || errno == ENOENT ? 0 : err_sys(err, errno, "unmount %s", data);
}

/* volume.json last: a volume without it was never made. The lock is held. */
static int create(const struct paths *p, const char *project, const struct volume *def,
                  const char *name, struct err *err)
{
    char *dir AUTOFREE = paths_volume(p, name);
    char *data AUTOFREE = mountpoint_of(p, name);
    char *file AUTOFREE = path_join(dir, "volume.json");
    json_t *j AUTOJSON = describe(project, def, name);
    if (driver_check(json_object_get(j, "driver_opts"), err) < 0)
        return err_wrap(err, "volume \"%s\"", name);
    /* What a removal that was cut short has left is nobody's. */
    if (fs_exists(dir) && (detach(data, name, err) < 0 || fs_remove_all(dir, err) < 0))
        return -1;
    if (fs_mkdir_p(dir, 0711, err) < 0 || fs_mkdir_p(data, 0755, err) < 0)
        return -1;
    return json_write(file, j, true, err);
}

/* driver_opts: the mount that the volume stands for is made on first use. */
static int ensure_mounted(json_t *doc, const struct volume_state *v, struct err *err)
{
    const json_t *options = json_object_get(doc, "driver_opts");
    if (!driver_wants_mount(options))
        return 0;
    if (driver_mount(options, v->mountpoint, err) < 0)
        return err_wrap(err, "volume \"%s\"", v->name);
    return 0;
}

static int ensure_locked(const struct paths *p, const char *project, const struct volume *def,
                         bool *created, struct volume_state *out, struct err *err)
{
    struct err failure AUTOERR = ERR_INIT;
    json_t *doc AUTOJSON = NULL;
    bool fresh = false;
    int rc = load(p, def->name, &doc, out, &failure);
    if (rc < 0 && failure.kind == ERR_NOT_FOUND && def->external)
        return err_set(err, ERR_NOT_FOUND, "external volume \"%s\" not found", def->name);
    if (rc < 0 && failure.kind == ERR_NOT_FOUND) {
        if (create(p, project, def, def->name, err) < 0)
            return -1;
        fresh = true;
        rc = load(p, def->name, &doc, out, err);
    } else if (rc < 0) {
        err_move(err, &failure);
    }
    if (rc == 0 && ensure_mounted(doc, out, err) < 0) {
        volume_state_release(out);
        rc = -1;
    }
    if (created)
        *created = fresh;
    return rc;
}

int volume_ensure(const struct paths *p, const char *project, const struct volume *def,
                  bool *created, struct volume_state *out, struct err *err)
{
    if (check_name(def->name, err) < 0)
        return -1;
    if (!def->external && def->driver && *def->driver && !streq(def->driver, "local"))
        return err_set(err, ERR_INVALID,
                       "volume \"%s\": driver \"%s\" is not supported, only \"local\" is",
                       def->name, def->driver);
    int lock AUTOCLOSE = take_lock(p, err);
    if (lock < 0)
        return -1;
    return ensure_locked(p, project, def, created, out, err);
}

int volume_create_anonymous(const struct paths *p, const char *project, struct volume_state *out,
                            struct err *err)
{
    char name[65];
    random_hex(32, name);
    int lock AUTOCLOSE = take_lock(p, err);
    if (lock < 0 || create(p, project, NULL, name, err) < 0)
        return -1;
    return load(p, name, NULL, out, err);
}

int volume_list(const struct paths *p, const char *project, struct volume_state **out, size_t *n,
                struct err *err)
{
    *out = NULL;
    *n = 0;
    char *all AUTOFREE = path_join(p->root, "volumes");
    DIR *d = opendir(all);
    if (!d)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", all);
    for (struct dirent *e; (e = readdir(d));) {
        struct volume_state v = {0};
        /* One that is being made or removed right now is none. */
        if (!is_name(e->d_name) || load(p, e->d_name, NULL, &v, NULL) < 0)
            continue;
        if (project && (!v.project || !streq(v.project, project))) {
            volume_state_release(&v);
            continue;
        }
        *out = xrealloc(*out, (*n + 1) * sizeof(**out));
        (*out)[(*n)++] = v;
    }
    closedir(d);
    return 0;
}

/* Does a container's OCI document mount this folder or something below it? */
static bool mentions(const char *config, const char *mountpoint)
{
    char *source AUTOFREE = xasprintf("\"source\":\"%s", mountpoint);
    for (const char *at = config; (at = strstr(at, source)); at++) {
        char next = at[strlen(source)];
        if (next == '"' || next == '/')
            return true;
    }
    return false;
}

/* ID of a container with a file NAME in its folder below DIR that mentions the mountpoint; heap, NULL: none. */
static char *find_mention(const char *dir, const char *name, const char *mountpoint,
                          const char *except)
{
    DIR *d = opendir(dir);
    char *found = NULL;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char *folder AUTOFREE = path_join(dir, e->d_name), *text AUTOFREE = NULL;
        char *path AUTOFREE = path_join(folder, name);
        if (e->d_name[0] != '.' && !(except && streq(folder, except)) &&
            fs_read(path, CONFIG_MAX, &text, NULL, NULL) == 0 && mentions(text, mountpoint))
            found = xstrdup(e->d_name);
    }
    if (d)
        closedir(d);
    return found;
}

/* ID of a container that has the volume: that runs, or else whose record says that it had it when it ran. */
static char *find_user(const struct paths *p, const char *mountpoint, const char *except)
{
    char *running AUTOFREE = path_join(p->run, "containers");
    char *projects AUTOFREE = path_join(p->root, "projects");
    char *found = find_mention(running, "config.json", mountpoint, NULL);
    DIR *d = opendir(projects);
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char *project AUTOFREE = path_join(projects, e->d_name);
        char *containers AUTOFREE = path_join(project, "containers");
        if (e->d_name[0] != '.' && !(except && streq(project, except)))
            found = find_mention(containers, "container.json", mountpoint, except);
    }
    if (d)
        closedir(d);
    return found;
}

int volume_remove(const struct paths *p, const char *name, const char *except, struct err *err)
{
    if (check_name(name, err) < 0)
        return -1;
    int lock AUTOCLOSE = take_lock(p, err);
    if (lock < 0)
        return -1;
    char *dir AUTOFREE = paths_volume(p, name);
    char *data AUTOFREE = mountpoint_of(p, name);
    char *file AUTOFREE = path_join(dir, "volume.json");
    char *user AUTOFREE = find_user(p, data, except);
    if (user)
        return err_set(err, ERR_CONFLICT, "remove %s: volume is in use - [%s]", name, user);
    if (detach(data, name, err) < 0)
        return -1;
    /* First what makes it a volume: a removal cut short leaves none that looks whole. */
    if (unlink(file) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove %s", file);
    return fs_remove_all(dir, err);
}

static bool is_empty(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool empty = true;
    for (struct dirent *e; d && empty && (e = readdir(d));)
        empty = streq(e->d_name, ".") || streq(e->d_name, "..");
    if (d)
        closedir(d);
    else
        fd_close_ptr(&fd);
    return empty;
}

/* "seeding" marks a copy under way: one that was cut short is gone on with. */
static int seed_locked(const char *dir, int from, int to, struct err *err)
{
    char *mark AUTOFREE = path_join(dir, "seeding");
    bool resume = fs_exists(mark);
    if (!resume && !is_empty(to))
        return 0;
    int fd AUTOCLOSE = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "%s", mark);
    if (tree_copy(from, to, resume, err) < 0)
        return -1;
    if (unlink(mark) < 0)
        return err_sys(err, errno, "%s", mark);
    return 0;
}

int volume_seed(const struct volume_state *v, const char *rootfs, const char *target,
                struct err *err)
{
    char *dir AUTOFREE = path_dir(v->mountpoint);
    char *mark AUTOFREE = path_join(dir, "seeding");
    char *lock_path AUTOFREE = path_join(dir, "seed.lock");
    int to AUTOCLOSE = open(v->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (to < 0)
        return err_sys(err, errno, "volume \"%s\"", v->name);
    if (!is_empty(to) && !fs_exists(mark))
        return 0;
    int root AUTOCLOSE = inroot_dir(rootfs, err);
    if (root < 0)
        return -1;
    int from AUTOCLOSE = inroot_open(root, target, O_RDONLY | O_DIRECTORY, 0);
    if (from < 0)
        return 0; /* the image has no such folder */
    int lock AUTOCLOSE = -1;
    if (fs_lock(lock_path, true, &lock, err) < 0)
        return -1;
    if (seed_locked(dir, from, to, err) < 0)
        return err_wrap(err, "volume \"%s\": copy from the image", v->name);
    return 0;
}
