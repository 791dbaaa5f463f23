#include "cli/processes.h"

#include <ctype.h>
#include <dirent.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"

enum { PROC_FILE_MAX = 1 << 20 };

static char *read_proc(pid_t pid, const char *name, size_t *len)
{
    char path[64], *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    return fs_read(path, PROC_FILE_MAX, &text, len, NULL) < 0 ? NULL : text;
}

/* Each line "N:controllers:/path" of inner is one of outer, or below it: the same hierarchy with a
 * path that begins with outer's. */
static bool cgroup_within(const char *inner, const char *outer)
{
    while (*outer && *inner) {
        size_t n = strcspn(outer, "\n"), m = strcspn(inner, "\n");
        if (m < n || memcmp(inner, outer, n) != 0 || (m > n && inner[n] != '/'))
            return false;
        outer += n + (outer[n] == '\n');
        inner += m + (inner[m] == '\n');
    }
    return !*outer && !*inner;
}

static int by_pid(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
    return x < y ? -1 : x > y;
}

int processes_of(pid_t pid, pid_t **out, struct err *err)
{
    char *own AUTOFREE = read_proc(pid, "cgroup", NULL);
    DIR *proc = own ? opendir("/proc") : NULL;
    VEC(pid_t) pids = {0};
    if (!proc)
        return err_set(err, ERR_NOT_FOUND, "process %d has gone", (int)pid);
    for (struct dirent *e; (e = readdir(proc));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        pid_t other = (pid_t)atoi(e->d_name);
        char *theirs AUTOFREE = read_proc(other, "cgroup", NULL);
        if (theirs && cgroup_within(theirs, own))
            vec_push(&pids, other);
    }
    closedir(proc);
    if (pids.n)
        qsort(pids.v, pids.n, sizeof(*pids.v), by_pid);
    vec_push(&pids, 0);
    *out = pids.v;
    return 0;
}

static double uptime(void)
{
    char *text AUTOFREE = NULL;
    return fs_read("/proc/uptime", 256, &text, NULL, NULL) < 0 ? 0 : atof(text);
}

static void user_name(uid_t uid, char *out, size_t size)
{
    struct passwd *pw = getpwuid(uid);
    if (pw)
        snprintf(out, size, "%.*s", (int)size - 1, pw->pw_name);
    else
        snprintf(out, size, "%u", (unsigned)uid);
}

/* Kernel device number as ps(1) names it. */
static void tty_name(int nr, char *out, size_t size)
{
    unsigned major_nr = major((dev_t)nr), minor_nr = minor((dev_t)nr);
    if (major_nr >= 136 && major_nr <= 143)
        snprintf(out, size, "pts/%u", (major_nr - 136) * 256 + minor_nr);
    else if (major_nr == 4)
        snprintf(out, size, "tty%u", minor_nr);
    else
        snprintf(out, size, "?");
}

static void start_text(double seconds_ago, char *out, size_t size)
{
    time_t now = time(NULL), then = now - (time_t)seconds_ago;
    struct tm tm;
    localtime_r(&then, &tm);
    if (seconds_ago < 24 * 3600)
        strftime(out, size, "%H:%M", &tm);
    else
        strftime(out, size, "%b%d", &tm);
}

static char *command_of(pid_t pid, const char *comm)
{
    size_t n = 0;
    char *line = read_proc(pid, "cmdline", &n);
    if (!line || !n) {
        free(line);
        return xasprintf("[%s]", comm);
    }
    for (size_t i = 0; i + 1 < n; i++)
        line[i] = line[i] ? line[i] : ' ';
    return line;
}

int process_info(pid_t pid, struct process_info *out, struct err *err)
{
    char *stat_text AUTOFREE = read_proc(pid, "stat", NULL);
    char *close = stat_text ? strrchr(stat_text, ')') : NULL;
    char *open = stat_text ? strchr(stat_text, '(') : NULL;
    int ppid, tty;
    unsigned long utime, stime;
    unsigned long long start;
    *out = (struct process_info){.pid = pid};
    /* proc(5): fields 3 (state) to 22 (starttime) */
    if (!close || !open ||
        sscanf(close + 1,
               " %*c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu",
               &ppid, &tty, &utime, &stime, &start) != 5)
        return err_set(err, ERR_NOT_FOUND, "process %d has gone", (int)pid);
    *close = '\0';
    double hz = (double)sysconf(_SC_CLK_TCK), life = uptime() - (double)start / hz;
    double busy = (double)(utime + stime) / hz;
    char path[32];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (stat(path, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, "process %d has gone", (int)pid);
    user_name(st.st_uid, out->user, sizeof(out->user));
    out->ppid = ppid;
    out->cpu = life > 0 ? (unsigned)(busy * 100 / life) : 0;
    start_text(life, out->started, sizeof(out->started));
    tty_name(tty, out->tty, sizeof(out->tty));
    unsigned s = (unsigned)busy;
    snprintf(out->time, sizeof(out->time), "%02u:%02u:%02u", s / 3600 % 1000, s / 60 % 60, s % 60);
    out->command = command_of(pid, open + 1);
    return 0;
}
