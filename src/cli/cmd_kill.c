#include <stdio.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/lifecycle.h"

static const struct option options[] = {
    OPT_BOOL("remove-orphans", 0, "Remove containers for services not defined in the Compose file"),
    OPT_STR("signal", 's', "SIGNAL to send to the container", .fallback = "SIGKILL",
            .words = "SIGKILL SIGTERM SIGINT SIGHUP SIGQUIT SIGUSR1 SIGUSR2"),
    OPTION_END,
};

static int any_running(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, args->positional, err) < 0 ||
        containers_read(cli, name, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        if (container_in_services(&list.v[i], args->positional) && container_is_up(&list.v[i]))
            return 1;
    }
    return 0;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    int running = any_running(cli, args, err);
    if (running < 0)
        return -1;
    if (!running && !args_bool(args, "remove-orphans")) {
        fputs("no container to kill\n", stderr);
        return 0;
    }
    json_t *request AUTOJSON = request_new("kill", NULL);
    request_str(request, "signal", args_str(args, "signal"));
    request_bool(request, "remove_orphans", args_bool(args, "remove-orphans"));
    return lifecycle_run(cli, args, request, "Killing", err);
}

const struct command cmd_kill = {
    .name = "kill",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Force stop service containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
