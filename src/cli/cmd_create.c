#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/dialog.h"
#include "cli/provision.h"
#include "cli/unsupported.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_BOOL("build", 0, "Build images before starting containers"),
    OPT_BOOL("force-recreate", 0,
             "Recreate containers even if their configuration and image haven't changed"),
    LOCKED_OPTION,
    OPT_BOOL("no-build", 0, "Don't build an image, even if it's policy"),
    OPT_BOOL("no-recreate", 0,
             "If containers already exist, don't recreate them. Incompatible with "
             "--force-recreate."),
    OPT_STR("pull", 0, "Pull image before running (\"always\"|\"missing\"|\"never\"|\"build\")",
            .fallback = "policy", .words = "always missing never build"),
    OPT_BOOL("quiet-pull", 0, "Pull without printing progress information"),
    OPT_BOOL("remove-orphans", 0, "Remove containers for services not defined in the Compose file"),
    OPT_LIST("scale", 0,
             "Scale SERVICE to NUM instances. Overrides the scale setting in the Compose file if "
             "present.",
             .type = "scale"),
    OPT_BOOL("yes", 'y', "Assume \"yes\" as answer to all prompts and run non-interactively"),
    OPTION_END,
};

static int check_options(const struct args *args, struct err *err)
{
    if (args_bool(args, "build") && args_bool(args, "no-build"))
        return err_set(err, ERR_INVALID, "--build and --no-build are incompatible");
    if (args_bool(args, "force-recreate") && args_bool(args, "no-recreate"))
        return err_set(err, ERR_INVALID, "--force-recreate and --no-recreate are incompatible");
    return check_pull_option(args_str(args, "pull"), err);
}

static int create(struct cli *cli, const struct args *args, struct project *project, json_t **scale,
                  bool **selected, struct err *err)
{
    if (scale_parse(project, args_list(args, "scale"), scale, err) < 0 ||
        choose_services(project, args->positional, true, selected, err) < 0)
        return -1;
    struct lockfile lock AUTOLOCKFILE = {0};
    bool locked = args_bool(args, "locked");
    if (locked && lockfile_use(&lock, project, *selected, err) < 0)
        return -1;
    const struct provision o = {
        .selected = *selected,
        .pull = args_str(args, "pull"),
        .build = args_bool(args, "build"),
        .no_build = args_bool(args, "no-build"),
        .quiet_pull = args_bool(args, "quiet-pull"),
        .lock = locked ? &lock : NULL,
    };
    if (provision(cli, project, &o, err) < 0)
        return -1;
    json_t *request AUTOJSON = request_new("create", args->positional);
    request_project(request, project);
    request_bool(request, "force_recreate", args_bool(args, "force-recreate"));
    request_bool(request, "no_recreate", args_bool(args, "no-recreate"));
    request_orphans(request, args);
    request_json(request, "scale", json_incref(*scale));
    request_renewals(cli, request, project, *selected, args_bool(args, "yes"));
    return dialog_run(cli, project->name, request, "Creating",
                      &(struct dialog_hooks){.project = project}, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct project *project;
    bool *selected = NULL;
    json_t *scale AUTOJSON = NULL;
    if (check_options(args, err) < 0 || load_for_services(cli, args->positional, &project, err) < 0)
        return -1;
    warn_unsupported(cli, project, "");
    int rc = create(cli, args, project, &scale, &selected, err);
    project_free(project);
    free(selected);
    return rc;
}

const struct command cmd_create = {
    .name = "create",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Creates containers for a service",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
