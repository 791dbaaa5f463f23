/* What can be learnt of a process that is not, or no longer, our child; see also base/fd.h for pidfds and
 * start times. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The wait status that a process left, also after somebody else has reaped it (Linux 6.15, through a pidfd
 * from before its end); false: nobody can tell, or it has not ended. */
bool pid_wait_status(pid_t pid, unsigned long long start, int pidfd, int *wait_status);
/* One call that tells of most processes that they live: false of what has begun to end, and of one whose
 * first thread has ended before the others. */
bool pid_has_program(pid_t pid);
/* Has it been killed, or ended, and is not yet gone? The first process of a PID namespace stays until all
 * others of it are reaped, wherever their parents are. */
bool pid_is_exiting(pid_t pid);
/* For how long a process with this start time has lived by now, ns, whatever became of the wall clock. */
int64_t pid_age(unsigned long long start);
/* Is it the first process of its PID namespace, which the kernel spares every signal that it neither
 * catches nor waits for? Blocked signals are taken to be waited for (tini, signalfd). comm: its name,
 * of at least 16 bytes. */
bool pid_is_deaf(pid_t pid, int sig, char comm[16]);
/* How soon the kernel takes this process when memory is short: oom_score_adj, proc(5). Children inherit
 * it: crun 1.8 leaves them what they have where a container is to have 0. Without the privilege for a
 * negative one (CAP_SYS_RESOURCE), 0 at most. Returns what it was. */
int oom_score_set(int score);

#endif
