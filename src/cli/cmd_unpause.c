#include "cli/client.h"
#include "cli/command.h"
#include "cli/lifecycle.h"

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    json_t *request AUTOJSON = request_new("unpause", NULL);
    return lifecycle_run(cli, args, request, "Running", err);
}

const struct command cmd_unpause = {
    .name = "unpause",
    .usage = "[SERVICE...]",
    .summary = "Unpause services",
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
