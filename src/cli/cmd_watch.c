#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/dialog.h"
#include "cli/provision.h"
#include "cli/up_options.h"
#include "cli/watch.h"

static const struct option options[] = {
    OPT_BOOL("no-up", 0, "Do not build & start services before watching"),
    OPT_BOOL("prune", 0, "Prune dangling images on rebuild", .fallback = "true"),
    OPT_BOOL("quiet", 0, "hide build output"),
    OPTION_END,
};

static int up(struct cli *cli, const struct args *args, struct project *p, struct err *err)
{
    bool *selected AUTOFREE = NULL;
    if (choose_services(p, args->positional, true, &selected, err) < 0)
        return -1;
    const struct provision o = {
        .selected = selected, .pull = "", .build = true, .quiet_build = args_bool(args, "quiet")};
    if (provision(cli, p, &o, err) < 0)
        return -1;
    json_t *request AUTOJSON = request_new("up", args->positional);
    request_project(request, p);
    return dialog_run(cli, p->name, request, "Running", NULL, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const struct watch_options o = {.prune = args_bool(args, "prune"),
                                    .quiet = args_bool(args, "quiet")};
    struct project *p;
    if (load_for_services(cli, args->positional, &p, err) < 0)
        return -1;
    int rc = args_bool(args, "no-up") ? 0 : up(cli, args, p, err);
    if (rc == 0 && !cli->dry_run)
        rc = watch_run(cli, p, args->positional, &o, err);
    project_free(p);
    return rc;
}

const struct command cmd_watch = {
    .name = "watch",
    .usage = "[SERVICE...]",
    .summary =
        "Watch build context for service and rebuild/refresh containers when files are updated",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
