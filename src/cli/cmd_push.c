#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/provision.h"
#include "cli/push_jobs.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_BOOL("ignore-push-failures", 0, "Push what it can and ignores images with push failures"),
    OPT_BOOL("include-deps", 0, "Also push images of services declared as dependencies"),
    OPT_BOOL("quiet", 'q', "Push without printing progress information"),
    OPTION_END,
};

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct project *p;
    bool *selected = NULL;
    if (load_for_services(cli, args->positional, &p, err) < 0)
        return -1;
    int rc = choose_services(p, args->positional, args_bool(args, "include-deps"), &selected, err);
    if (rc == 0)
        rc = push_services(cli, p, selected, true, args_bool(args, "ignore-push-failures"),
                           args_bool(args, "quiet"), err);
    free(selected);
    project_free(p);
    return rc;
}

const struct command cmd_push = {
    .name = "push",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Push service images",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
