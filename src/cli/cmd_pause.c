#include "cli/client.h"
#include "cli/command.h"
#include "cli/lifecycle.h"

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    json_t *request AUTOJSON = request_new("pause", NULL);
    return lifecycle_run(cli, args, request, "Pausing", err);
}

const struct command cmd_pause = {
    .name = "pause",
    .usage = "[SERVICE...]",
    .summary = "Pause services",
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
