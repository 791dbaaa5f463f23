#include "cli/client.h"
#include "cli/command.h"
#include "cli/lifecycle.h"

static const struct option options[] = {
    OPT_BOOL("no-deps", 0, "Don't restart dependent services"),
    OPT_INT("timeout", 't', "Specify a shutdown timeout in seconds"),
    OPTION_END,
};

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    json_t *request AUTOJSON = request_new("restart", NULL);
    lifecycle_timeout(args, request);
    request_bool(request, "no_deps", args_bool(args, "no-deps"));
    return lifecycle_run(cli, args, request, "Restarting", err);
}

const struct command cmd_restart = {
    .name = "restart",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Restart service containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
