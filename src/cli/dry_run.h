/* --dry-run: what a request would do, from the state on disk, shown as the real thing shows it.
 * Nothing is asked of a supervisor and nothing is changed. */
#ifndef CLI_DRY_RUN_H
#define CLI_DRY_RUN_H

#include "cli/cli.h"
#include "cli/containers.h"
#include "cli/progress.h"

/* places: the project whose files reasons name, NULL: none. */
int dry_run_show(struct cli *cli, const char *project, const json_t *request, const char *title,
                 const struct project *places, struct err *err);

/* --- between dry_run.c and dry_run_up.c --- */

struct rehearsal {
    struct cli *cli;
    const json_t *request, *options;
    const char *name;
    struct project *project; /* NULL: the request has none */
    struct container_list list;
    struct progress progress;
};

/* "KIND NAME BEGIN", then "KIND NAME END"; either may be NULL. */
void rehearse(struct rehearsal *r, const char *kind, const char *name, const char *begin,
              const char *end, const json_t *reasons);
void rehearse_removal(struct rehearsal *r, const struct container_record *c, bool says_stopping);
bool rehearsal_flag(const struct rehearsal *r, const char *name);

/* up and create */
int rehearse_up(struct rehearsal *r, struct err *err);

#endif
