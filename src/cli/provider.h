/* Services that another program provides (provider:), and AI models, which the program of docker's
 * model plugin provides: docs/extension.md of docker compose.
 *
 * PROGRAM compose --project-name=NAME up|down|stop --OPTION=VALUE... SERVICE says on its stdout, in JSON
 * objects, how it gets on and which variables its dependents get. */
#ifndef CLI_PROVIDER_H
#define CLI_PROVIDER_H

#include "cli/cli.h"

enum provider_verb { PROVIDER_UP, PROVIDER_DOWN, PROVIDER_STOP };

/* Runs the providers of the selected services (NULL: all), dependencies first, or last unless up;
 * blocking, with progress. up puts the variables into the environment of the dependents. */
int providers_run(struct cli *cli, struct project *p, const bool *selected, enum provider_verb verb,
                  struct err *err);

/* The same for a project that runs: as it was last applied. */
int providers_stop(struct cli *cli, const char *project, const char *const *services,
                   struct err *err);

/* Brings the models that the selected services use, and gives the services their variables. */
int models_run(struct cli *cli, struct project *p, const bool *selected, bool quiet,
               struct err *err);

/* The project as it was last applied, if one of its services is provided by a program; NULL: no. */
struct project *provided_project(struct cli *cli, const char *project);

/* A plugin of docker's command by its short name ("model"); heap, NULL: there is none. */
char *docker_plugin_find(const char *name);

#endif
