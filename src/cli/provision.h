/* Before containers are made: every image that the chosen services need is in the store, pulled or
 * built as pull_policy, --pull, --build and --no-build say; models and what other programs provide
 * (provider.h) are there, and their variables in the environment of the services. */
#ifndef CLI_PROVISION_H
#define CLI_PROVISION_H

#include "cli/cli.h"
#include "cli/lockfile.h"

struct provision {
    const bool *selected; /* by index in project->services */
    const char *pull;     /* --pull: "", "policy", "always", "missing", "never", "build" */
    bool build, no_build;
    bool quiet_pull, quiet_build;
    const struct lockfile *lock; /* --locked: what builds may start from; NULL: anything */
};

/* The services that a command is about, with what they depend on; heap array of services_n. */
int choose_services(const struct project *p, const char *const *names, bool with_dependencies,
                    bool **selected, struct err *err);

int provision(struct cli *cli, struct project *p, const struct provision *options, struct err *err);

/* "invalid --pull option" unless it is one of the words or empty. */
int check_pull_option(const char *value, struct err *err);

#endif
