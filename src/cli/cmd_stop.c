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
    struct lifecycle l;
    json_t *request AUTOJSON = request_new("stop", NULL);
    lifecycle_timeout(args, request);
    int rc = lifecycle_load(&l, cli, args, err);
    if (rc == 0)
        rc = lifecycle_send(&l, request, "Stopping", err);
    if (rc == 0)
        rc = providers_stop(cli, l.name, args->positional, err);
    lifecycle_release(&l);
    return rc;
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
