/* --dry-run: what a request would do, from the state on disk, shown as the real thing shows it.
 * Nothing is asked of a supervisor and nothing is changed. */
#ifndef CLI_DRY_RUN_H
#define CLI_DRY_RUN_H

#include "cli/cli.h"

int dry_run_show(struct cli *cli, const char *project, const json_t *request, const char *title,
                 struct err *err);

/* Where two documents differ: "environment.A, ports[1]", at most three places; heap, "" if nowhere. */
char *json_differences(const json_t *before, const json_t *after);

#endif
