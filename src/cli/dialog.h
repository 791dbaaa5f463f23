/* A request from its sending to its end, shown to the user: progress, warnings, the error that it
 * ends with. Blocking; Ctrl-C and SIGTERM cancel it. */
#ifndef CLI_DIALOG_H
#define CLI_DIALOG_H

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/progress.h"

enum { EXIT_INTERRUPTED = 130 };

/* Shows a "progress" event. */
void progress_show(struct progress *p, const json_t *event);
/* The error of an "error" event: its message, with the place of what is at fault in p (NULL: not
 * known), and exit code. Returns -1. */
int error_of_event(const json_t *event, const struct project *p, struct err *err);

/* What a command wants to see of the events besides; any may be NULL. */
struct dialog_hooks {
    const struct project *project; /* whose places the reasons name */
    void (*event)(void *ctx, const char *name, const json_t *event);
    void *ctx;
};

/* title: of the progress. Returns the exit code ("done" with "exit", normally 0), or -1. */
int dialog_run(struct cli *cli, const char *project, const json_t *request, const char *title,
               const struct dialog_hooks *hooks, struct err *err);

/* Does the machine know the project: has it containers or state? A project that is not known needs
 * no supervisor for stop, kill, ... */
bool project_is_known(struct cli *cli, const char *project);

#endif
