#include <dlfcn.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "net/check.h"
#include "runtime/cgroup.h"
#include "runtime/oci.h"

static const struct option options[] = {
    OPT_STR("format", 0, "Format the output. Values: [text | json]", .fallback = "text",
            .words = "text json"),
    OPTION_END,
};

struct finding {
    char *name;
    enum check_level level;
    char *detail, *remedy;
};

typedef VEC(struct finding) findings;

static void add(findings *f, const char *name, enum check_level level, char *take_detail,
                const char *remedy)
{
    vec_push(f,
             (struct finding){xstrdup(name), level, take_detail, remedy ? xstrdup(remedy) : NULL});
}

/* ---- the checks */

static void check_user(findings *f)
{
    bool root = geteuid() == 0;
    add(f, "user", root ? CHECK_OK : CHECK_FAIL,
        root ? xstrdup("root") : xasprintf("user %u", (unsigned)geteuid()),
        root ? NULL : "run compose as root (sudo compose ...)");
}

static void check_kernel(findings *f)
{
    struct utsname u;
    int major = 0, minor = 0;
    uname(&u);
    sscanf(u.release, "%d.%d", &major, &minor);
    /* pidfd_open 5.3, openat2 5.6: nothing works without them. */
    bool old = major < 5 || (major == 5 && minor < 6);
    add(f, "kernel", old ? CHECK_FAIL : CHECK_OK, xasprintf("Linux %s", u.release),
        old ? "Linux 5.6 or newer is needed (openat2, pidfds)" : NULL);
}

static void check_overlay(findings *f)
{
    char *text AUTOFREE = NULL;
    bool have = fs_read("/proc/filesystems", 1 << 20, &text, NULL, NULL) == 0 &&
                strstr(text, "\toverlay\n");
    add(f, "overlayfs", have ? CHECK_OK : CHECK_WARN,
        xstrdup(have ? "available" : "not in /proc/filesystems"), have ? NULL : "modprobe overlay");
}

static void check_cgroups(findings *f)
{
    enum cgroup_mode mode = cgroup_mode();
    char *held AUTOFREE = cgroup_hybrid_controllers();
    char *detail = held && *held
                       ? xasprintf("%s; the v2 tree holds %s", cgroup_mode_name(mode), held)
                       : xstrdup(cgroup_mode_name(mode));
    add(f, "cgroups", mode == CGROUP_NONE ? CHECK_FAIL : CHECK_OK, detail,
        mode == CGROUP_NONE ? "mount -t cgroup2 none /sys/fs/cgroup" : NULL);
}

static void check_runtime(struct cli *cli, findings *f)
{
    struct oci_runtime rt = {0};
    struct err err AUTOERR = ERR_INIT;
    if (oci_runtime_choose(NULL, cli->paths.run, &rt, &err) < 0)
        add(f, "OCI runtime", CHECK_FAIL, xstrdup(err.msg), "apt-get install crun runc");
    else
        add(f, "OCI runtime", CHECK_OK, xasprintf("%s: %s", rt.path, rt.why ? rt.why : ""), NULL);
    oci_runtime_release(&rt);
}

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    for (const char *at = path ? path : "/usr/bin:/bin:/usr/sbin:/sbin"; *at;) {
        size_t n = strcspn(at, ":");
        char *file AUTOFREE = xasprintf("%.*s/%s", (int)n, at, program);
        if (access(file, X_OK) == 0)
            return true;
        at += n + (at[n] == ':');
    }
    return false;
}

static void check_programs(findings *f)
{
    static const struct {
        const char *program, *package, *what;
    } wanted[] = {
        {"buildah", "buildah", "build:"},
        {"tini-static", "tini", "init: true"},
        {"tar", "tar", "cp from and to \"-\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        char *remedy AUTOFREE = xasprintf("apt-get install %s", wanted[i].package);
        char *name AUTOFREE = xasprintf("program %s", wanted[i].program);
        bool have = in_path(wanted[i].program) || (streq(wanted[i].program, "tini-static") &&
                                                   access("/usr/bin/tini-static", X_OK) == 0);
        add(f, name, have ? CHECK_OK : CHECK_WARN,
            have ? xstrdup("found") : xasprintf("missing; needed for %s", wanted[i].what),
            have ? NULL : remedy);
    }
}

static void check_companions(findings *f)
{
    static const char *const programs[] = {"compose-monitor", "compose-crun", "compose-tls"};
    for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
        char *path AUTOFREE = paths_companion(programs[i]);
        add(f, programs[i], path ? CHECK_OK : CHECK_FAIL,
            xstrdup(path ? path : "not found beside compose"),
            path ? NULL : "install compose whole: make install");
    }
    char *module AUTOFREE = paths_companion("compose-image.so");
    void *handle = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
    add(f, "compose-image.so", handle ? CHECK_OK : CHECK_FAIL,
        xstrdup(handle   ? module
                : module ? dlerror()
                         : "not found beside compose"),
        handle ? NULL
               : "install compose whole and its libraries: libcurl4 libarchive13 libzstd1 "
                 "libisal2");
    if (handle)
        dlclose(handle);
}

static void check_disk(struct cli *cli, findings *f)
{
    struct statvfs v;
    char free_text[32];
    if (statvfs(cli->paths.root, &v) < 0)
        return;
    int64_t bytes = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    bool no_inodes = v.f_files && v.f_favail < 10000;
    enum check_level level = bytes < (100LL << 20)              ? CHECK_FAIL
                             : bytes < (1LL << 30) || no_inodes ? CHECK_WARN
                                                                : CHECK_OK;
    add(f, "disk", level,
        xasprintf("%s: %s free%s", cli->paths.root, size_format(bytes, free_text),
                  no_inodes ? ", few inodes left" : ""),
        level == CHECK_OK ? NULL : "compose image prune; compose down -v of what is not needed");
}

static void check_network(struct cli *cli, findings *f)
{
    struct check_result *results = NULL;
    size_t n = 0;
    network_check(&cli->paths, &results, &n);
    for (size_t i = 0; i < n; i++)
        add(f, results[i].name, results[i].level,
            xstrdup(results[i].detail ? results[i].detail : ""), results[i].remedy);
    network_check_free(results, n);
}

/* ---- the report */

static void print_text(const struct cli *cli, const findings *f)
{
    static const char *const marks[] = {"ok", "warn", "FAIL"};
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *x = &f->v[i];
        const char *on = cli->color_out ? colors[x->level] : "";
        const char *off = cli->color_out ? "\033[0m" : "";
        cli_outf("%s%-4s%s  %-20s %s\n", on, marks[x->level], off, x->name, x->detail);
        if (x->remedy && x->level != CHECK_OK)
            cli_outf("      %-20s mend: %s\n", "", x->remedy);
    }
}

static void print_json(const findings *f)
{
    static const char *const levels[] = {"ok", "warning", "failure"};
    json_t *all AUTOJSON = json_array();
    for (size_t i = 0; i < f->n; i++) {
        json_t *j = json_object();
        jset_str(j, "name", f->v[i].name);
        jset_str(j, "level", levels[f->v[i].level]);
        jset_str(j, "detail", f->v[i].detail);
        jset_str(j, "remedy", f->v[i].remedy);
        json_array_append_new(all, j);
    }
    char *text AUTOFREE = json_dumps(all, JSON_INDENT(2));
    cli_outf("%s\n", text ? text : "[]");
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *format = args_str(args, "format");
    findings f = {0};
    if (!streq(format, "text") && !streq(format, "json"))
        return err_set(err, ERR_INVALID, "unsupported format \"%s\"", format);
    if (cli_paths(cli, err) < 0)
        return -1;
    check_user(&f);
    check_kernel(&f);
    check_cgroups(&f);
    check_runtime(cli, &f);
    check_overlay(&f);
    check_companions(&f);
    check_programs(&f);
    check_network(cli, &f);
    check_disk(cli, &f);
    if (streq(format, "json"))
        print_json(&f);
    else
        print_text(cli, &f);
    bool failed = false;
    vec_foreach (&f, x) {
        failed = failed || x->level == CHECK_FAIL;
        free(x->name);
        free(x->detail);
        free(x->remedy);
    }
    vec_release(&f);
    return failed ? 1 : 0;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .usage = "[OPTIONS]",
    .summary = "Check what this machine offers, and say how to mend what is missing",
    .options = options,
    .flags = COMMAND_OURS,
    .run = run,
};
