/* Control groups of the host: v1, v2 or both. */
#ifndef RUNTIME_CGROUP_H
#define RUNTIME_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum cgroup_mode { CGROUP_V1, CGROUP_V2, CGROUP_HYBRID, CGROUP_NONE };

enum cgroup_mode cgroup_mode(void);
const char *cgroup_mode_name(enum cgroup_mode m);
/* Controllers that the v2 tree of a hybrid holds, e.g. "hugetlb"; "" when none; heap. */
char *cgroup_hybrid_controllers(void);

/* Moves this process into the cgroup that it is in. The first move for some 20 ms waits for a grace period of RCU
 * (percpu_down_write() in kernel/cgroup/cgroup.c), 5 to 17 ms; those that follow do not. Whoever is about to
 * start a container has that wait pass in another thread meanwhile. Blocks; a failure costs only time. */
void cgroup_warm(void);

/* Folders that a container with this cgroup path ("/compose/p/id") has in every hierarchy, that of
 * the memory controller first; heap vector. */
char **cgroup_folders(const char *cgroup_path);
/* Removes one of them with its children, killing what still runs in it. False: it could not. */
bool cgroup_remove(const char *dir);

/* cgroup_remove() of "/compose/PROJECT/ID" in every hierarchy, for a container of which only the ID
 * is known. */
void cgroup_remove_by_id(const char *id);
/* Removes a cgroup that containers were below ("/compose/PROJECT"), in every hierarchy, where nothing
 * is left in it: runtimes make it and never remove it. For `down`, when no container of the project
 * is being started. */
void cgroup_remove_empty(const char *cgroup_path);

struct cgroup_usage {
    uint64_t cpu_ns, system_cpu_ns;
    uint64_t memory, memory_limit; /* bytes, without the inactive page cache as docker stats */
    uint64_t block_read, block_write;
    uint64_t pids, oom_kills;
};
/* Of the cgroup that process pid is in. */
int cgroup_usage_read(int pid, struct cgroup_usage *out, struct err *err);

#endif
