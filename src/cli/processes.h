/* The processes of a container, from /proc: top. */
#ifndef CLI_PROCESSES_H
#define CLI_PROCESSES_H

#include <sys/types.h>

#include "base/err.h"

/* The container's cgroup holds them: all whose cgroup is pid's own or below it. Sorted, heap, ends
 * with 0. */
int processes_of(pid_t pid, pid_t **out, struct err *err);

struct process_info {
    char user[33]; /* name, or number */
    pid_t pid, ppid;
    unsigned cpu;    /* percent of its life time */
    char started[8]; /* "15:04", or "Jan02" */
    char tty[16];    /* "?", "pts/0" */
    char time[16];   /* processor time, "00:00:01" */
    char *command;   /* heap */
};

/* ps -ef of one process; ERR_NOT_FOUND when it has gone. */
int process_info(pid_t pid, struct process_info *out, struct err *err);

#endif
