/* What stop, start, restart, kill, pause and unpause have in common: names of services, a request to
 * the supervisor, progress. */
#ifndef CLI_LIFECYCLE_H
#define CLI_LIFECYCLE_H

#include "cli/cli.h"

/* Fills in services and sends. title: of the progress. A project that the machine does not know is
 * nothing to do: 0. */
int lifecycle_run(struct cli *cli, const struct args *args, json_t *request, const char *title,
                  struct err *err);
/* --timeout, where given. */
void lifecycle_timeout(const struct args *args, json_t *request);

#endif
