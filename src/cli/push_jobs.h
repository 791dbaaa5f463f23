/* Pushing the images of services: push, and build --push. */
#ifndef CLI_PUSH_JOBS_H
#define CLI_PUSH_JOBS_H

#include "cli/cli.h"

/* only_built: leave out services without a build section, in silence. ignore_failures: a failed push
 * is a warning. */
int push_services(struct cli *cli, const struct project *p, const bool *selected, bool only_built,
                  bool ignore_failures, bool quiet, struct err *err);

#endif
