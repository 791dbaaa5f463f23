/* The choice of a runtime, signals, state lines, cgroups. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "runtime/cgroup.h"
#include "runtime/monitor.h"
#include "runtime/oci.h"
#include "runtime/sealed.h"
#include "runtime/seccomp.h"

static void test_signal_names(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int number;
    } cases[] = {
        {"SIGTERM", SIGTERM},
        {"term", SIGTERM},
        {"Term", SIGTERM},
        {"15", 15},
        {"SIGPOLL", SIGPOLL},
        {"RTMIN+3", SIGRTMIN + 3},
        {"SIGRTMAX", SIGRTMAX},
        {"SIGRTMAX-1", SIGRTMAX - 1},
        {"0", -1},
        {"999", -1},
        {"SIG", -1},
        {"", -1},
        {"TERMINATE", -1},
        {"15x", -1},
        {"RTMIN+99", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (signal_by_name(cases[i].name) != cases[i].number)
            fail_msg("%s: %d", cases[i].name, signal_by_name(cases[i].name));
}

static void test_state_lines(void **state)
{
    (void)state;
    struct monitor_status s;
    assert_true(monitor_status_parse("starting\n", &s));
    assert_int_equal(s.phase, MONITOR_STARTING);
    assert_true(monitor_status_parse("running 12 345 678\n", &s));
    assert_int_equal(s.phase, MONITOR_RUNNING);
    assert_true(s.pid == 12 && s.start_time == 345 && s.started == 678);
    assert_true(monitor_status_parse("exited 137 9 1 5 6\n", &s));
    assert_true(s.phase == MONITOR_EXITED && s.exit_code == 137 && s.signal == 9 && s.oom);
    assert_true(s.started == 5 && s.finished == 6);
    assert_true(monitor_status_parse("failed 127 exec: \"x\": not found\nmore", &s));
    assert_true(s.phase == MONITOR_FAILED && s.exit_code == 127);
    assert_string_equal(s.message, "exec: \"x\": not found");
    assert_false(monitor_status_parse("", &s));
    assert_false(monitor_status_parse("running\n", &s));
    assert_false(monitor_status_parse("exited 1 2\n", &s));
}

/* A folder with an executable of this name, first in PATH. */
static char *fake_program(const char *name)
{
    char dir[] = "/tmp/test-runtime.XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path AUTOFREE = path_join(dir, name);
    assert_int_equal(fs_write_atomic(path, "#!/bin/sh\n", 10, 0755, false, NULL), 0);
    return xstrdup(dir);
}

static void test_a_named_runtime_is_taken_or_missed(void **state)
{
    (void)state;
    struct err err AUTOERR = ERR_INIT;
    struct oci_runtime rt;
    char *dir AUTOFREE = fake_program("my-runtime");
    char *path AUTOFREE = path_join(dir, "my-runtime");
    assert_int_equal(oci_runtime_choose(path, "/run/x", &rt, &err), 0);
    assert_string_equal(rt.name, "my-runtime");
    assert_string_equal(rt.path, path);
    assert_string_equal(rt.state, "/run/x/runtime-my-runtime");
    oci_runtime_release(&rt);
    setenv("COMPOSE_RUNTIME", path, 1);
    assert_int_equal(oci_runtime_choose(NULL, "/run/x", &rt, &err), 0);
    assert_string_equal(rt.path, path);
    assert_non_null(strstr(rt.why, "COMPOSE_RUNTIME"));
    oci_runtime_release(&rt);
    unsetenv("COMPOSE_RUNTIME");
    assert_int_equal(oci_runtime_choose("no-such-runtime", "/run/x", &rt, &err), -1);
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "\"no-such-runtime\""));
    fs_remove_all(dir, NULL);
}

static void test_crun_where_it_serves(void **state)
{
    (void)state;
    struct err err AUTOERR = ERR_INIT;
    struct oci_runtime rt;
    char *old AUTOFREE = xstrdup(getenv("PATH"));
    char *a AUTOFREE = fake_program("crun"), *b AUTOFREE = fake_program("runc");
    char *both AUTOFREE = xasprintf("%s:%s", a, b);
    setenv("PATH", both, 1);
    assert_int_equal(oci_runtime_choose(NULL, "/run/x", &rt, &err), 0);
    bool refuses = cgroup_mode() == CGROUP_V2 && prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) != 1;
    assert_string_equal(rt.name, refuses ? "runc" : "crun");
    assert_true(strlen(rt.why) > 10);
    oci_runtime_release(&rt);
    setenv("PATH", old, 1);
    fs_remove_all(a, NULL);
    fs_remove_all(b, NULL);
}

static void test_exec_command_line(void **state)
{
    (void)state;
    struct oci_runtime rt = {(char *)"runc", (char *)"/bin/runc", (char *)"/run/s", NULL};
    char **v AUTOSTRV = oci_exec_argv(&rt, "id", "/run/p.json", "/run/pid");
    const char *want[] = {"/bin/runc",   "--root",     "/run/s",   "exec", "--process",
                          "/run/p.json", "--pid-file", "/run/pid", "id"};
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_string_equal(v[i], want[i]);
    assert_null(v[ARRAY_SIZE(want)]);
}

static void test_usage_of_our_own_cgroup(void **state)
{
    (void)state;
    struct cgroup_usage u;
    struct err err AUTOERR = ERR_INIT;
    if (cgroup_usage_read(getpid(), &u, &err) < 0)
        fail_msg("%s", err.msg);
    assert_true(u.system_cpu_ns > 0);
    assert_int_equal(cgroup_usage_read(0x3ffffff, &u, &err), -1);
}

static void write_program(const char *path, const char *from)
{
    char *data AUTOFREE = NULL;
    size_t n;
    assert_int_equal(fs_read(from, 64 << 20, &data, &n, NULL), 0);
    assert_int_equal(fs_write_atomic(path, data, n, 0755, false, NULL), 0);
}

static void test_sealed_program(void **state)
{
    (void)state;
    char dir[] = "/tmp/sealed-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path AUTOFREE = path_join(dir, "crun"), *script AUTOFREE = path_join(dir, "script");
    struct sealed_program s = SEALED_PROGRAM_INIT;
    write_program(path, "/bin/true");
    int first = sealed_program(&s, path);
    assert_true(first >= 0);
    assert_int_equal(sealed_program(&s, path), first);
    assert_int_equal(write(first, "x", 1), -1);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {(char *)"crun", NULL};
        fexecve(first, argv, environ);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    /* Another program in its place, a script, nothing. */
    struct stat was, is;
    fstat(first, &was);
    write_program(path, "/proc/self/exe");
    assert_int_equal(fstat(sealed_program(&s, path), &is), 0);
    assert_true(is.st_ino != was.st_ino && is.st_size != was.st_size);
    assert_int_equal(fs_write_atomic(script, "#!/bin/sh\n", 10, 0755, false, NULL), 0);
    assert_int_equal(sealed_program(&s, script), -1);
    assert_int_equal(sealed_program(&s, "/nonexistent"), -1);
    sealed_program_release(&s);
    fs_remove_all(dir, NULL);
}

static unsigned value_of(char digit)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, digit);
    return at ? (unsigned)(at - digits) : 0;
}

static size_t decode(const char *text, unsigned char *out)
{
    size_t n = 0;
    for (; *text; text += 4) {
        unsigned v = value_of(text[0]) << 18 | value_of(text[1]) << 12 | value_of(text[2]) << 6 |
                     value_of(text[3]);
        out[n++] = (unsigned char)(v >> 16);
        out[n++] = (unsigned char)(v >> 8);
        out[n++] = (unsigned char)v;
    }
    return n / sizeof(struct sock_filter); /* padding is less than one */
}

/* The errno of a call under the filter, 0: it succeeds. */
static int tried(const char *program, long nr, unsigned long arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        static struct sock_filter f[BPF_MAXINSNS + 1];
        struct sock_fprog prog = {.len = (unsigned short)decode(program, (unsigned char *)f),
                                  .filter = f};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
            _exit(255);
        _exit(syscall(nr, arg, 0, 0, 0, 0, 0) < 0 ? errno : 0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_seccomp_program(void **state)
{
    (void)state;
    char dir[] = "/tmp/seccomp-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *usual AUTOFREE = seccomp_program(caps_default(), dir);
    char *again AUTOFREE = seccomp_program(caps_default(), dir);
    char *admin AUTOFREE = seccomp_program(caps_default() | CAP_BIT(21), dir);
    assert_non_null(usual);
    assert_string_equal(again, usual);
    assert_int_equal(tried(usual, SYS_getppid, 0), 0);
    assert_int_equal(tried(usual, SYS_acct, 1), EPERM);
    assert_int_equal(tried(usual, SYS_clone3, 0), ENOSYS);
    assert_int_equal(tried(usual, 0x3ff, 0), ENOSYS); /* newer than the profile */
    assert_int_equal(tried(usual, SYS_personality, 0xffffffff), 0);
    assert_int_equal(tried(usual, SYS_personality, 1), EPERM);
    assert_int_equal(tried(admin, SYS_clone3, 0), EINVAL);
    assert_int_equal(tried(admin, SYS_personality, 1), EPERM);
    fs_remove_all(dir, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signal_names),
        cmocka_unit_test(test_state_lines),
        cmocka_unit_test(test_a_named_runtime_is_taken_or_missed),
        cmocka_unit_test(test_crun_where_it_serves),
        cmocka_unit_test(test_exec_command_line),
        cmocka_unit_test(test_usage_of_our_own_cgroup),
        cmocka_unit_test(test_sealed_program),
        cmocka_unit_test(test_seccomp_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
