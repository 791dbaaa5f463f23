#include <stdio.h>

#include "base/mem.h"
#include "cli/attached.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/dialog.h"
#include "cli/menu.h"
#include "cli/provision.h"
#include "cli/up_options.h"
#include "cli/unsupported.h"

static const struct option options[] = {
    OPT_BOOL("abort-on-container-exit", 0,
             "Stops all containers if any container was stopped. Incompatible with -d"),
    OPT_BOOL("abort-on-container-failure", 0,
             "Stops all containers if any container exited with failure. Incompatible with -d"),
    OPT_BOOL("always-recreate-deps", 0,
             "Recreate dependent containers. Incompatible with --no-recreate."),
    OPT_LIST("attach", 0,
             "Restrict attaching to the specified services. Incompatible with "
             "--attach-dependencies.",
             .words = "@service"),
    OPT_BOOL("attach-dependencies", 0, "Automatically attach to log output of dependent services"),
    OPT_BOOL("build", 0, "Build images before starting containers"),
    OPT_BOOL("detach", 'd', "Detached mode: Run containers in the background"),
    OPT_STR("exit-code-from", 0,
            "Return the exit code of the selected service container. Implies "
            "--abort-on-container-exit",
            .words = "@service"),
    OPT_BOOL("force-recreate", 0,
             "Recreate containers even if their configuration and image haven't changed"),
    LOCKED_OPTION,
    OPT_BOOL("menu", 0,
             "Enable interactive shortcuts when running attached. Incompatible with --detach. Can "
             "also be enable/disable by setting COMPOSE_MENU environment var."),
    OPT_LIST("no-attach", 0, "Do not attach (stream logs) to the specified services",
             .words = "@service"),
    OPT_BOOL("no-build", 0, "Don't build an image, even if it's policy"),
    OPT_BOOL("no-color", 0, "Produce monochrome output"),
    OPT_BOOL("no-deps", 0, "Don't start linked services"),
    OPT_BOOL("no-log-prefix", 0, "Don't print prefix in logs"),
    OPT_BOOL("no-recreate", 0,
             "If containers already exist, don't recreate them. Incompatible with "
             "--force-recreate."),
    OPT_BOOL("no-start", 0, "Don't start the services after creating them"),
    OPT_STR("pull", 0, "Pull image before running (\"always\"|\"missing\"|\"never\")",
            .fallback = "policy", .words = "always missing never"),
    OPT_BOOL("quiet-build", 0, "Suppress the build output"),
    OPT_BOOL("quiet-pull", 0, "Pull without printing progress information"),
    OPT_BOOL("remove-orphans", 0, "Remove containers for services not defined in the Compose file"),
    OPT_BOOL("renew-anon-volumes", 'V',
             "Recreate anonymous volumes instead of retrieving data from the previous containers"),
    OPT_LIST("scale", 0,
             "Scale SERVICE to NUM instances. Overrides the scale setting in the Compose file if "
             "present.",
             .type = "scale"),
    OPT_INT("timeout", 't',
            "Use this timeout in seconds for container shutdown when attached or when containers "
            "are already running"),
    OPT_BOOL("timestamps", 0, "Show timestamps"),
    OPT_BOOL("wait", 0, "Wait for services to be running|healthy. Implies detached mode."),
    OPT_INT("wait-timeout", 0,
            "Maximum duration in seconds to wait for the project to be running|healthy"),
    OPT_BOOL("watch", 'w',
             "Watch source code and rebuild/refresh containers when files are updated."),
    OPT_BOOL("yes", 'y', "Assume \"yes\" as answer to all prompts and run non-interactively"),
    OPTION_END,
};

static bool is_abort(const struct args *args)
{
    return args_bool(args, "abort-on-container-exit") ||
           args_bool(args, "abort-on-container-failure") || *args_str(args, "exit-code-from");
}

static bool is_attach(const struct args *args)
{
    return args_given(args, "attach") || args_bool(args, "attach-dependencies");
}

/* docker compose: cmd/compose/up.go, validateFlags */
static int check_options(const struct args *args, struct err *err)
{
    bool recreate = args_bool(args, "force-recreate");
    if (args_bool(args, "wait") && (is_abort(args) || is_attach(args)))
        return err_set(err, ERR_INVALID,
                       "--wait cannot be combined with --abort-on-container-exit, --attach or "
                       "--attach-dependencies");
    if (args_bool(args, "detach") &&
        (is_abort(args) || is_attach(args) || args_bool(args, "watch")))
        return err_set(err, ERR_INVALID,
                       "--detach cannot be combined with --abort-on-container-exit, "
                       "--abort-on-container-failure, --attach, --attach-dependencies or --watch");
    if (args_bool(args, "abort-on-container-exit") && args_bool(args, "abort-on-container-failure"))
        return err_set(err, ERR_INVALID,
                       "--abort-on-container-failure cannot be combined with "
                       "--abort-on-container-exit");
    if (recreate && args_bool(args, "no-recreate"))
        return err_set(err, ERR_INVALID, "--force-recreate and --no-recreate are incompatible");
    if (args_bool(args, "no-recreate") && args_bool(args, "always-recreate-deps"))
        return err_set(err, ERR_INVALID,
                       "--always-recreate-deps and --no-recreate are incompatible");
    if (args_bool(args, "no-recreate") && args_bool(args, "renew-anon-volumes"))
        return err_set(err, ERR_INVALID, "--no-recreate and --renew-anon-volumes are incompatible");
    if (args_bool(args, "build") && args_bool(args, "no-build"))
        return err_set(err, ERR_INVALID, "--build and --no-build are incompatible");
    return check_pull_option(args_str(args, "pull"), err);
}

struct up {
    struct cli *cli;
    const struct args *args;
    struct project *project;
    bool *selected; /* services the operation is about */
    bool *shown;    /* attached: services whose output is shown */
    json_t *scale;
    struct lockfile lock; /* --locked */
};

static int images(struct up *up, struct err *err)
{
    bool locked = args_bool(up->args, "locked");
    if (locked && lockfile_use(&up->lock, up->project, up->selected, err) < 0)
        return -1;
    const struct provision o = {
        .selected = up->selected,
        .pull = args_str(up->args, "pull"),
        .build = args_bool(up->args, "build"),
        .no_build = args_bool(up->args, "no-build"),
        .quiet_pull = args_bool(up->args, "quiet-pull"),
        .quiet_build = args_bool(up->args, "quiet-build"),
        .lock = locked ? &up->lock : NULL,
    };
    return provision(up->cli, up->project, &o, err);
}

static json_t *up_request(struct up *up, bool attached)
{
    static const struct {
        const char *option, *member;
    } flags[] = {
        {"no-deps", "no_deps"},
        {"force-recreate", "force_recreate"},
        {"no-recreate", "no_recreate"},
        {"always-recreate-deps", "always_recreate_deps"},
        {"no-start", "no_start"},
        {"renew-anon-volumes", "renew_anon_volumes"},
        {"wait", "wait"},
    };
    const struct args *args = up->args;
    json_t *request = request_new("up", args->positional);
    request_project(request, up->project);
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        request_bool(request, flags[i].member, args_bool(args, flags[i].option));
    request_orphans(request, args);
    request_bool(request, "attach", attached);
    request_renewals(up->cli, request, up->project, up->selected, args_bool(args, "yes"));
    if (args_given(args, "timeout"))
        request_int(request, "timeout", args_int(args, "timeout"));
    if (args_given(args, "wait-timeout"))
        request_int(request, "wait_timeout", args_int(args, "wait-timeout"));
    request_json(request, "scale", json_incref(up->scale));
    return request;
}

static void mark(const struct project *p, const char *const *names, bool *set, bool value)
{
    for (; *names; names++) {
        const struct service *s = project_service(p, *names);
        if (s)
            set[s - p->services] = value;
    }
}

/* Whose output is shown: the services named (all, if none is), --attach, without attach: false and
 * --no-attach. */
static int choose_shown(struct up *up, struct err *err)
{
    const struct project *p = up->project;
    const char *const *only = args_list(up->args, "attach");
    up->shown = xcalloc(p->services_n + 1, sizeof(*up->shown));
    if (cli_check_services(p, only, err) < 0 ||
        cli_check_services(p, args_list(up->args, "no-attach"), err) < 0)
        return -1;
    if (*only) {
        mark(p, only, up->shown, true);
    } else if (up->args->n && !args_bool(up->args, "attach-dependencies")) {
        mark(p, up->args->positional, up->shown, true);
    } else {
        memcpy(up->shown, up->selected, p->services_n * sizeof(*up->shown));
    }
    for (size_t i = 0; i < p->services_n; i++)
        up->shown[i] = up->shown[i] && up->selected[i] && (p->services[i].attach || *only);
    mark(p, args_list(up->args, "no-attach"), up->shown, false);
    return 0;
}

static int run_attached(struct up *up, struct err *err)
{
    const char *from = args_str(up->args, "exit-code-from");
    if (choose_shown(up, err) < 0)
        return -1;
    const struct attached_options o = {
        .project = up->project,
        .selected = up->selected,
        .shown = up->shown,
        .log =
            {
                .color = up->cli->color_out && !args_bool(up->args, "no-color"),
                .prefix = !args_bool(up->args, "no-log-prefix"),
                .timestamps = args_bool(up->args, "timestamps"),
                .split = true,
                .tail = -1,
            },
        .abort_on_exit = args_bool(up->args, "abort-on-container-exit") || *from,
        .abort_on_failure = args_bool(up->args, "abort-on-container-failure"),
        .exit_code_from = *from ? from : NULL,
        .timeout = args_given(up->args, "timeout") ? args_int(up->args, "timeout") : -1,
        .scale = up->scale,
        .menu = menu_wanted(up->cli, up->args),
        .watch = args_bool(up->args, "watch"),
        .named = up->args->positional,
    };
    json_t *request AUTOJSON = up_request(up, true);
    return attached_run(up->cli, request, &o, err);
}

static int run_project(struct up *up, struct err *err)
{
    const struct args *args = up->args;
    const char *from = args_str(args, "exit-code-from");
    bool detached = args_bool(args, "detach") || args_bool(args, "wait") ||
                    args_bool(args, "no-start") || up->cli->dry_run;
    if (*from && !project_service(up->project, from))
        return err_set(err, ERR_NOT_FOUND, "no such service: %s: not found", from);
    if (scale_parse(up->project, args_list(args, "scale"), &up->scale, err) < 0 ||
        choose_services(up->project, args->positional, !args_bool(args, "no-deps"), &up->selected,
                        err) < 0 ||
        images(up, err) < 0)
        return -1;
    if (!detached)
        return run_attached(up, err);
    json_t *request AUTOJSON = up_request(up, false);
    int rc = dialog_run(up->cli, up->project->name, request, "Running",
                        &(struct dialog_hooks){.project = up->project}, err);
    return rc;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct up up = {.cli = cli, .args = args};
    if (check_options(args, err) < 0 ||
        load_for_services(cli, args->positional, &up.project, err) < 0)
        return -1;
    warn_unsupported(cli, up.project, "");
    int rc = up.project->services_n ? run_project(&up, err)
                                    : err_set(err, ERR_INVALID, "no service selected");
    project_free(up.project);
    free(up.selected);
    free(up.shown);
    json_decref(up.scale);
    lockfile_release(&up.lock);
    return rc;
}

const struct command cmd_up = {
    .name = "up",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Create and start containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
