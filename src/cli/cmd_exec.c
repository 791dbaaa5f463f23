#include <unistd.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/exec.h"
#include "cli/run_spec.h"

static const struct option options[] = {
    OPT_BOOL("detach", 'd', "Detached mode: Run command in the background"),
    OPT_STR("detach-keys", 0, "Override the key sequence for detaching from a container.",
            .flags = OPTION_OURS),
    OPT_LIST("env", 'e', "Set environment variables"),
    OPT_INT("index", 0, "Index of the container if service has multiple replicas"),
    OPT_BOOL("interactive", 'i', "Keep STDIN open even if not attached", .fallback = "true",
             .flags = OPTION_HIDDEN),
    OPT_BOOL("no-tty", 'T',
             "Disable pseudo-TTY allocation. By default a TTY is allocated where stdin and stdout "
             "are terminals."),
    OPT_BOOL("privileged", 0, "Give extended privileges to the process"),
    OPT_BOOL("tty", 't', "Allocate a pseudo-TTY", .fallback = "true", .flags = OPTION_HIDDEN),
    OPT_STR("user", 'u', "Run the command as this user"),
    OPT_STR("workdir", 'w', "Path to workdir directory for this command", .words = "@dir"),
    OPTION_END,
};

static const char *text_or_null(const struct args *args, const char *name)
{
    const char *s = args_str(args, name);
    return *s ? s : NULL;
}

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
    if (c->status != CONTAINER_RUNNING)
        return err_set(err, ERR_CONFLICT,
                       c->status == CONTAINER_PAUSED
                           ? "Container %s is paused, unpause the container before exec"
                           : "Container %s is restarting, wait until the container is running",
                       c->name);
    json_t *pairs AUTOJSON = environment_of(args_list(args, "env"));
    char **environment AUTOSTRV = jarray_to_strv(pairs);
    bool detach = args_bool(args, "detach");
    struct exec_options o = {
        .id = c->id,
        .project = name,
        .pid = c->pid,
        .runtime = c->runtime,
        .command = args->positional + 1,
        .environment = (const char *const *)environment,
        .user = text_or_null(args, "user"),
        .working_dir = text_or_null(args, "workdir"),
        .privileged = args_bool(args, "privileged"),
        .detach = detach,
        .tty = !detach && !args_bool(args, "no-tty") && args_bool(args, "tty") &&
               isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
    };
    const char *keys = args_given(args, "detach-keys") ? args_str(args, "detach-keys") : NULL;
    if (keys_parse(keys, &o.keys, err) < 0)
        return -1;
    if (cli->dry_run && !detach)
        return err_set(err, ERR_INVALID, "interactive exec is not supported in dry-run mode");
    return cli->dry_run ? 0 : exec_run(cli, &o, err);
}

const struct command cmd_exec = {
    .name = "exec",
    .usage = "[OPTIONS] SERVICE COMMAND [ARGS...]",
    .summary = "Execute a command in a running container",
    .options = options,
    .args_min = 2,
    .args_max = ARGS_ANY,
    .stop_at_argument = true,
    .complete = "@service",
    .run = run,
};
