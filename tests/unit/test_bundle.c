/* From a service and an image to config.json, the exec document and a mounted root file system. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/inroot.h"
#include "base/json.h"
#include "base/mem.h"
#include "runtime/bundle.h"
#include "runtime/caps.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"
#include "runtime/user.h"

struct box {
    char dir[64];
    struct paths paths;
    char *rootfs, *state, *run;
    struct oci_runtime runtime;
    struct service service;
    struct image image;
    struct bundle_request request;
};

static void put(const char *dir, const char *name, const char *text)
{
    char *path AUTOFREE = path_join(dir, name);
    char *parent AUTOFREE = path_dir(path);
    assert_int_equal(fs_mkdir_p(parent, 0755, NULL), 0);
    assert_int_equal(fs_write_atomic(path, text, strlen(text), 0644, false, NULL), 0);
}

static int setup(void **state)
{
    static char *cmd[] = {(char *)"serve", (char *)"--all", NULL};
    static char *entrypoint[] = {(char *)"/entry", NULL};
    static char *env[] = {(char *)"FROM=image", (char *)"BOTH=image", NULL};
    struct box *b = xcalloc(1, sizeof(*b));
    strcpy(b->dir, "/tmp/test-bundle.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->paths = (struct paths){path_join(b->dir, "root"), path_join(b->dir, "run")};
    b->state = paths_container(&b->paths, "p", "box");
    b->run = paths_container_run(&b->paths, "box");
    b->rootfs = path_join(b->run, "rootfs");
    fs_mkdir_p(b->rootfs, 0755, NULL);
    fs_mkdir_p(b->state, 0755, NULL);
    put(b->rootfs, "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv/web:/bin/sh\nbad line\n");
    put(b->rootfs, "etc/group", "root:x:0:\nadm:x:4:web,foo\nweb:x:1000:\nextra:x:55:web\n");
    b->runtime = (struct oci_runtime){(char *)"runc", (char *)"/usr/sbin/runc", b->dir, NULL};
    b->service = (struct service){.name = "web",
                                  .init = UNSET,
                                  .shm_size = UNSET,
                                  .oom_score_adj = UNSET_OOM,
                                  .resources = {.mem_swappiness = UNSET}};
    b->image = (struct image){.id = (char *)"sha256:0",
                              .config = {.cmd = cmd, .entrypoint = entrypoint, .env = env}};
    b->request = (struct bundle_request){.paths = &b->paths,
                                         .runtime = &b->runtime,
                                         .id = "box",
                                         .name = "p-web-1",
                                         .project = "p",
                                         .dir = b->state,
                                         .service = &b->service,
                                         .image = &b->image,
                                         .tty = -1,
                                         .stdin_open = -1,
                                         .hostname = "host",
                                         .netns = "/run/netns/x",
                                         .cgroup_path = "/compose/p/box"};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    bundle_release(&b->paths, "box", NULL);
    fs_remove_all(b->dir, NULL);
    free(b->rootfs);
    free(b->state);
    free(b->run);
    paths_release(&b->paths);
    free(b);
    return 0;
}

/* The config.json of the request as it stands. */
static json_t *config_of(struct box *b)
{
    struct err err AUTOERR = ERR_INIT;
    char *path AUTOFREE = path_join(b->run, "config.json");
    json_t *j = NULL;
    if (bundle_write(&b->request, &err) < 0 || json_read(path, &j, &err) < 0)
        fail_msg("%s", err.msg);
    return j;
}

static char *error_of(struct box *b)
{
    struct err err = ERR_INIT;
    assert_int_equal(bundle_write(&b->request, &err), -1);
    return err.msg;
}

/* "a.b.0.c" */
static json_t *at(json_t *j, const char *path)
{
    char *copy AUTOFREE = xstrdup(path);
    char *rest = NULL;
    for (char *k = strtok_r(copy, ".", &rest); k && j; k = strtok_r(NULL, ".", &rest))
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(k)) : json_object_get(j, k);
    return j;
}

static char *text_of(json_t *j)
{
    return json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
}

#define assert_json(j, path, want)                                                                 \
    do {                                                                                           \
        char *got_ AUTOFREE = text_of(at(j, path));                                                \
        assert_non_null(got_);                                                                     \
        assert_string_equal(got_, want);                                                           \
    } while (0)

static json_t *mount_at(json_t *config, const char *target)
{
    size_t i;
    json_t *m;
    json_array_foreach (at(config, "mounts"), i, m)
        if (streq(jstr(m, "destination", ""), target))
            return m;
    return NULL;
}

static void test_defaults_are_dockers(void **state)
{
    struct box *b = *state;
    json_t *c AUTOJSON = config_of(b);
    assert_json(c, "process.args", "[\"/entry\",\"serve\",\"--all\"]");
    assert_json(c, "process.env",
                "[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\","
                "\"HOSTNAME=host\",\"FROM=image\",\"BOTH=image\",\"HOME=/root\"]");
    assert_json(c, "process.cwd", "\"/\"");
    assert_json(c, "process.user", "{\"uid\":0,\"gid\":0,\"additionalGids\":[0]}");
    assert_json(c, "process.oomScoreAdj", "0");
    assert_int_equal(json_array_size(at(c, "process.capabilities.bounding")), 14);
    assert_json(c, "linux.namespaces.1", "{\"type\":\"network\",\"path\":\"/run/netns/x\"}");
    assert_json(c, "linux.sysctl",
                "{\"net.ipv4.ip_unprivileged_port_start\":\"0\","
                "\"net.ipv4.ping_group_range\":\"0 2147483647\"}");
    assert_int_equal(json_array_size(at(c, "linux.maskedPaths")), 12);
    assert_json(c, "linux.resources.devices.0", "{\"allow\":false,\"access\":\"rwm\"}");
    assert_json(c, "linux.seccomp.defaultAction", "\"SCMP_ACT_ERRNO\"");
    json_t *shm = mount_at(c, "/dev/shm");
    assert_json(shm, "options",
                "[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=67108864\"]");
    assert_non_null(mount_at(c, "/etc/hosts"));
    assert_null(at(c, "root.readonly"));
    assert_null(at(c, "process.terminal"));
}

static void test_service_overrides_image(void **state)
{
    struct box *b = *state;
    static struct key_value env[] = {{"BOTH", "service"}, {"FROM", NULL}};
    static const char *command[] = {"other", NULL};
    b->service.environment = (struct key_values){env, 2};
    b->service.has_command = true;
    b->service.command = (struct strings){command, 1};
    b->service.user = "web";
    b->service.working_dir = "/srv/made/for/it";
    b->service.tty = true;
    json_t *c AUTOJSON = config_of(b);
    assert_json(c, "process.args", "[\"/entry\",\"other\"]");
    assert_json(c, "process.env",
                "[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\","
                "\"HOSTNAME=host\",\"TERM=xterm\",\"BOTH=service\",\"HOME=/srv/web\"]");
    assert_json(c, "process.user", "{\"uid\":1000,\"gid\":1000,\"additionalGids\":[1000,4,55]}");
    assert_json(c, "process.terminal", "true");
    char *made AUTOFREE = xasprintf("%s/srv/made/for/it", b->rootfs);
    assert_true(fs_is_dir(made));
}

static void test_command_line_rules(void **state)
{
    struct box *b = *state;
    static const char *empty[] = {NULL}, *blank[] = {"", NULL}, *own[] = {"own", NULL};
    const struct {
        bool has_entrypoint;
        const char **entrypoint;
        size_t n;
        const char *const *run_entrypoint, *const *run_command;
        const char *want;
    } cases[] = {
        {false, NULL, 0, NULL, NULL, "/entry serve --all "},
        {true, own, 1, NULL, NULL, "own "},           /* the image's CMD was not meant for it */
        {true, empty, 0, NULL, NULL, "serve --all "}, /* entrypoint: [] takes it away */
        {true, blank, 1, NULL, own, "own "},
        {false, NULL, 0, own, NULL, "own "},
        {false, NULL, 0, NULL, own, "/entry own "},
        {false, NULL, 0, blank, own, "own "},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        b->service.has_entrypoint = cases[i].has_entrypoint;
        b->service.entrypoint = (struct strings){cases[i].entrypoint, cases[i].n};
        b->request.entrypoint = cases[i].run_entrypoint;
        b->request.command = cases[i].run_command;
        char **v AUTOSTRV = bundle_command(&b->request);
        char line[128] = "";
        for (size_t k = 0; v[k]; k++)
            snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s ", v[k]);
        assert_string_equal(line, cases[i].want);
    }
}

static void test_limits(void **state)
{
    struct box *b = *state;
    static struct ulimit u[] = {{"nofile", 1024, 2048}, {"memlock", -1, -1}};
    b->service.resources.nano_cpus = 1500000000;
    b->service.resources.memory = 100 << 20;
    b->service.resources.pids = 77;
    b->service.ulimits = u;
    b->service.ulimits_n = 2;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(bundle_write(&b->request, &err), 0);
    /* RLIM_INFINITY is more than jansson's integers hold. */
    char *path AUTOFREE = path_join(b->run, "config.json"), *text AUTOFREE = NULL;
    assert_int_equal(fs_read(path, 1 << 20, &text, NULL, &err), 0);
    assert_non_null(strstr(text, "{\"type\":\"RLIMIT_NOFILE\",\"hard\":2048,\"soft\":1024}"));
    assert_non_null(strstr(text, "{\"type\":\"RLIMIT_MEMLOCK\",\"hard\":18446744073709551615,"
                                 "\"soft\":18446744073709551615}"));
    assert_non_null(strstr(text, "\"period\":100000,\"quota\":150000"));
    assert_non_null(strstr(text, "\"limit\":104857600"));
    assert_non_null(strstr(text, "\"pids\":{\"limit\":77}"));
}

static void test_privileged_opens_up(void **state)
{
    struct box *b = *state;
    b->service.privileged = true;
    json_t *c AUTOJSON = config_of(b);
    assert_null(at(c, "linux.seccomp"));
    assert_null(at(c, "linux.maskedPaths"));
    assert_json(c, "linux.resources.devices", "[{\"allow\":true,\"access\":\"rwm\"}]");
    assert_json(mount_at(c, "/sys"), "options", "[\"nosuid\",\"noexec\",\"nodev\"]");
    assert_true(json_array_size(at(c, "linux.devices")) > 3);
}

static void test_mounts_are_sorted_and_replace_defaults(void **state)
{
    struct box *b = *state;
    static const char *tmpfs[] = {"/run:exec,size=1m", NULL};
    struct bundle_mount mounts[] = {
        {.type = MOUNT_BIND,
         .source = (char *)"/tmp",
         .target = (char *)"/a/b/c",
         .read_only = true},
        {.type = MOUNT_BIND, .source = (char *)"/tmp", .target = (char *)"/a"},
        {.type = MOUNT_TMPFS, .target = (char *)"/dev/shm"},
    };
    b->service.tmpfs = (struct strings){tmpfs, 1};
    b->request.mounts = mounts;
    b->request.mounts_n = 3;
    json_t *c AUTOJSON = config_of(b);
    size_t i, a = 0, abc = 0, shm = 0;
    json_t *m;
    json_array_foreach (at(c, "mounts"), i, m) {
        const char *to = jstr(m, "destination", "");
        a = streq(to, "/a") ? i : a;
        abc = streq(to, "/a/b/c") ? i : abc;
        shm += streq(to, "/dev/shm");
    }
    assert_true(a && a < abc);
    assert_int_equal(shm, 1);
    assert_json(mount_at(c, "/run"), "options",
                "[\"exec\",\"nosuid\",\"nodev\",\"rprivate\",\"size=1m\"]");
    assert_json(mount_at(c, "/a"), "options", "[\"rbind\",\"rprivate\"]");
}

static void test_secret_content_has_owner_and_mode(void **state)
{
    struct box *b = *state;
    struct bundle_file f = {.content = (char *)"hush",
                            .len = 4,
                            .target = (char *)"/run/secrets/s",
                            .uid = 1000,
                            .gid = -1,
                            .mode = 0400};
    b->request.files = &f;
    b->request.files_n = 1;
    json_t *c AUTOJSON = config_of(b);
    const char *source = jstr(mount_at(c, "/run/secrets/s"), "source", "");
    struct stat st;
    assert_int_equal(stat(source, &st), 0);
    assert_int_equal(st.st_uid, 1000);
    assert_int_equal(st.st_mode & 07777, 0400);
    assert_int_equal(st.st_size, 4);
}

static void test_clear_errors(void **state)
{
    struct box *b = *state;
    static const char *unknown[] = {"NONSENSE", NULL}, *opts[] = {"what=ever", NULL};
    static struct device cdi = {.source = "vendor.com/gpu=all"};
    b->service.user = "ghost";
    char *e1 AUTOFREE = error_of(b);
    assert_string_equal(e1, "unable to find user ghost: no matching entries in passwd file");
    b->service.user = NULL;
    b->service.cap_add = (struct strings){unknown, 1};
    char *e2 AUTOFREE = error_of(b);
    assert_string_equal(e2, "invalid cap_add: unknown capability: \"NONSENSE\"");
    b->service.cap_add = (struct strings){0};
    b->service.security_opt = (struct strings){opts, 1};
    char *e3 AUTOFREE = error_of(b);
    assert_string_equal(e3, "invalid security_opt: \"what=ever\"");
    b->service.security_opt = (struct strings){0};
    b->service.devices = &cdi;
    b->service.devices_n = 1;
    char *e4 AUTOFREE = error_of(b);
    assert_non_null(strstr(e4, "unresolvable CDI devices vendor.com/gpu=all"));
    b->service.devices_n = 0;
    b->image.config.cmd = b->image.config.entrypoint = NULL;
    char *e5 AUTOFREE = error_of(b);
    assert_non_null(strstr(e5, "no command specified"));
}

static void test_exec_inherits_and_changes(void **state)
{
    struct box *b = *state;
    static const char *command[] = {"ls", "-l", NULL}, *env[] = {"X=1", NULL};
    static struct ulimit u[] = {{"memlock", -1, -1}};
    b->service.ulimits = u;
    b->service.ulimits_n = 1;
    struct exec_request r = {.id = "box", .command = command, .environment = env, .user = "web"};
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(bundle_write(&b->request, &err), 0);
    char *path AUTOFREE = NULL, *text AUTOFREE = NULL;
    assert_int_equal(exec_process_write(&b->paths, &r, &path, &err), 0);
    assert_int_equal(fs_read(path, 1 << 20, &text, NULL, &err), 0);
    assert_non_null(strstr(text, "\"args\":[\"ls\",\"-l\"]"));
    assert_non_null(strstr(text, "\"uid\":1000"));
    assert_non_null(strstr(text, "\"HOME=/srv/web\""));
    assert_non_null(strstr(text, "\"FROM=image\""));
    assert_non_null(strstr(text, "\"X=1\""));
    assert_non_null(strstr(text, "18446744073709551615"));
    assert_non_null(strstr(text, "\"CAP_CHOWN\""));
    assert_null(strstr(text, "\"CAP_SYS_ADMIN\""));
}

static void test_links_in_the_image_lead_nowhere_else(void **state)
{
    struct box *b = *state;
    char *outside AUTOFREE = path_join(b->dir, "outside");
    char *link AUTOFREE = path_join(b->rootfs, "srv");
    mkdir(outside, 0755);
    assert_int_equal(symlink(outside, link), 0); /* absolute: inside it means rootfs/tmp/... */
    b->service.working_dir = "/srv/work";
    char *message AUTOFREE = error_of(b);
    assert_non_null(strstr(message, "working directory"));
    char *escaped AUTOFREE = path_join(outside, "work");
    assert_false(fs_exists(escaped));
    char *passwd AUTOFREE = path_join(b->rootfs, "etc/passwd");
    unlink(passwd);
    assert_int_equal(symlink("../../../../../../../etc/passwd", passwd), 0);
    int root = inroot_dir(b->rootfs, NULL);
    assert_null(inroot_read(root, "/etc/passwd", 4096));
    close(root);
}

static void test_users(void **state)
{
    struct box *b = *state;
    static const char *add[] = {"adm", "99", NULL};
    const struct {
        const char *spec;
        unsigned uid, gid;
        size_t groups;
        const char *home;
    } cases[] = {
        {NULL, 0, 0, 3, "/root"},
        {"web", 1000, 1000, 4, "/srv/web"},
        {"1000", 1000, 1000, 4, "/srv/web"},
        {"web:55", 1000, 55, 3, "/srv/web"},
        {"4242", 4242, 0, 3, "/"},
        {"4242:extra", 4242, 55, 3, "/"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct user u;
        struct err err AUTOERR = ERR_INIT;
        if (user_lookup(b->rootfs, cases[i].spec, add, &u, &err) < 0)
            fail_msg("%s", err.msg);
        assert_int_equal(u.uid, cases[i].uid);
        assert_int_equal(u.gid, cases[i].gid);
        assert_int_equal(u.groups_n, cases[i].groups);
        assert_string_equal(u.home, cases[i].home);
        user_release(&u);
    }
}

static void test_capability_rules(void **state)
{
    (void)state;
    static const char *all[] = {"ALL", NULL}, *one[] = {"cap_sys_admin", NULL},
                      *chown_[] = {"CHOWN", NULL};
    caps c;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(caps_resolve(one, all, &c, &err), 0);
    assert_true(c == CAP_BIT(21));
    assert_int_equal(caps_resolve(NULL, chown_, &c, &err), 0);
    assert_true(c == (caps_default() & ~CAP_BIT(0)));
    assert_int_equal(caps_resolve(all, chown_, &c, &err), 0);
    assert_true(c == (caps_all() & ~CAP_BIT(0)));
}

/* Does the profile allow this call without conditions? */
static bool allows(const char *section, const char *name)
{
    json_t *j AUTOJSON = json_loads(section, 0, NULL);
    size_t i, k;
    json_t *rule, *n;
    json_array_foreach (json_object_get(j, "syscalls"), i, rule)
        if (streq(jstr(rule, "action", ""), "SCMP_ACT_ALLOW") && !json_object_get(rule, "args"))
            json_array_foreach (json_object_get(rule, "names"), k, n)
                if (streq(json_string_value(n), name))
                    return true;
    return false;
}

static void test_seccomp_follows_the_capabilities(void **state)
{
    (void)state;
    char *usual AUTOFREE = seccomp_section(caps_default());
    char *admin AUTOFREE = seccomp_section(caps_default() | CAP_BIT(21));
    assert_true(allows(usual, "openat2"));
    assert_false(allows(usual, "mount"));
    assert_false(allows(usual, "clone3"));
    assert_false(allows(usual, "io_uring_setup"));
    assert_true(allows(admin, "mount"));
    assert_true(allows(admin, "clone3"));
}

static void test_seccomp_profile_file(void **state)
{
    struct box *b = *state;
    put(b->dir, "profile.json",
        "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"archMap\":[{\"architecture\":\"SCMP_ARCH_X86_64\","
        "\"subArchitectures\":[\"SCMP_ARCH_X86\"]}],\"syscalls\":["
        "{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\"},"
        "{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"caps\":[\"CAP_SYS_"
        "ADMIN\"]}},"
        "{\"names\":[\"clone\"],\"action\":\"SCMP_ACT_ALLOW\",\"excludes\":{\"caps\":[\"CAP_SYS_"
        "ADMIN\"]}},"
        "{\"names\":[\"ptrace\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":\"4.8\"}"
        "},"
        "{\"names\":[\"bpf\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{\"minKernel\":\"99.0\"}}]"
        "}");
    char *path AUTOFREE = path_join(b->dir, "profile.json"), *section AUTOFREE = NULL;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(seccomp_section_from_file(path, caps_default(), &section, &err), 0);
    assert_true(allows(section, "read") && allows(section, "clone") && allows(section, "ptrace"));
    assert_false(allows(section, "mount") || allows(section, "bpf"));
}

static void test_overlay_of_layers(void **state)
{
    struct box *b = *state;
    char *low AUTOFREE = path_join(b->dir, "low"), *top AUTOFREE = path_join(b->dir, "top");
    put(low, "a", "low");
    put(low, "both", "low");
    put(top, "both", "top");
    assert_int_equal(chmod(top, 0711), 0);
    char *layers[] = {low, top, NULL};
    b->image.layer_dirs = layers;
    struct err err AUTOERR = ERR_INIT;
    char *rootfs AUTOFREE = NULL, *again AUTOFREE = NULL;
    if (bundle_mount_rootfs(&b->request, &rootfs, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(bundle_mount_rootfs(&b->request, &again, &err), 0);
    char *both AUTOFREE = path_join(rootfs, "both"), *text AUTOFREE = NULL;
    assert_int_equal(fs_read(both, 100, &text, NULL, &err), 0);
    assert_string_equal(text, "top");
    struct stat st;
    assert_int_equal(stat(rootfs, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    assert_int_equal(bundle_release(&b->paths, "box", &err), 0);
    assert_false(fs_exists(b->run));
    assert_true(fs_exists(low));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_defaults_are_dockers),
        T(test_service_overrides_image),
        T(test_command_line_rules),
        T(test_limits),
        T(test_privileged_opens_up),
        T(test_mounts_are_sorted_and_replace_defaults),
        T(test_secret_content_has_owner_and_mode),
        T(test_clear_errors),
        T(test_exec_inherits_and_changes),
        T(test_links_in_the_image_lead_nowhere_else),
        T(test_users),
        T(test_capability_rules),
        T(test_seccomp_follows_the_capabilities),
        T(test_seccomp_profile_file),
        T(test_overlay_of_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
