/* Pipes between our standard streams and a process that another program starts.
 *
 * OCI runtimes give the standard streams that they are handed to the container's user (fchown). What
 * stands behind ours is the caller's: a file that output is redirected to, a terminal, /dev/null. */
#ifndef CLI_STDIO_RELAY_H
#define CLI_STDIO_RELAY_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

struct stdio_stream {
    int from, to; /* one of them is ours */
    int done;
    bool is_input;
    int error; /* once closed: why something could not be passed on, 0: nothing is lost */
    pthread_t thread;
    bool running;
};

struct stdio_relay {
    int child[3]; /* what the process gets for 0, 1 and 2 */
    int done;     /* eventfd: the process has ended */
    struct stdio_stream streams[3];
};

/* Streams that are pipes or sockets already are passed as they are. no_input: stdin is at its end. */
int stdio_relay_open(struct stdio_relay *r, bool no_input, struct err *err);
/* After the process was started: its ends are closed here and threads move what comes. */
int stdio_relay_start(struct stdio_relay *r, struct err *err);
/* After its end, or when it could not be started: what it has written is passed on, threads and
 * descriptors are gone. Who else still holds its output is not waited for. */
void stdio_relay_close(struct stdio_relay *r);

#endif
