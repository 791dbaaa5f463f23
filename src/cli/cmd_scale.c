#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/dialog.h"
#include "cli/provision.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_BOOL("no-deps", 0, "Don't start linked services"),
    OPTION_END,
};

/* The names of "SERVICE=NUM" arguments, checked for their form. Heap. */
static int service_names(const struct args *args, char ***names, struct err *err)
{
    for (size_t i = 0; i < args->n; i++) {
        const char *item = args->positional[i], *eq = strchr(item, '=');
        int64_t n;
        if (!eq)
            return err_set(err, ERR_INVALID, "invalid scale specifier: %s", item);
        if (!parse_int(eq + 1, &n))
            return err_set(err, ERR_INVALID,
                           "invalid scale specifier: can't parse replica value as int: %s", item);
        char *name AUTOFREE = xstrndup(item, (size_t)(eq - item));
        strv_push(names, name);
    }
    return 0;
}

static int scale(struct cli *cli, const struct args *args, struct project *project,
                 const char *const *names, struct err *err)
{
    json_t *replicas AUTOJSON = NULL;
    bool *selected AUTOFREE = NULL;
    bool deps = !args_bool(args, "no-deps");
    if (scale_parse(project, args->positional, &replicas, err) < 0 ||
        choose_services(project, names, deps, &selected, err) < 0)
        return -1;
    const struct provision o = {.selected = selected, .pull = ""};
    if (provision(cli, project, &o, err) < 0)
        return -1;
    json_t *request AUTOJSON = request_new("up", names);
    request_project(request, project);
    request_bool(request, "no_deps", !deps);
    request_bool(request, "ignore_orphans", true);
    request_json(request, "scale", json_incref(replicas));
    return dialog_run(cli, project->name, request, "Running",
                      &(struct dialog_hooks){.project = project}, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char **names AUTOSTRV = NULL;
    struct project *project;
    if (service_names(args, &names, err) < 0 ||
        load_for_services(cli, (const char *const *)names, &project, err) < 0)
        return -1;
    int rc = scale(cli, args, project, (const char *const *)names, err);
    project_free(project);
    return rc;
}

const struct command cmd_scale = {
    .name = "scale",
    .usage = "[SERVICE=REPLICAS...]",
    .summary = "Scale services",
    .options = options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
