/* A further process in a running container, straight through the OCI runtime: no supervisor takes
 * part. The runtime starts the process and goes; the process becomes our child (we are a child
 * subreaper), so that its exit status comes to us alone. */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "cli/cli.h"
#include "cli/keys.h"

struct exec_options {
    const char *id;
    const char *runtime; /* of the service, NULL: the usual one */
    const char *const *command, *const *environment;
    const char *user, *working_dir;
    bool privileged, tty, detach;
    struct keys keys;
    /* Instead of our own, for commands that exchange data with the process; -1 or 0..2. */
    const int *stdio;
};

/* Returns the process's exit code (128+n for a signal; 126, 127 where it could not be run). */
int exec_run(struct cli *cli, const struct exec_options *o, struct err *err);

#endif
