/* `up` in the foreground: the containers' output and ends on our terminal until all have ended or
 * the user stops them. */
#ifndef CLI_ATTACHED_H
#define CLI_ATTACHED_H

#include "cli/cli.h"
#include "cli/logview.h"

struct attached_options {
    const struct project *project;
    const bool *selected; /* services that the operation is about */
    const bool *shown;    /* services whose output is shown */
    struct logview_options log;
    bool abort_on_exit, abort_on_failure;
    const char *exit_code_from; /* service, NULL: none */
    int64_t timeout;            /* of stopping, seconds; -1: as the services say */
    const json_t *scale;        /* service -> replicas, NULL: as the file says */
    bool menu, watch;           /* the keys; files are watched from the beginning */
    const char *const *named;   /* the services that the user named, NULL-terminated */
};

/* request: an "up" with attach. Returns the exit code, or -1. */
int attached_run(struct cli *cli, const json_t *request, const struct attached_options *o,
                 struct err *err);

#endif
