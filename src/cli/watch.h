/* develop.watch: files that change are synced into containers, or make a service be rebuilt or
 * restarted. */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "cli/cli.h"

struct watch_options {
    bool prune; /* remove the images that a rebuild leaves without a name */
    bool quiet; /* no build output */
};

/* Runs until Ctrl-C. services empty: all with a develop section. */
int watch_run(struct cli *cli, const struct project *p, const char *const *services,
              const struct watch_options *o, struct err *err);

#endif
