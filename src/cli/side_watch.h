/* `compose watch --no-up` as a process beside an attached `up`, on its terminal. */
#ifndef CLI_SIDE_WATCH_H
#define CLI_SIDE_WATCH_H

#include <uv.h>

#include "cli/cli.h"

struct side_watch {
    uv_process_t process;
    bool running; /* until its end was seen and the handle is closed */
    void (*ended)(void *ctx);
    void *ctx;
};

/* services NULL-terminated, empty: all. ended is called once it is gone; w must live until then. */
int side_watch_start(struct side_watch *w, struct cli *cli, uv_loop_t *loop,
                     const char *const *services, struct err *err);
/* Asks it to end; nothing if it does not run. */
void side_watch_stop(struct side_watch *w);

#endif
