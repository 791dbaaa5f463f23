#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/stream.h"

static const struct option options[] = {
    OPT_STR("detach-keys", 0, "Override the key sequence for detaching from a container."),
    OPT_INT("index", 0, "index of the container if service has multiple replicas."),
    OPT_BOOL("no-stdin", 0, "Do not attach STDIN"),
    OPT_BOOL("sig-proxy", 0, "Proxy all received signals to the process", .fallback = "true"),
    OPTION_END,
};

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, NULL, err) < 0 || containers_read(cli, name, &list, err) < 0)
        return -1;
    struct container_record *c = container_choose(&list, args->positional[0],
                                                  args_int(args, "index"), true, false, err);
    if (!c)
        return -1;
    struct stream_options o = {
        .id = c->id,
        .tty = c->tty && isatty(STDIN_FILENO),
        .stdin_open = c->stdin_open && !args_bool(args, "no-stdin"),
        .sig_proxy = args_bool(args, "sig-proxy"),
    };
    struct stream_result result;
    const char *keys = args_given(args, "detach-keys") ? args_str(args, "detach-keys") : NULL;
    if (keys_parse(keys, &o.keys, err) < 0)
        return -1;
    if (cli->dry_run)
        return 0;
    if (stream_run(cli, &o, &result, err) < 0)
        return -1;
    return result.exit_code;
}

const struct command cmd_attach = {
    .name = "attach",
    .usage = "[OPTIONS] SERVICE",
    .summary =
        "Attach local standard input, output, and error streams to a service's running container",
    .options = options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
