#include "cli/client.h"
#include "cli/command.h"
#include "cli/lifecycle.h"

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    json_t *request AUTOJSON = request_new("start", NULL);
    return lifecycle_run(cli, args, request, "Running", err);
}

const struct command cmd_start = {
    .name = "start",
    .usage = "[SERVICE...]",
    .summary = "Start services",
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
