#include "monitor/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 50, PAUSE_US = 2000 };

static bool read_all(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static void kill_members(const char *dir)
{
    char path[512], pids[4096];
    snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    if (!read_all(path, pids, sizeof(pids)))
        return;
    for (char *p = pids; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        int pid = atoi(p);
        if (pid > 1)
            kill(pid, SIGKILL);
    }
}

static bool remove_cgroup(const char *dir, int tries)
{
    for (int i = 0; i < tries; i++) {
        if (rmdir(dir) == 0 || errno == ENOENT || errno == ENOTDIR)
            return true;
        if (errno != EBUSY || i + 1 == tries)
            return false;
        kill_members(dir);
        usleep(PAUSE_US);
    }
    return false;
}

/* `cgroup` names them, one a line. */
static bool remove_cgroups(int tries)
{
    char list[8192];
    if (!read_all("cgroup", list, sizeof(list)))
        return false;
    bool all = true;
    char *rest = NULL;
    for (char *dir = strtok_r(list, "\n", &rest); dir; dir = strtok_r(NULL, "\n", &rest))
        all = remove_cgroup(dir, tries) && all;
    return all;
}

void cleanup_cgroups(void)
{
    remove_cgroups(TRIES);
}

/* A folder of plain files. */
static bool remove_folder(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(path) == 0;
}

bool cleanup_directly(const char *runtime, const char *state, const char *id)
{
    const char *base = strrchr(runtime, '/');
    base = base ? base + 1 : runtime;
    if (strcmp(base, "runc") && strcmp(base, "crun") && strcmp(base, "compose-crun"))
        return false;
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", state, id);
    return remove_cgroups(1) && remove_folder(path);
}
