/* Runs a program and hands on what it says, line by line, standard output and error together. */
#ifndef IMAGE_MODULE_STREAM_H
#define IMAGE_MODULE_STREAM_H

#include "base/err.h"
#include "image/transfer.h"

struct stream_command {
    const char *const *argv;
    const char *const *env; /* NULL: this process's */
    const char *cwd;        /* NULL: this process's */
    void (*line)(void *ctx, const char *line);
    void *ctx;
    image_cancel cancel; /* ends the whole process group: TERM, after 5 s KILL */
    int status;          /* set: wait status */
};

int stream_run(struct stream_command *command, struct err *err);

#endif
