/* Our terminal or pipes, connected to a container's streams through its monitor: run and attach. */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include "cli/cli.h"
#include "cli/keys.h"

struct stream_options {
    const char *id;
    bool tty;        /* the container has a terminal: ours becomes raw, its size follows ours */
    bool stdin_open; /* our stdin goes to the container */
    bool sig_proxy;  /* signals that reach us go to the container */
    bool replay;     /* also what this run of the container has written before */
    struct keys keys;
};

enum stream_end { STREAM_EXITED, STREAM_DETACHED, STREAM_INTERRUPTED };

struct stream_result {
    enum stream_end end;
    int exit_code;
};

/* Blocking, until the container has ended or the user detached. A container that could not be started
 * is an error in the runtime's words, with the exit code in result. */
int stream_run(struct cli *cli, const struct stream_options *o, struct stream_result *result,
               struct err *err);

#endif
