#include <stdio.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/lifecycle.h"

static const struct option options[] = {
    OPT_BOOL("all", 'a', "Obsolete: has no effect", .flags = OPTION_HIDDEN),
    OPT_BOOL("force", 'f', "Don't ask to confirm removal"),
    OPT_BOOL("stop", 's', "Stop the containers, if required, before removing"),
    OPT_BOOL("volumes", 'v', "Remove any anonymous volumes attached to containers"),
    OPTION_END,
};

/* "a, b": what would go; empty: nothing. */
static int names_to_remove(struct lifecycle *l, struct strbuf *names, struct err *err)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(l->cli, l->name, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        const struct container_record *c = &list.v[i];
        bool stopped = !container_is_up(c) || args_bool(l->args, "stop");
        if (stopped && !c->oneoff && lifecycle_concerns(l, c))
            strbuf_addf(names, "%s%s", names->len ? ", " : "", c->name);
    }
    return 0;
}

static int remove_all(struct lifecycle *l, const struct args *args, struct err *err)
{
    struct strbuf names AUTOBUF = STRBUF_INIT;
    if (names_to_remove(l, &names, err) < 0)
        return -1;
    if (!names.len) {
        fputs("No stopped containers\n", stderr);
        return 0;
    }
    cli_outf("Going to remove %s\n", names.buf);
    if (!args_bool(args, "force") && !l->cli->dry_run && !cli_confirm(l->cli, "Are you sure? [yN]"))
        return 0;
    json_t *request AUTOJSON = request_new("rm", NULL);
    request_bool(request, "stop", args_bool(args, "stop"));
    request_bool(request, "volumes", args_bool(args, "volumes"));
    return lifecycle_send(l, request, "Removing", err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct lifecycle l;
    int rc = lifecycle_load(&l, cli, args, err);
    if (rc == 0)
        rc = remove_all(&l, args, err);
    lifecycle_release(&l);
    return rc;
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
