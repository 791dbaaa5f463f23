/* Runs a program and hands on what it says, line by line, standard output and error together.
 *
 * It runs apart: first process of a PID namespace, in a mount namespace that the host's mounts
 * propagate into and not out of. So with its end, and with ours however that comes, all that it has
 * started ends too, and nothing that it has mounted is left. */
#ifndef IMAGE_MODULE_STREAM_H
#define IMAGE_MODULE_STREAM_H

#include "base/err.h"
#include "image/transfer.h"

struct stream_command {
    const char *const *argv; /* argv[0]: a path */
    const char *const *env;
    void (*line)(void *ctx, const char *line);
    void *ctx;
    image_cancel cancel; /* asks it to end: TERM, after 5 s KILL; NULL: never */
    int status;          /* set: wait status */
};

int stream_run(struct stream_command *command, struct err *err);

#endif
