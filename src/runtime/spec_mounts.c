/* The "mounts" part: Docker's fixed ones, then the service's by depth of their target. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/inroot.h"
#include "base/mem.h"
#include "base/vec.h"
#include "runtime/files.h"
#include "runtime/spec.h"

static const int64_t DEFAULT_SHM = 64 << 20;

struct entry {
    const char *type;
    char *source, *target;
    char **options;
};

struct entries {
    VEC(struct entry) list;
};

static struct entry *add(struct entries *e, const char *type, const char *source,
                         const char *target)
{
    char *clean = path_clean(target);
    vec_push(&e->list, (struct entry){type, xstrdup(source), clean, NULL});
    return &e->list.v[e->list.n - 1];
}

static void add_options(struct entry *e, const char *const *options)
{
    for (size_t i = 0; options[i]; i++)
        strv_push(&e->options, options[i]);
}

static void add_option(struct entry *e, const char *fmt, long long value)
{
    char text[64];
    snprintf(text, sizeof(text), "%s%lld", fmt, value);
    strv_push(&e->options, text);
}

static void entry_release(struct entry *m)
{
    free(m->source);
    free(m->target);
    strv_free(m->options);
}

static void entries_release(struct entries *e)
{
    vec_foreach (&e->list, it)
        entry_release(it);
    vec_release(&e->list);
}

/* "rro", read-only with all that is mounted below, needs mount_setattr(2): Linux 5.12. Nothing is
 * mounted below a file, and crun 1.8 fails at "rro" on one. */
static const char *read_only_option(const char *source)
{
    struct utsname u;
    unsigned major = 0, minor = 0;
    bool recursive = uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
                     (major > 5 || (major == 5 && minor >= 12));
    return recursive && fs_is_dir(source) ? "rro" : "ro";
}

static void add_bind(struct entries *e, const char *source, const char *target, bool read_only)
{
    struct entry *m = add(e, "bind", source, target);
    strv_push(&m->options, "rbind");
    if (read_only)
        strv_push(&m->options, read_only_option(source));
    strv_push(&m->options, "rprivate");
}

static bool mode_is(const char *mode, const char *word)
{
    return mode && streq(mode, word);
}

/* shm that other containers may join lies on the host, below RUN/containers/ID. */
static int host_shm(const struct spec *s, int64_t size, char **path, struct err *err)
{
    char *dir AUTOFREE = path_join(s->run, "shm");
    if (fs_mkdir_p(dir, 01777, err) < 0)
        return -1;
    struct statfs fs;
    char *parent AUTOFREE = path_dir(dir);
    struct stat here, above;
    bool mounted = stat(dir, &here) == 0 && stat(parent, &above) == 0 &&
                   here.st_dev != above.st_dev && statfs(dir, &fs) == 0;
    if (!mounted) {
        char options[64];
        snprintf(options, sizeof(options), "mode=1777,size=%lld", (long long)size);
        if (mount("shm", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
            return err_sys(err, errno, "mount %s", dir);
    }
    *path = STEAL(dir);
    return 0;
}

static int add_shm(const struct spec *s, struct entries *e, struct err *err)
{
    const struct service *v = s->service;
    int64_t size = v->shm_size == UNSET || !v->shm_size ? DEFAULT_SHM : v->shm_size;
    char *path AUTOFREE = NULL;
    if (mode_is(v->ipc, "none"))
        return 0;
    if (mode_is(v->ipc, "host")) {
        add_bind(e, "/dev/shm", "/dev/shm", false);
        return 0;
    }
    if (s->r->ipc_path) {
        path = files_shm_of(s->r->paths, s->r->ipc_path);
        if (!path)
            return err_set(err, ERR_INVALID,
                           "ipc: %s: non-shareable IPC (hint: give the other one ipc: shareable)",
                           v->ipc);
    } else if (mode_is(v->ipc, "shareable")) {
        if (host_shm(s, size, &path, err) < 0)
            return -1;
    } else {
        struct entry *m = add(e, "tmpfs", "shm", "/dev/shm");
        add_options(m, (const char *const[]){"nosuid", "noexec", "nodev", "mode=1777", NULL});
        add_option(m, "size=", size);
        return 0;
    }
    add_bind(e, path, "/dev/shm", false);
    return 0;
}

static int add_fixed(const struct spec *s, struct entries *e, struct err *err)
{
    static const char *const guarded[] = {"nosuid", "noexec", "nodev", NULL};
    const char *ro = s->privileged ? NULL : "ro";
    add_options(add(e, "proc", "proc", "/proc"), guarded);
    add_options(add(e, "tmpfs", "tmpfs", "/dev"),
                (const char *const[]){"nosuid", "strictatime", "mode=755", "size=65536k", NULL});
    add_options(add(e, "devpts", "devpts", "/dev/pts"),
                (const char *const[]){"nosuid", "noexec", "newinstance", "ptmxmode=0666",
                                      "mode=0620", "gid=5", NULL});
    add_options(add(e, "sysfs", "sysfs", "/sys"),
                (const char *const[]){"nosuid", "noexec", "nodev", ro, NULL});
    add_options(add(e, "cgroup", "cgroup", "/sys/fs/cgroup"),
                (const char *const[]){"nosuid", "noexec", "nodev", ro, NULL});
    if (!mode_is(s->service->ipc, "host"))
        add_options(add(e, "mqueue", "mqueue", "/dev/mqueue"), guarded);
    return add_shm(s, e, err);
}

/* Flags that exclude each other; the later one counts. */
static const char *const opposites[][2] = {
    {"exec", "noexec"}, {"suid", "nosuid"}, {"dev", "nodev"},
    {"rw", "ro"},       {"sync", "async"},  {"atime", "noatime"},
};

static void put_flag(struct entry *m, const char *flag)
{
    for (size_t k = 0; k < ARRAY_SIZE(opposites); k++)
        for (int side = 0; side < 2; side++) {
            if (!streq(flag, opposites[k][side]))
                continue;
            for (size_t i = 0; m->options && m->options[i]; i++)
                if (streq(m->options[i], opposites[k][!side])) {
                    free(m->options[i]);
                    m->options[i] = xstrdup(flag);
                    return;
                }
        }
    strv_push(&m->options, flag);
}

static bool tmpfs_option_known(const char *o)
{
    static const char *const flags[] = {
        "exec",       "noexec",      "suid",     "nosuid",     "dev",         "nodev",
        "rw",         "ro",          "sync",     "async",      "atime",       "noatime",
        "diratime",   "nodiratime",  "relatime", "norelatime", "strictatime", "nostrictatime",
        "mand",       "nomand",      "dirsync",  "remount",    "bind",        "rbind",
        "private",    "rprivate",    "shared",   "rshared",    "slave",       "rslave",
        "unbindable", "runbindable", "defaults"};
    static const char *const keys[] = {
        "size=", "mode=", "uid=", "gid=", "nr_inodes=", "nr_blocks=", "mpol="};
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if (streq(o, flags[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (starts_with(o, keys[i]) && o[strlen(keys[i])])
            return true;
    return false;
}

static struct entry *add_tmpfs(struct entries *e, const char *target)
{
    struct entry *m = add(e, "tmpfs", "tmpfs", target);
    add_options(m, (const char *const[]){"noexec", "nosuid", "nodev", "rprivate", NULL});
    return m;
}

/* tmpfs: "/run" or "/run:size=64m,mode=700". */
static int add_tmpfs_text(struct entries *e, const char *text, struct err *err)
{
    char *copy AUTOFREE = xstrdup(text);
    char *options = strchr(copy, ':');
    if (options)
        *options++ = '\0';
    if (copy[0] != '/')
        return err_set(err, ERR_INVALID, "tmpfs: \"%s\": mount path must be absolute", text);
    struct entry *m = add_tmpfs(e, copy);
    char *rest = NULL;
    for (char *o = options ? strtok_r(options, ",", &rest) : NULL; o;
         o = strtok_r(NULL, ",", &rest)) {
        if (!tmpfs_option_known(o))
            return err_set(err, ERR_INVALID, "tmpfs: \"%s\": invalid tmpfs option \"%s\"", text, o);
        put_flag(m, o);
    }
    return 0;
}

/* Volume or image content below its root: bound from the host by descriptor, so that no link in it
 * leads anywhere else, also later. */
static int bind_subpath(struct spec *s, const struct bundle_mount *m, size_t index, char **source,
                        struct err *err)
{
    const char *sub = m->from->subpath;
    int root AUTOCLOSE = inroot_dir(m->source, err);
    if (root < 0)
        return -1;
    int fd AUTOCLOSE = inroot_open(root, sub, O_PATH, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "volume subpath \"%s\"", sub);
    char *target AUTOFREE = xasprintf("%s/subpath-%zu", s->run, index);
    int rc = 0;
    if (S_ISDIR(st.st_mode)) {
        rc = mkdir(target, 0700) < 0 && errno != EEXIST ? -1 : 0;
    } else {
        int made AUTOCLOSE = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        rc = made < 0 ? -1 : 0;
    }
    char from[64];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
    if (rc < 0 || mount(from, target, NULL, MS_BIND | MS_REC, NULL) < 0)
        return err_sys(err, errno, "volume subpath \"%s\"", sub);
    mount(NULL, target, NULL, MS_PRIVATE, NULL);
    *source = STEAL(target);
    return 0;
}

static bool is_shared(const char *propagation)
{
    return streq(propagation, "shared") || streq(propagation, "rshared");
}

/* What is mounted later on the host shows in the container only when its / takes part in it. */
static void use_propagation(struct spec *s, const char *propagation)
{
    bool slave = streq(propagation, "slave") || streq(propagation, "rslave");
    if (is_shared(propagation) || (slave && !s->propagation)) {
        free(s->propagation);
        s->propagation = xstrdup(is_shared(propagation) ? "shared" : "rslave");
    }
}

static int add_bound(struct spec *s, struct entries *e, const struct bundle_mount *m, size_t index,
                     struct err *err)
{
    const struct service_mount *from = m->from;
    char *source AUTOFREE = NULL;
    if (from && from->subpath && *from->subpath) {
        if (bind_subpath(s, m, index, &source, err) < 0)
            return -1;
    } else {
        source = xstrdup(m->source);
    }
    const char *recursive = from && from->recursive ? from->recursive : "enabled";
    const char *propagation = from && from->propagation && *from->propagation ? from->propagation
                                                                              : "rprivate";
    bool read_only = m->read_only || m->type == MOUNT_IMAGE;
    struct entry *out = add(e, "bind", source, m->target);
    strv_push(&out->options, streq(recursive, "disabled") ? "bind" : "rbind");
    if (read_only)
        strv_push(&out->options, streq(recursive, "writable") ? "ro" : read_only_option(source));
    strv_push(&out->options, propagation);
    use_propagation(s, propagation);
    return 0;
}

static void add_tmpfs_mount(struct entries *e, const struct bundle_mount *m)
{
    struct entry *out = add_tmpfs(e, m->target);
    char mode[32];
    if (m->from && m->from->tmpfs_mode != UNSET) {
        snprintf(mode, sizeof(mode), "mode=%llo", (unsigned long long)m->from->tmpfs_mode);
        strv_push(&out->options, mode);
    }
    if (m->from && m->from->tmpfs_size > 0)
        add_option(out, "size=", m->from->tmpfs_size);
    if (m->read_only)
        put_flag(out, "ro");
}

static int add_requested(struct spec *s, struct entries *e, size_t i, struct err *err)
{
    const struct bundle_mount *m = &s->r->mounts[i];
    switch (m->type) {
    case MOUNT_BIND:
    case MOUNT_VOLUME:
    case MOUNT_IMAGE:
        if (m->source)
            return add_bound(s, e, m, i, err);
        break;
    case MOUNT_TMPFS:
        add_tmpfs_mount(e, m);
        return 0;
    case MOUNT_NPIPE:
    case MOUNT_CLUSTER: /* refused by whoever looks for sources */
        break;
    }
    return err_set(err, ERR_INVALID, "mount %s: no source", m->target);
}

/* /etc/{resolv.conf,hostname,hosts}, secrets and configs. */
static void add_files(struct spec *s, struct entries *e)
{
    static const char *const own[] = {"resolv.conf", "hostname", "hosts"};
    for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
        char *source AUTOFREE = path_join(s->run, own[i]);
        char *target AUTOFREE = path_join("/etc", own[i]);
        add_bind(e, source, target, s->service->read_only);
    }
    for (size_t i = 0; i < s->r->files_n; i++) {
        char *source AUTOFREE = files_source(s->r, i);
        add_bind(e, source, s->r->files[i].target, true);
    }
    if (s->init) {
        struct entry *m = add(e, "bind", s->init, "/sbin/docker-init");
        add_options(m, (const char *const[]){"bind", "ro", NULL});
    }
}

static bool is_target(const struct entries *e, const char *target)
{
    vec_foreach (&e->list, it)
        if (streq(it->target, target))
            return true;
    return false;
}

/* Each takes the place of what would be mounted there without it. */
static void add_cdi_mount(struct entries *e, const struct node *n)
{
    const char *target = node_get_str(n, "containerPath"), *type = node_get_str(n, "type");
    const struct node *options = node_get(n, "options");
    for (size_t i = e->list.n; i--;)
        if (streq(e->list.v[i].target, target)) {
            entry_release(&e->list.v[i]);
            vec_remove(&e->list, i);
        }
    struct entry *m = add(e, type ? type : "bind", node_get_str(n, "hostPath"), target);
    for (size_t i = 0; node_is(options, NODE_SEQUENCE) && i < options->count; i++)
        if (node_str(options->items[i]))
            strv_push(&m->options, options->items[i]->string);
    if (!m->options)
        add_options(m, (const char *const[]){"rbind", "rprivate", NULL});
}

static size_t depth(const char *target)
{
    size_t n = 0;
    for (const char *p = target; *p; p++)
        n += *p == '/' && p[1];
    return n;
}

/* Stable: what is mounted on one target twice keeps its order. */
static void sort_by_depth(struct entries *e)
{
    for (size_t i = 1; i < e->list.n; i++) {
        struct entry moved = e->list.v[i];
        size_t k = i;
        for (; k && depth(e->list.v[k - 1].target) > depth(moved.target); k--)
            e->list.v[k] = e->list.v[k - 1];
        e->list.v[k] = moved;
    }
}

static void write_entry(struct jsonw *w, const struct entry *m)
{
    jsonw_object(w, NULL);
    jsonw_str(w, "destination", m->target);
    jsonw_str(w, "type", m->type);
    jsonw_str(w, "source", m->source);
    jsonw_strv(w, "options", (const char *const *)m->options);
    jsonw_end_object(w);
}

static int collect(struct spec *s, struct entries *fixed, struct entries *own, struct err *err)
{
    if (add_fixed(s, fixed, err) < 0)
        return -1;
    for (size_t i = 0; i < s->r->mounts_n; i++)
        if (add_requested(s, own, i, err) < 0)
            return -1;
    for (size_t i = 0; i < s->service->tmpfs.n; i++)
        if (add_tmpfs_text(own, s->service->tmpfs.v[i], err) < 0)
            return -1;
    /* A service that mounts its own /etc/hosts means it. */
    struct entries files = {0};
    add_files(s, &files);
    vec_foreach (&files.list, it) {
        if (is_target(own, it->target))
            continue;
        vec_push(&own->list, *it);
        *it = (struct entry){0};
    }
    entries_release(&files);
    vec_foreach (&s->cdi.mounts, mount)
        add_cdi_mount(own, *mount);
    sort_by_depth(own);
    return 0;
}

int spec_mounts(struct spec *s, struct jsonw *w, struct err *err)
{
    struct entries fixed = {0}, own = {0};
    int rc = collect(s, &fixed, &own, err);
    if (rc == 0) {
        bool dev = is_target(&own, "/dev");
        jsonw_array(w, "mounts");
        vec_foreach (&fixed.list, it)
            if (!is_target(&own, it->target) && !(dev && starts_with(it->target, "/dev/")))
                write_entry(w, it);
        vec_foreach (&own.list, it)
            write_entry(w, it);
        jsonw_end_array(w);
    }
    entries_release(&fixed);
    entries_release(&own);
    return rc;
}
