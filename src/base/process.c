#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

enum { STAT_MAX = 4096 };

/* /proc/PID/stat, proc(5). Heap, NULL: there is none. */
static char *read_stat(pid_t pid)
{
    char *path AUTOFREE = xasprintf("/proc/%d/stat", (int)pid);
    char *text = NULL;
    return pid > 0 && fs_read(path, STAT_MAX, &text, NULL, NULL) == 0 ? text : NULL;
}

/* One of its fields from the third, the state, on; "" where there are not so many. */
static const char *stat_field(const char *stat, int wanted)
{
    /* The name, field 2, may hold spaces and parentheses: from behind the last one. */
    const char *p = strrchr(stat, ')');
    for (int field = 2; p && field < wanted; field++)
        p = strchr(p + 1, ' ');
    return p ? p + 1 : "";
}

static bool is_zombie(const char *stat)
{
    return strchr("ZX", *stat_field(stat, 3));
}

/* The wait status of a zombie that started at start. */
static bool zombie_wait_status(pid_t pid, unsigned long long start, int *wait_status)
{
    char *stat AUTOFREE = read_stat(pid);
    const char *status = stat ? stat_field(stat, 52) : "";
    if (!*status || !is_zombie(stat) || strtoull(stat_field(stat, 22), NULL, 10) != start)
        return false;
    *wait_status = atoi(status);
    return true;
}

bool pid_has_program(pid_t pid)
{
    char exe[64], target;
    snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)pid);
    return readlink(exe, &target, 1) >= 0;
}

bool pid_is_exiting(pid_t pid)
{
    enum { PF_EXITING = 4 }; /* include/linux/sched.h */
    char *stat AUTOFREE = read_stat(pid);
    /* A zombie may be a first thread that has ended before the others. */
    return stat && !is_zombie(stat) && strtoul(stat_field(stat, 9), NULL, 10) & PF_EXITING;
}

/* PIDFD_GET_INFO, include/uapi/linux/pidfd.h: struct pidfd_info as of Linux 6.15. */
static bool pidfd_wait_status(int pidfd, int *wait_status)
{
    struct {
        uint64_t mask, cgroupid;
        uint32_t pid, tgid, ppid, ids[8];
        int32_t exit_code;
    } info = {.mask = 1u << 3};
    if (pidfd < 0 ||
        ioctl(pidfd, _IOC(_IOC_READ | _IOC_WRITE, 0xFF, 11, sizeof(info)), &info) < 0 ||
        !(info.mask & 1u << 3))
        return false;
    *wait_status = info.exit_code;
    return true;
}

bool pid_wait_status(pid_t pid, unsigned long long start, int pidfd, int *wait_status)
{
    /* Reaped between the two looks: the second one sees it. */
    return (start && zombie_wait_status(pid, start, wait_status)) ||
           pidfd_wait_status(pidfd, wait_status);
}

int64_t pid_age(unsigned long long start)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    int64_t now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    int64_t age = now - (int64_t)start * (1000000000 / sysconf(_SC_CLK_TCK));
    return age > 0 ? age : 0;
}

int oom_score_set(int score)
{
    char text[16] = "";
    int fd AUTOCLOSE = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) < 0)
        return 0;
    int before = atoi(text), n = snprintf(text, sizeof(text), "%d", score);
    if (score != before && pwrite(fd, text, (size_t)n, 0) < 0 && score < 0 && before > 0 &&
        pwrite(fd, "0", 1, 0) < 0)
        errno = 0;
    return before;
}

/* A mask in hexadecimal: "SigCgt:\t0000000000004002". */
static uint64_t mask_of(const char *status, const char *key)
{
    const char *at = strstr(status, key);
    return at ? strtoull(at + strlen(key), NULL, 16) : ~0ULL;
}

/* "NSpid:\t4711\t1": from the outermost namespace to the innermost. */
static long innermost_pid(const char *status)
{
    const char *at = strstr(status, "\nNSpid:");
    long pid = 0;
    for (char *p = at ? (char *)at + strlen("\nNSpid:") : NULL; p && *p == '\t';)
        pid = strtol(p + 1, &p, 10);
    return pid;
}

/* Within sigtimedwait(2) the kernel shows what is waited for as not blocked: tini is there all the time. */
static bool waits_for_signals(pid_t pid)
{
    char path[64];
    char *call AUTOFREE = NULL;
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    return fs_read(path, STAT_MAX, &call, NULL, NULL) == 0 && atoi(call) == SYS_rt_sigtimedwait;
}

bool pid_is_deaf(pid_t pid, int sig, char comm[16])
{
    char path[64];
    char *status AUTOFREE = NULL;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    comm[0] = '\0';
    if (sig <= 0 || sig > 64 || fs_read(path, 64 << 10, &status, NULL, NULL) < 0 ||
        sscanf(status, "Name:\t%15[^\n]", comm) != 1)
        return false;
    uint64_t heard = mask_of(status, "\nSigCgt:\t") | mask_of(status, "\nSigBlk:\t");
    return innermost_pid(status) == 1 && !(heard & (1ULL << (sig - 1))) && !waits_for_signals(pid);
}
