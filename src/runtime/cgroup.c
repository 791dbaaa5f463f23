#include "runtime/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

#define ROOT "/sys/fs/cgroup"

enum { FILE_MAX = 64 << 10 };

static bool is_cgroup2(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

enum cgroup_mode cgroup_mode(void)
{
    struct statfs fs;
    if (statfs(ROOT, &fs) < 0)
        return CGROUP_NONE;
    if (fs.f_type == CGROUP2_SUPER_MAGIC)
        return CGROUP_V2;
    if (fs.f_type != TMPFS_MAGIC)
        return CGROUP_NONE;
    return is_cgroup2(ROOT "/unified") ? CGROUP_HYBRID : CGROUP_V1;
}

const char *cgroup_mode_name(enum cgroup_mode m)
{
    switch (m) {
    case CGROUP_V1:
        return "cgroup v1";
    case CGROUP_V2:
        return "cgroup v2";
    case CGROUP_HYBRID:
        return "cgroup v1 and v2 (hybrid)";
    case CGROUP_NONE:
        return "no cgroups";
    }
    return "";
}

static char *read_file(const char *dir, const char *name)
{
    char *path AUTOFREE = xasprintf("%s/%s", dir, name);
    char *text = NULL;
    return fs_read(path, FILE_MAX, &text, NULL, NULL) < 0 ? NULL : text;
}

char *cgroup_hybrid_controllers(void)
{
    char *text = read_file(ROOT "/unified", "cgroup.controllers");
    if (!text)
        return xstrdup("");
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* The controllers of v1, by the folder they are mounted at. */
static bool is_v1_hierarchy(const char *name)
{
    char *dir AUTOFREE = xasprintf(ROOT "/%s", name);
    struct stat st;
    struct statfs fs;
    return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && statfs(dir, &fs) == 0 &&
           (fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC);
}

/* The first hierarchy that has a folder of this path: a line is "NUMBER:CONTROLLERS:PATH" (cgroups(7)). */
static int open_own_procs(void)
{
    char *mine AUTOFREE = NULL, *rest = NULL;
    int fd = -1;
    if (fs_read("/proc/self/cgroup", FILE_MAX, &mine, NULL, NULL) < 0)
        return -1;
    for (char *line = strtok_r(mine, "\n", &rest); line && fd < 0;
         line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':'), *path = strrchr(line, ':');
        if (!path || path == controllers)
            continue;
        *path++ = '\0';
        char *procs AUTOFREE = xasprintf(ROOT "/%s%s/cgroup.procs", controllers + 1, path);
        fd = open(procs, O_WRONLY | O_CLOEXEC);
    }
    return fd;
}

void cgroup_warm(void)
{
    int fd AUTOCLOSE = open_own_procs();
    /* A cgroup that may hold no processes itself refuses, after the same wait. */
    if (fd < 0 || write(fd, "0", 1) < 0)
        return;
}

char **cgroup_folders(const char *cgroup_path)
{
    char **out = NULL;
    enum cgroup_mode mode = cgroup_mode();
    if (mode == CGROUP_V2) {
        char *dir AUTOFREE = xasprintf(ROOT "%s", cgroup_path);
        strv_push(&out, dir);
        return out;
    }
    char *memory AUTOFREE = xasprintf(ROOT "/memory%s", cgroup_path);
    strv_push(&out, memory);
    DIR *d = mode == CGROUP_NONE ? NULL : opendir(ROOT);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.' || streq(e->d_name, "memory") || !is_v1_hierarchy(e->d_name))
            continue;
        char *dir AUTOFREE = xasprintf(ROOT "/%s%s", e->d_name, cgroup_path);
        strv_push(&out, dir);
    }
    if (d)
        closedir(d);
    return out;
}

void cgroup_remove_empty(const char *cgroup_path)
{
    char **folders AUTOSTRV = cgroup_folders(cgroup_path);
    for (size_t i = 0; folders && folders[i]; i++)
        rmdir(folders[i]);
}

/* Kills what is in a cgroup and its children; rmdir works once they are gone. */
static void kill_members(const char *dir)
{
    char *kill_file AUTOFREE = xasprintf("%s/cgroup.kill", dir);
    int fd = open(kill_file, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        bool done = write(fd, "1", 1) == 1;
        close(fd);
        if (done)
            return;
    }
    char *procs AUTOFREE = read_file(dir, "cgroup.procs");
    char *rest = NULL;
    for (char *p = procs ? strtok_r(procs, "\n", &rest) : NULL; p; p = strtok_r(NULL, "\n", &rest))
        if (atoi(p) > 1)
            kill(atoi(p), SIGKILL);
}

static void remove_children(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        char *child AUTOFREE = path_join(dir, e->d_name);
        cgroup_remove(child);
    }
    if (d)
        closedir(d);
}

bool cgroup_remove(const char *dir)
{
    for (int i = 0; i < 50; i++) {
        if (rmdir(dir) == 0 || errno == ENOENT || errno == ENOTDIR)
            return true;
        if (errno != EBUSY && errno != ENOTEMPTY)
            return false;
        kill_members(dir);
        remove_children(dir);
        usleep(2000);
    }
    return false;
}

void cgroup_remove_by_id(const char *id)
{
    bool v2 = cgroup_mode() == CGROUP_V2;
    char *pattern AUTOFREE = xasprintf(ROOT "%s/compose/*/%s", v2 ? "" : "/*", id);
    glob_t found = {0};
    /* An ID is hex digits: nothing in it means anything to glob(3). */
    if (!id[strspn(id, "0123456789abcdef")] && glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            cgroup_remove(found.gl_pathv[i]);
    globfree(&found);
}

/* "key value" lines; 0 where there is no such key. */
static uint64_t keyed(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoull(line + n + 1, NULL, 10);
    }
    return 0;
}

static uint64_t number_in(const char *dir, const char *name, uint64_t fallback)
{
    char *text AUTOFREE = read_file(dir, name);
    if (!text || *text < '0' || *text > '9')
        return fallback; /* also "max" */
    return strtoull(text, NULL, 10);
}

static uint64_t keyed_in(const char *dir, const char *name, const char *key)
{
    char *text AUTOFREE = read_file(dir, name);
    return text ? keyed(text, key) : 0;
}

/* Time that all CPUs together spent on anything (proc(5), first line of /proc/stat). */
static uint64_t system_cpu_ns(void)
{
    char *text = NULL;
    if (fs_read("/proc/stat", 1 << 20, &text, NULL, NULL) < 0)
        return 0;
    uint64_t total = 0;
    char *p = text + 3, *end;
    for (int i = 0; i < 8; i++, p = end)
        total += strtoull(p, &end, 10);
    free(text);
    return total * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t min_memory(uint64_t limit)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return limit && limit < machine ? limit : machine;
}

/* v2 "io.stat": "8:0 rbytes=1 wbytes=2 ..." a device. */
static void read_io_v2(const char *dir, struct cgroup_usage *out)
{
    char *text AUTOFREE = read_file(dir, "io.stat");
    for (char *p = text; p && (p = strstr(p, "bytes=")); p += 6) {
        uint64_t n = strtoull(p + 6, NULL, 10);
        if (p[-1] == 'r')
            out->block_read += n;
        else if (p[-1] == 'w')
            out->block_write += n;
    }
}

/* v1 "blkio.throttle.io_service_bytes": "8:0 Read 123" a device and operation. */
static void read_io_v1(const char *dir, struct cgroup_usage *out)
{
    char *text AUTOFREE = read_file(dir, "blkio.throttle.io_service_bytes_recursive");
    char *rest = NULL;
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char op[16];
        unsigned long long n;
        if (sscanf(line, "%*u:%*u %15s %llu", op, &n) != 2)
            continue;
        if (streq(op, "Read"))
            out->block_read += n;
        else if (streq(op, "Write"))
            out->block_write += n;
    }
}

static void usage_v2(const char *dir, struct cgroup_usage *out)
{
    out->cpu_ns = keyed_in(dir, "cpu.stat", "usage_usec") * 1000;
    uint64_t used = number_in(dir, "memory.current", 0);
    uint64_t cache = keyed_in(dir, "memory.stat", "inactive_file");
    out->memory = used > cache ? used - cache : used;
    out->memory_limit = min_memory(number_in(dir, "memory.max", 0));
    out->pids = number_in(dir, "pids.current", 0);
    out->oom_kills = keyed_in(dir, "memory.events", "oom_kill");
    read_io_v2(dir, out);
}

/* Folder of one v1 controller; list: /proc/PID/cgroup, lines "4:memory:/path". */
static char *v1_folder(const char *list, const char *controller)
{
    size_t n = strlen(controller);
    for (const char *line = list; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *names = strchr(line, ':');
        if (!names)
            break;
        const char *path = strchr(++names, ':');
        for (const char *c = names; path && c < path; c += strcspn(c, ",:") + 1) {
            if (strncmp(c, controller, n) || (c[n] != ',' && c[n] != ':'))
                continue;
            size_t len = strcspn(path + 1, "\n");
            char *mounted = xasprintf(ROOT "/%.*s%.*s", (int)(path - names), names, (int)len,
                                      path + 1);
            if (fs_is_dir(mounted))
                return mounted;
            free(mounted);
            return xasprintf(ROOT "/%s%.*s", controller, (int)len, path + 1);
        }
    }
    return NULL;
}

static void usage_v1(const char *list, struct cgroup_usage *out)
{
    char *cpu AUTOFREE = v1_folder(list, "cpuacct");
    char *memory AUTOFREE = v1_folder(list, "memory");
    char *pids AUTOFREE = v1_folder(list, "pids");
    char *blkio AUTOFREE = v1_folder(list, "blkio");
    if (cpu)
        out->cpu_ns = number_in(cpu, "cpuacct.usage", 0);
    if (memory) {
        uint64_t used = number_in(memory, "memory.usage_in_bytes", 0);
        uint64_t cache = keyed_in(memory, "memory.stat", "total_inactive_file");
        out->memory = used > cache ? used - cache : used;
        out->memory_limit = min_memory(number_in(memory, "memory.limit_in_bytes", 0));
        out->oom_kills = keyed_in(memory, "memory.oom_control", "oom_kill");
    }
    if (pids)
        out->pids = number_in(pids, "pids.current", 0);
    if (blkio)
        read_io_v1(blkio, out);
}

int cgroup_usage_read(int pid, struct cgroup_usage *out, struct err *err)
{
    *out = (struct cgroup_usage){0};
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    char *list AUTOFREE = NULL;
    if (fs_read(path, FILE_MAX, &list, NULL, err) < 0)
        return -1;
    out->system_cpu_ns = system_cpu_ns();
    if (cgroup_mode() == CGROUP_V2) {
        const char *own = strstr(list, "0::");
        if (!own)
            return err_set(err, ERR_NOT_FOUND, "%s: no cgroup v2 entry", path);
        char *dir AUTOFREE = xasprintf(ROOT "%.*s", (int)strcspn(own + 3, "\n"), own + 3);
        usage_v2(dir, out);
    } else {
        usage_v1(list, out);
    }
    return 0;
}
