/* What stop, start, restart, kill, pause and unpause have in common: names of services, a request to
 * the supervisor, progress. */
#ifndef CLI_LIFECYCLE_H
#define CLI_LIFECYCLE_H

#include "cli/cli.h"
#include "engine/state.h"

struct lifecycle {
    struct cli *cli;
    const struct args *args;
    char *name;
    struct project *project; /* NULL: there is no file, so every service counts */
};

int lifecycle_load(struct lifecycle *l, struct cli *cli, const struct args *args, struct err *err);
void lifecycle_release(struct lifecycle *l);
/* Is the container of a service that is named, or where none is, of one of the file? */
bool lifecycle_concerns(const struct lifecycle *l, const struct container_record *c);
/* Fills in services and project and sends. title: of the progress. A project that the machine does not
 * know is nothing to do: 0; but start and restart say which containers they miss. */
int lifecycle_send(struct lifecycle *l, json_t *request, const char *title, struct err *err);
/* All of it. */
int lifecycle_run(struct cli *cli, const struct args *args, json_t *request, const char *title,
                  struct err *err);
/* --timeout, where given. */
void lifecycle_timeout(const struct args *args, json_t *request);

#endif
