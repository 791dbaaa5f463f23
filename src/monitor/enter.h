/* `compose-monitor enter`: one more process in a running container, as the OCI runtime's exec makes it,
 * for what runs often (probes): without reading the container's configuration again, and without
 * compiling its filter again.
 *
 * Descriptors: 3 the plan, 4 a pidfd of the container's first process. The plan is text: strings that
 * end with NUL, each beginning with a letter below. The process gets nothing that `RUNTIME exec`
 * would not give it: the container's namespaces, cgroup and limits first, then AppArmor profile,
 * system call filter, user, capabilities, and no descriptor but its three.
 *
 * The program is executed from a mount that is read-only and in no namespace, so what runs in the
 * container cannot write to it through /proc/PID/exe. It waits for the process and passes its exit
 * code on (128+n for a signal; 126, 127 and a word on stderr when it cannot be executed). SIGTERM
 * has the process and its group killed. When the container cannot be entered it says why on stderr
 * and dies of ENTER_FAILED: the caller may then leave it to the runtime. */
#ifndef MONITOR_ENTER_H
#define MONITOR_ENTER_H

#include <signal.h>

enum {
    ENTER_PLAN_FD = 3,
    ENTER_PIDFD = 4,
    ENTER_FAILED = SIGUSR1,
    ENTER_PLAN_MAX = 8 << 20,
};

enum enter_key {
    ENTER_PID = 'I',    /* of the first process, for its limits and its user namespace */
    ENTER_CGROUP = 'C', /* folder, one a hierarchy */
    ENTER_USER = 'U',   /* "UID GID" */
    ENTER_GROUP = 'G',  /* supplementary, one each */
    ENTER_CAPS = 'K',   /* hexadecimal */
    ENTER_NO_NEW_PRIVS = 'N',
    ENTER_APPARMOR = 'P', /* profile */
    ENTER_OOM = 'O',      /* oom_score_adj */
    ENTER_RLIMIT = 'R',   /* "RESOURCE SOFT HARD", besides the first process's own */
    ENTER_CWD = 'D',
    ENTER_SECCOMP = 'S', /* program, base64 */
    ENTER_ENV = 'E',     /* "K=V" */
    ENTER_ARG = 'A',
};

int enter_main(void);

#endif
