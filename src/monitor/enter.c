#include "monitor/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LIST_MAX = 4096, /* environment, arguments */
    FEW_MAX = 64,    /* groups, cgroups, limits */
    CAPS_MAX = 64,
    CANNOT_EXECUTE = 126,
    NOT_FOUND = 127,
};

struct plan {
    char *env[LIST_MAX], *args[LIST_MAX];
    const char *cgroups[FEW_MAX], *rlimits[FEW_MAX];
    gid_t groups[FEW_MAX];
    int env_n, args_n, cgroups_n, rlimits_n, groups_n;
    const char *apparmor, *oom, *cwd, *seccomp;
    pid_t first;
    uid_t uid;
    gid_t gid;
    uint64_t caps;
    bool no_new_privs;
    struct rlimit limits[RLIM_NLIMITS]; /* of the first process */
};

/* Set by the child before it ends for a reason that is not the command's; shared. */
static volatile bool *broken;

static void say(const char *what, int error)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "%s%s%s\n", what, error ? ": " : "",
                     error ? strerror(error) : "");
    n = n < (int)sizeof(text) ? n : (int)sizeof(text) - 1;
    while (write(STDERR_FILENO, text, (size_t)n) < 0 && errno == EINTR)
        continue;
}

static _Noreturn void give_up(const char *what)
{
    say(what, errno);
    *broken = true;
    _exit(1);
}

static void take(struct plan *p, char *s)
{
    switch ((enum enter_key) * s++) {
    case ENTER_PID:
        p->first = atoi(s);
        break;
    case ENTER_CGROUP:
        if (p->cgroups_n < FEW_MAX)
            p->cgroups[p->cgroups_n++] = s;
        break;
    case ENTER_USER:
        p->uid = (uid_t)strtoul(s, &s, 10);
        p->gid = (gid_t)strtoul(s, NULL, 10);
        break;
    case ENTER_GROUP:
        if (p->groups_n < FEW_MAX)
            p->groups[p->groups_n++] = (gid_t)strtoul(s, NULL, 10);
        break;
    case ENTER_CAPS:
        p->caps = strtoull(s, NULL, 16);
        break;
    case ENTER_NO_NEW_PRIVS:
        p->no_new_privs = true;
        break;
    case ENTER_APPARMOR:
        p->apparmor = s;
        break;
    case ENTER_OOM:
        p->oom = s;
        break;
    case ENTER_RLIMIT:
        if (p->rlimits_n < FEW_MAX)
            p->rlimits[p->rlimits_n++] = s;
        break;
    case ENTER_CWD:
        p->cwd = s;
        break;
    case ENTER_SECCOMP:
        p->seccomp = s;
        break;
    case ENTER_ENV:
        if (p->env_n < LIST_MAX - 1)
            p->env[p->env_n++] = s;
        break;
    case ENTER_ARG:
        if (p->args_n < LIST_MAX - 1)
            p->args[p->args_n++] = s;
        break;
    }
}

static bool read_plan(struct plan *p)
{
    struct stat st;
    if (fstat(ENTER_PLAN_FD, &st) < 0 || st.st_size < 2 || st.st_size > ENTER_PLAN_MAX)
        return false;
    char *text = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, ENTER_PLAN_FD,
                      0);
    if (text == MAP_FAILED || text[st.st_size - 1])
        return false;
    for (char *s = text; s < text + st.st_size; s += strlen(s) + 1)
        take(p, s);
    return p->args_n && p->first > 0 && p->cwd && p->oom;
}

/* --- in the host's namespaces */

static bool write_file(const char *dir, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return n >= 0;
}

static bool same_user_namespace(pid_t pid)
{
    struct stat own, its;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    return stat("/proc/self/ns/user", &own) == 0 && stat(path, &its) == 0 &&
           own.st_ino == its.st_ino;
}

static rlim_t limit_of(const char *text)
{
    text += strspn(text, " ");
    return *text == 'u' ? RLIM_INFINITY : strtoull(text, NULL, 10);
}

/* proc(5), /proc/PID/limits: a head, then a line a limit in the order of their numbers, the soft one
 * in column 26, the hard one in column 47. prlimit(2) wants a capability to look at others. */
static bool read_limits(struct plan *p)
{
    enum { SOFT = 26, HARD = 47 };
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/limits", (int)p->first);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    char *line = text;
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        line = strchr(line, '\n');
        if (!line || strcspn(++line, "\n") < HARD + 1)
            return false;
        p->limits[i] = (struct rlimit){limit_of(line + SOFT), limit_of(line + HARD)};
    }
    return true;
}

static bool set_limit(int which, struct rlimit wanted)
{
    struct rlimit have;
    return (getrlimit((__rlimit_resource_t)which, &have) == 0 && have.rlim_cur == wanted.rlim_cur &&
            have.rlim_max == wanted.rlim_max) ||
           setrlimit((__rlimit_resource_t)which, &wanted) == 0;
}

/* What the container's first process may use, so may this one; then what the file says. */
static void take_limits(const struct plan *p)
{
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (!set_limit(i, p->limits[i]))
            give_up("limits");
    for (int i = 0; i < p->rlimits_n; i++) {
        int which;
        unsigned long long soft, hard;
        if (sscanf(p->rlimits[i], "%d %llu %llu", &which, &soft, &hard) != 3 ||
            !set_limit(which, (struct rlimit){soft, hard}))
            give_up("limits");
    }
}

static void join_cgroups(const struct plan *p)
{
    for (int i = 0; i < p->cgroups_n; i++)
        if (!write_file(p->cgroups[i], "cgroup.procs", "0"))
            give_up(p->cgroups[i]);
}

static void join_namespaces(const struct plan *p)
{
    if (!same_user_namespace(p->first)) {
        errno = 0;
        give_up("the container has a user namespace of its own");
    }
    /* Linux 5.8: all at once, by pidfd. */
    if (setns(ENTER_PIDFD,
              CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0)
        give_up("enter the container");
}

/* --- in the container's: the child */

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static size_t decode_base64(const char *s, unsigned char *out, size_t size)
{
    size_t n = 0;
    unsigned bits = 0, have = 0;
    for (; digit(*s) >= 0; s++) {
        bits = bits << 6 | (unsigned)digit(*s);
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (n == size)
            return 0;
        out[n++] = (unsigned char)(bits >> have);
    }
    return n;
}

static void install_filter(const struct plan *p)
{
    static struct sock_filter program[BPF_MAXINSNS];
    if (!p->seccomp)
        return;
    size_t n = decode_base64(p->seccomp, (unsigned char *)program, sizeof(program));
    struct sock_fprog prog = {(unsigned short)(n / sizeof(*program)), program};
    errno = 0;
    if (!n || n % sizeof(*program) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) < 0)
        give_up("system call filter");
}

/* Through the host's /proc: the container's may be anything. */
static void set_apparmor(const struct plan *p, int host_proc)
{
    static const char *const places[] = {"self/attr/apparmor/exec", "self/attr/exec"};
    char text[512];
    if (!p->apparmor)
        return;
    int n = snprintf(text, sizeof(text), "exec %s", p->apparmor);
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        int fd = openat(host_proc, places[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (write(fd, text, (size_t)n) != n)
            give_up("AppArmor profile");
        close(fd);
        return;
    }
    give_up("AppArmor profile");
}

/* So that it can open /dev/stdout again. Only pipes: anything else, /dev/null before all, is the
 * host's. */
static void own_outputs(const struct plan *p)
{
    struct stat st;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
        if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && fchown(fd, p->uid, (gid_t)-1) < 0)
            give_up("outputs");
}

static void become_user(const struct plan *p)
{
    own_outputs(p);
    for (int cap = 0; cap < CAPS_MAX; cap++)
        if (!(p->caps >> cap & 1) && prctl(PR_CAPBSET_READ, cap) > 0 &&
            prctl(PR_CAPBSET_DROP, cap) < 0)
            give_up("capabilities");
    if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups((size_t)p->groups_n, p->groups) < 0 ||
        setresgid(p->gid, p->gid, p->gid) < 0 || setresuid(p->uid, p->uid, p->uid) < 0 ||
        prctl(PR_SET_KEEPCAPS, 0) < 0)
        give_up("user");
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    data[0].effective = data[0].permitted = (uint32_t)p->caps;
    data[1].effective = data[1].permitted = (uint32_t)(p->caps >> 32);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, data) < 0)
        give_up("capabilities");
}

static const char *search_path(const struct plan *p)
{
    for (int i = 0; i < p->env_n; i++)
        if (!strncmp(p->env[i], "PATH=", 5))
            return p->env[i] + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

static _Noreturn void execute(struct plan *p)
{
    char path[4096];
    const char *name = p->args[0];
    int error = ENOENT;
    if (strchr(name, '/')) {
        execve(name, p->args, p->env);
        error = errno;
    } else {
        for (const char *dir = search_path(p); *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
            snprintf(path, sizeof(path), "%.*s/%s", (int)strcspn(dir, ":"), dir, name);
            execve(path, p->args, p->env);
            if (errno != ENOENT && errno != ENOTDIR)
                error = errno;
        }
    }
    bool missing = error == ENOENT || error == ENOTDIR;
    snprintf(path, sizeof(path), "exec: \"%.200s\"%s", name,
             missing && !strchr(name, '/') ? ": executable file not found in $PATH" : "");
    say(path, missing && !strchr(name, '/') ? 0 : error);
    _exit(missing ? NOT_FOUND : CANNOT_EXECUTE);
}

static void become(struct plan *p, int host_proc)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (setsid() < 0)
        give_up("session");
    umask(022);
    /* The supervisor's keys are not for containers. */
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
        give_up("session keyring");
    set_apparmor(p, host_proc);
    /* Nothing of the host may be open when a path of the container is followed: "/proc/self/fd/3" as
     * working_dir would lead out of it. */
    if (syscall(SYS_close_range, 3, ~0u, 0) < 0)
        give_up("close descriptors");
    bool inside = chdir(p->cwd) == 0;
    if (!inside && errno != EACCES && errno != EPERM)
        give_up(p->cwd);
    if (!p->no_new_privs)
        install_filter(p);
    become_user(p);
    if (!inside && chdir(p->cwd) < 0)
        give_up(p->cwd);
    char cwd[4096];
    if (syscall(SYS_getcwd, cwd, sizeof(cwd)) < 0 || cwd[0] != '/')
        give_up("working folder");
    if (p->no_new_privs) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            give_up("no new privileges");
        install_filter(p);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* last: a change of user takes it back */
}

/* --- waiting */

static int wait_for(pid_t pid, const sigset_t *signals)
{
    int status;
    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (sigwaitinfo(signals, NULL) == SIGTERM && kill(-pid, SIGKILL) < 0)
            kill(pid, SIGKILL);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static _Noreturn void child(struct plan *p, int host_proc)
{
    /* From here on the container's limits count. */
    if (!write_file("/proc/self", "oom_score_adj", p->oom))
        give_up("oom_score_adj");
    join_cgroups(p);
    take_limits(p);
    join_namespaces(p);
    become(p, host_proc);
    execute(p);
}

int enter_main(void)
{
    static struct plan plan;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    /* Nobody in the container may look into this process or its child, nor trace them. */
    prctl(PR_SET_DUMPABLE, 0);
    broken = mmap(NULL, sizeof(*broken), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int host_proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    pid_t pid = -1;
    int code = 1;
    if (broken == MAP_FAILED || host_proc < 0 || !read_plan(&plan))
        say("the plan cannot be read", 0);
    else if (!read_limits(&plan))
        say("limits", errno);
    else if (setns(ENTER_PIDFD, CLONE_NEWPID) < 0) /* of its children */
        say("enter the pid namespace", errno);
    else if ((pid = fork()) == 0)
        child(&plan, host_proc);
    if (pid > 0)
        code = wait_for(pid, &signals);
    if (pid > 0 && !*broken)
        return code;
    signal(ENTER_FAILED, SIG_DFL);
    raise(ENTER_FAILED);
    return 1;
}
