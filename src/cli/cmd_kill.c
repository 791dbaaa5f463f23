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

static int any_running(struct lifecycle *l, struct err *err)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(l->cli, l->name, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        if (lifecycle_concerns(l, &list.v[i]) && container_is_up(&list.v[i]))
            return 1;
    }
    return 0;
}

static int kill_all(struct lifecycle *l, const struct args *args, struct err *err)
{
    int running = any_running(l, err);
    if (running < 0)
        return -1;
    if (!running && !args_bool(args, "remove-orphans")) {
        fputs("no container to kill\n", stderr);
        return 0;
    }
    json_t *request AUTOJSON = request_new("kill", NULL);
    request_str(request, "signal", args_str(args, "signal"));
    request_bool(request, "remove_orphans", args_bool(args, "remove-orphans"));
    return lifecycle_send(l, request, "Killing", err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct lifecycle l;
    int rc = lifecycle_load(&l, cli, args, err);
    if (rc == 0)
        rc = kill_all(&l, args, err);
    lifecycle_release(&l);
    return rc;
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
