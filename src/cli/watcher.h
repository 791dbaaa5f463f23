/* Container events of a project, as they come, until they end or Ctrl-C: events and wait. */
#ifndef CLI_WATCHER_H
#define CLI_WATCHER_H

#include "cli/cli.h"

struct watcher_handler {
    /* A "container" event. False: enough. */
    bool (*event)(void *ctx, const json_t *event);
    /* Events from now on are not missed; again when another supervisor goes on. False: no need to wait. */
    bool (*ready)(void *ctx);
    void *ctx;
};

/* since, until: ns since the epoch; since 0: from now on, until 0: no end. Returns 0, EXIT_INTERRUPTED, or -1. A project without a
 * supervisor has no events; start: one is started then. */
int watcher_run(struct cli *cli, const char *project, bool start, int64_t since, int64_t until,
                const struct watcher_handler *handler, struct err *err);

#endif
