#include "runtime/oci.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/paths.h"
#include "base/subprocess.h"
#include "runtime/cgroup.h"

static const int64_t TIMEOUT_NS = 60000000000;

/* Looks a program up as a shell does; heap, NULL when there is none. /usr/sbin and /sbin are tried
 * besides: they hold runc on Debian, and a user's PATH may lack them. */
static char *find_program(const char *name)
{
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? path_abs(NULL, name) : NULL;
    const char *env = getenv("PATH");
    char *dirs AUTOFREE = xasprintf("%s:/usr/local/bin:/usr/bin:/usr/sbin:/sbin", env ? env : "");
    char *rest = NULL;
    for (char *dir = strtok_r(dirs, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
        if (dir[0] != '/')
            continue;
        char *path AUTOFREE = path_join(dir, name);
        if (access(path, X_OK) == 0 && !fs_is_dir(path))
            return STEAL(path);
    }
    return NULL;
}

static void fill(struct oci_runtime *out, const char *name, char *take_path, const char *run_root,
                 char *take_why)
{
    const char *base = path_base(name);
    *out = (struct oci_runtime){
        .name = xstrdup(base),
        .path = take_path,
        .state = xasprintf("%s/runtime-%s", run_root, base),
        .why = take_why,
    };
}

/* With cgroup v2, crun raises RLIMIT_MEMLOCK before it loads its device filter (eBPF), though kernels
 * since 5.11 do not count that, and gives up where it may not. */
static bool may_lock_memory(void)
{
    struct rlimit limit;
    return (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_max == RLIM_INFINITY) ||
           prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1;
}

/* crun serves hosts with cgroup v1 only, with v2 only, and with both as long as v2 has no
 * controllers; on others it is started through compose-crun. It asks just what we ask: is
 * /sys/fs/cgroup a cgroup2 file system (v2), else has it a folder "unified" that is one (both), and
 * is unified/cgroup.controllers empty. Returns the program to start it by, NULL when it cannot
 * serve; *why (heap): how it is used, or why not. */
static char *find_crun(char **why)
{
    char *path AUTOFREE = find_program("crun");
    enum cgroup_mode mode = cgroup_mode();
    if (!path || (mode == CGROUP_V2 && !may_lock_memory())) {
        *why = xstrdup(path ? "crun needs CAP_SYS_RESOURCE where cgroup v2 is alone"
                            : "crun, which starts faster, is not installed");
        return NULL;
    }
    char *held AUTOFREE = mode == CGROUP_HYBRID ? cgroup_hybrid_controllers() : xstrdup("");
    if (!*held) {
        *why = xasprintf("crun is preferred, and the host has %s", cgroup_mode_name(mode));
        return STEAL(path);
    }
    *why = xasprintf("crun is preferred, and compose-crun hides the host's cgroup v2 tree (it "
                     "holds %s) from it",
                     held);
    char *hider = paths_companion("compose-crun");
    return hider ? hider : STEAL(path);
}

static int choose_named(const char *name, const char *by, const char *run_root,
                        struct oci_runtime *out, struct err *err)
{
    char *how AUTOFREE = NULL;
    char *crun = streq(name, "crun") ? find_crun(&how) : NULL;
    char *path = crun ? crun : find_program(name);
    if (!path)
        return err_set(err, ERR_NOT_FOUND,
                       "runtime \"%s\" (named by %s) is not installed: it is neither in PATH nor "
                       "in /usr/sbin",
                       name, by);
    fill(out, name, path, run_root, xasprintf("%s is what %s names", path_base(name), by));
    return 0;
}

int oci_runtime_choose(const char *wanted, const char *run_root, struct oci_runtime *out,
                       struct err *err)
{
    const char *env = getenv("COMPOSE_RUNTIME");
    /* containerd's name of Docker's default is no choice. */
    if (wanted && *wanted && !streq(wanted, "io.containerd.runc.v2"))
        return choose_named(wanted, "runtime:", run_root, out, err);
    if (env && *env)
        return choose_named(env, "COMPOSE_RUNTIME", run_root, out, err);
    char *why AUTOFREE = NULL;
    char *path = find_crun(&why);
    const char *name = path ? "crun" : "runc";
    if (!path)
        path = find_program("runc");
    if (!path)
        return err_set(err, ERR_NOT_FOUND, "no OCI runtime: %s; install runc", why);
    fill(out, name, path, run_root, STEAL(why));
    return 0;
}

void oci_runtime_release(struct oci_runtime *rt)
{
    free(rt->name);
    free(rt->path);
    free(rt->state);
    free(rt->why);
    *rt = (struct oci_runtime){0};
}

static bool says_missing(const char *text)
{
    return strstr(text, "does not exist") || strstr(text, "No such file or directory") ||
           strstr(text, "error opening file") || strstr(text, "no such");
}

/* Runs `RUNTIME --root STATE VERB ARGS...`; its complaint becomes the error. */
static int command(const struct oci_runtime *rt, const char *id, const char *const *words,
                   struct err *err)
{
    const char *argv[12] = {rt->path, "--root", rt->state};
    size_t n = 3;
    for (size_t i = 0; words[i]; i++)
        argv[n++] = words[i];
    struct strbuf out AUTOBUF = STRBUF_INIT;
    struct subprocess p = {.argv = argv, .timeout_ns = TIMEOUT_NS, .err = &out, .output_max = 8192};
    if (subprocess_run(&p, err) < 0)
        return err_wrap(err, "container %s", id);
    if (p.status == 0)
        return 0;
    while (out.len && out.buf[out.len - 1] == '\n')
        strbuf_setlen(&out, out.len - 1);
    return err_set(err, says_missing(out.buf) ? ERR_NOT_FOUND : ERR_IO, "container %s: %s %s: %s",
                   id, rt->name, words[0], out.len ? out.buf : "failed and said nothing");
}

/* RUN/containers/ID: the runtime's state folder is RUN/runtime-NAME. */
static char *bundle_folder(const struct oci_runtime *rt, const char *id)
{
    char *run AUTOFREE = path_dir(rt->state);
    return xasprintf("%s/containers/%s", run, id);
}

int oci_pause(const struct oci_runtime *rt, const char *id, struct err *err)
{
    return command(rt, id, (const char *[]){"pause", id, NULL}, err);
}

int oci_resume(const struct oci_runtime *rt, const char *id, struct err *err)
{
    return command(rt, id, (const char *[]){"resume", id, NULL}, err);
}

/* The cgroup folders that bundle_write() has noted: a runtime killed half-way may know nothing of
 * them any more. Where RUN is gone, they are found by the container's ID. */
static void remove_cgroups(const char *bundle, const char *id)
{
    char *path AUTOFREE = path_join(bundle, "cgroup");
    char *list AUTOFREE = NULL;
    if (fs_read(path, 16384, &list, NULL, NULL) < 0) {
        cgroup_remove_by_id(id);
        return;
    }
    char *rest = NULL;
    for (char *dir = strtok_r(list, "\n", &rest); dir; dir = strtok_r(NULL, "\n", &rest))
        cgroup_remove(dir);
}

int oci_delete(const struct oci_runtime *rt, const char *id, struct err *err)
{
    struct err failure AUTOERR = ERR_INIT;
    const char *words[] = {"delete", "--force", id, NULL};
    int rc = command(rt, id, words, &failure);
    char *bundle AUTOFREE = bundle_folder(rt, id);
    remove_cgroups(bundle, id);
    /* A runtime killed while it made its state leaves a folder that it then cannot read itself. */
    char *left AUTOFREE = path_join(rt->state, id);
    if (fs_exists(left) && fs_remove_all(left, err) < 0)
        return -1;
    if (rc < 0 && failure.kind != ERR_NOT_FOUND && failure.kind != ERR_IO) {
        err_move(err, &failure);
        return -1;
    }
    return 0;
}

char **oci_exec_argv(const struct oci_runtime *rt, const char *id, const char *process,
                     const char *pid_file)
{
    char **argv = NULL;
    const char *const head[] = {rt->path, "--root", rt->state, "exec", "--process", process};
    for (size_t i = 0; i < ARRAY_SIZE(head); i++)
        strv_push(&argv, head[i]);
    if (pid_file) {
        strv_push(&argv, "--pid-file");
        strv_push(&argv, pid_file);
    }
    strv_push(&argv, id);
    return argv;
}
