#include "runtime/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "monitor/enter.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

static void add(struct strbuf *plan, enum enter_key key, const char *value)
{
    strbuf_addch(plan, (char)key);
    strbuf_add(plan, value, strlen(value) + 1);
}

static void addf(struct strbuf *plan, enum enter_key key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void addf(struct strbuf *plan, enum enter_key key, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    add(plan, key, text);
}

static int rlimit_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } all[] = {
        {"RLIMIT_AS", RLIMIT_AS},
        {"RLIMIT_CORE", RLIMIT_CORE},
        {"RLIMIT_CPU", RLIMIT_CPU},
        {"RLIMIT_DATA", RLIMIT_DATA},
        {"RLIMIT_FSIZE", RLIMIT_FSIZE},
        {"RLIMIT_LOCKS", RLIMIT_LOCKS},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
        {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
        {"RLIMIT_NICE", RLIMIT_NICE},
        {"RLIMIT_NOFILE", RLIMIT_NOFILE},
        {"RLIMIT_NPROC", RLIMIT_NPROC},
        {"RLIMIT_RSS", RLIMIT_RSS},
        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
        {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
        {"RLIMIT_STACK", RLIMIT_STACK},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (streq(all[i].name, name))
            return all[i].number;
    return -1;
}

static unsigned long long limit_of(const json_t *rlimit, const char *key)
{
    double v = json_number_value(json_object_get(rlimit, key));
    return v < 0 || v >= 9e18 ? RLIM_INFINITY : (unsigned long long)v;
}

/* What the template has as text: members of the OCI "process". */
static int add_common(struct strbuf *plan, const json_t *t, struct err *err)
{
    char *text AUTOFREE = xasprintf("{%s}", jstr(t, "common", ""));
    json_error_t je;
    /* Unlimited is a number beyond the library's integers. */
    json_t *common AUTOJSON = json_loads(text, JSON_DECODE_INT_AS_REAL, &je);
    if (!common)
        return err_set(err, ERR_CORRUPT, "process.json: %s", je.text);
    size_t i;
    json_t *r;
    json_array_foreach (json_object_get(common, "rlimits"), i, r) {
        int number = rlimit_number(jstr(r, "type", ""));
        if (number < 0)
            return err_set(err, ERR_UNAVAILABLE, "unknown limit %s", jstr(r, "type", ""));
        addf(plan, ENTER_RLIMIT, "%d %llu %llu", number, limit_of(r, "soft"), limit_of(r, "hard"));
    }
    if (jbool(common, "noNewPrivileges", false))
        add(plan, ENTER_NO_NEW_PRIVS, "");
    if (jstr(common, "apparmorProfile", NULL))
        add(plan, ENTER_APPARMOR, jstr(common, "apparmorProfile", ""));
    addf(plan, ENTER_OOM, "%d", (int)json_number_value(json_object_get(common, "oomScoreAdj")));
    return 0;
}

static int add_filter(struct strbuf *plan, const json_t *t, const struct paths *p, struct err *err)
{
    const char *filter = jstr(t, "filter", "other");
    if (streq(filter, "none"))
        return 0;
    char *cache AUTOFREE = path_join(p->run, "seccomp");
    char *program AUTOFREE = streq(filter, "default")
                                 ? seccomp_program((caps)jint(t, "caps", 0), cache)
                                 : NULL;
    if (!program)
        return err_set(err, ERR_UNAVAILABLE, "the filter of system calls is the runtime's to make");
    add(plan, ENTER_SECCOMP, program);
    return 0;
}

static int add_cgroups(struct strbuf *plan, const char *run, struct err *err)
{
    char *path AUTOFREE = path_join(run, "cgroup"), *list AUTOFREE = NULL, *rest = NULL;
    if (fs_read(path, 16384, &list, NULL, err) < 0)
        return -1;
    for (char *dir = strtok_r(list, "\n", &rest); dir; dir = strtok_r(NULL, "\n", &rest))
        if (fs_exists(dir))
            add(plan, ENTER_CGROUP, dir);
    return 0;
}

static int write_plan(struct strbuf *plan, const struct paths *p, const char *id, pid_t first,
                      const char *const *command, struct err *err)
{
    char *run AUTOFREE = paths_container_run(p, id);
    char *path AUTOFREE = path_join(run, "process.json");
    json_t *t AUTOJSON = NULL;
    if (json_read(path, &t, err) < 0)
        return -1;
    const json_t *user = json_object_get(t, "user");
    addf(plan, ENTER_PID, "%d", (int)first);
    addf(plan, ENTER_USER, "%lld %lld", (long long)jint(user, "uid", 0),
         (long long)jint(user, "gid", 0));
    size_t i;
    json_t *group;
    json_array_foreach (json_object_get(user, "additionalGids"), i, group)
        addf(plan, ENTER_GROUP, "%lld", (long long)json_integer_value(group));
    addf(plan, ENTER_CAPS, "%llx", (unsigned long long)jint(t, "caps", 0));
    add(plan, ENTER_CWD, jstr(t, "cwd", "/"));
    if (add_common(plan, t, err) < 0 || add_cgroups(plan, run, err) < 0 ||
        add_filter(plan, t, p, err) < 0)
        return -1;
    char **env AUTOSTRV = jarray_to_strv(json_object_get(t, "env"));
    for (i = 0; env && env[i]; i++)
        add(plan, ENTER_ENV, env[i]);
    for (i = 0; command[i]; i++)
        add(plan, ENTER_ARG, command[i]);
    if (plan->len > ENTER_PLAN_MAX)
        return err_set(err, ERR_UNAVAILABLE, "the command and its environment are too long");
    return 0;
}

static int seal(const struct strbuf *plan, struct err *err)
{
    int fd AUTOCLOSE = memfd_create("plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fd_write_all(fd, plan->buf, plan->len) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return err_sys(err, errno, "plan");
    return STEAL_FD(fd);
}

/* Linux 5.12. What runs in the container may see this file as /proc/PID/exe, and must not be able to
 * write to it (CVE-2019-5736). */
static int open_program(struct err *err)
{
    char *path AUTOFREE = paths_companion("compose-monitor");
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    if (!path)
        return err_set(err, ERR_NOT_FOUND, "compose-monitor is missing");
    int tree AUTOCLOSE = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                                      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 ||
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)) < 0)
        return err_set(err, ERR_UNAVAILABLE, "%s: no read-only mount: %s", path, strerror(errno));
    /* Above the descriptors that the program is given. */
    int fd = fcntl(tree, F_DUPFD_CLOEXEC, 10);
    return fd < 0 ? err_sys(err, errno, "%s", path) : fd;
}

int enter_prepare(const struct paths *p, const struct oci_runtime *rt, const char *id, pid_t first,
                  const char *const *command, struct enter *out, struct err *err)
{
    *out = (struct enter){-1, -1};
    if (!streq(rt->name, "crun") && !streq(rt->name, "runc"))
        return err_set(err, ERR_UNAVAILABLE, "runtime %s may use no namespaces", rt->name);
    struct strbuf plan AUTOBUF = STRBUF_INIT;
    if (write_plan(&plan, p, id, first, command, err) < 0 || (out->plan = seal(&plan, err)) < 0 ||
        (out->program = open_program(err)) < 0) {
        enter_release(out);
        return -1;
    }
    return 0;
}

void enter_release(struct enter *e)
{
    fd_close_ptr(&e->plan);
    fd_close_ptr(&e->program);
    *e = (struct enter){-1, -1};
}
