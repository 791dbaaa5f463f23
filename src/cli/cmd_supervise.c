/* The hidden command that the supervisor runs as; see control_supervisor_argv(). */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "engine/supervisor.h"

static const struct option options[] = {
    OPT_INT("listen-fd", 0, "Control socket that listens already", .fallback = "-1"),
    OPT_INT("lock-fd", 0, "Lock of the project that is held already", .fallback = "-1"),
    OPT_STR("run", 0, "Folder of sockets and namespaces"),
    OPTION_END,
};

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    if (cli_paths(cli, err) < 0)
        return -1;
    const char *run_dir = args_str(args, "run");
    if (*run_dir) {
        free(cli->paths.run);
        cli->paths.run = xstrdup(run_dir);
    }
    return supervisor_main(&cli->paths, args->positional[0], (int)args_int(args, "listen-fd"),
                           (int)args_int(args, "lock-fd"));
}

const struct command cmd_supervise = {
    .name = "supervise",
    .usage = "[OPTIONS] PROJECT",
    .summary = "Supervise a project's containers",
    .options = options,
    .args_min = 1,
    .args_max = 1,
    .flags = COMMAND_HIDDEN,
    .run = run,
};
