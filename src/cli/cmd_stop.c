#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/lifecycle.h"
#include "cli/provider.h"

static const struct option options[] = {
    OPT_INT("timeout", 't', "Specify a shutdown timeout in seconds"),
    OPTION_END,
};

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    json_t *request AUTOJSON = request_new("stop", NULL);
    lifecycle_timeout(args, request);
    char *name AUTOFREE = NULL;
    if (cli_project_name(cli, &name, args->positional, err) < 0)
        return -1;
    int rc = lifecycle_run(cli, args, request, "Stopping", err);
    return rc == 0 ? providers_stop(cli, name, args->positional, err) : rc;
}

const struct command cmd_stop = {
    .name = "stop",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Stop services",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
