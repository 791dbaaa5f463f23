#include <stdio.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/dialog.h"

static const struct option options[] = {
    OPT_BOOL("all", 'a', "Obsolete: one-off containers are removed too", .flags = OPTION_HIDDEN),
    OPT_BOOL("force", 'f', "Don't ask to confirm removal"),
    OPT_BOOL("stop", 's', "Stop the containers, if required, before removing"),
    OPT_BOOL("volumes", 'v', "Remove any anonymous volumes attached to containers"),
    OPTION_END,
};

/* "a, b": what would go; empty: nothing. */
static void names_to_remove(const struct container_list *list, const struct args *args,
                            struct strbuf *names)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct container_record *c = &list->v[i];
        bool stopped = !container_is_up(c) || args_bool(args, "stop");
        if (stopped && container_in_services(c, args->positional))
            strbuf_addf(names, "%s%s", names->len ? ", " : "", c->name);
    }
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, args->positional, err) < 0 ||
        containers_read(cli, name, &list, err) < 0)
        return -1;
    struct strbuf names AUTOBUF = STRBUF_INIT;
    names_to_remove(&list, args, &names);
    if (!names.len) {
        fputs("No stopped containers\n", stderr);
        return 0;
    }
    cli_outf("Going to remove %s\n", names.buf);
    if (!args_bool(args, "force") && !cli->dry_run && !cli_confirm(cli, "Are you sure? [yN]"))
        return 0;
    json_t *request AUTOJSON = request_new("rm", args->positional);
    request_bool(request, "stop", args_bool(args, "stop"));
    request_bool(request, "volumes", args_bool(args, "volumes"));
    return dialog_run(cli, name, request, "Removing", NULL, err);
}

const struct command cmd_rm = {
    .name = "rm",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Removes stopped service containers",
    .details = "Removes stopped service containers\n\n"
               "Anonymous volumes of the containers stay, unless -v is given.\n\n"
               "Data that lies in no volume is lost.",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
