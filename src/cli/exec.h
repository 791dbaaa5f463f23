/* A further process in a running container, straight through the OCI runtime: no supervisor takes
 * part; one that runs is told, for those who follow events. The runtime starts the process and goes;
 * the process becomes our child (we are a child subreaper), or that of monitor/detach.h where nobody
 * here waits for it, so that its exit status comes to us alone. */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "cli/cli.h"
#include "cli/keys.h"

struct exec_options {
    const char *id, *project;
    const char *runtime; /* of the service, NULL: the usual one */
    const char *const *command, *const *environment;
    const char *user, *working_dir;
    pid_t pid; /* the container's first process */
    bool privileged, tty, detach;
    bool no_input; /* its stdin is at its end at once */
    struct keys keys;
};

/* Returns the process's exit code (128+n for a signal; 126, 127 where it could not be run). */
int exec_run(struct cli *cli, const struct exec_options *o, struct err *err);

#endif
