#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/listing.h"

static const struct option options[] = {
    OPT_BOOL("all", 'a',
             "Show all stopped containers (including those created by the run command)"),
    OPT_STR("filter", 0, "Filter services by a property (supported filters: status)"),
    OPT_STR("format", 0,
            "Format output using a custom template:\n"
            "'table':            Print output in table format with column headers (default)\n"
            "'table TEMPLATE':   Print output in table format using the given Go template\n"
            "'json':             Print in JSON format\n"
            "'TEMPLATE':         Print output using the given Go template.",
            .fallback = "table", .words = "table json"),
    OPT_BOOL("no-trunc", 0, "Don't truncate output"),
    OPT_BOOL("orphans", 0, "Include orphaned services (not declared by project)",
             .fallback = "true"),
    OPT_BOOL("quiet", 'q', "Only display IDs"),
    OPT_BOOL("services", 0, "Display services"),
    OPT_LIST(
        "status", 0,
        "Filter services by status. Values: [paused | restarting | removing | running | dead | "
        "created | exited]",
        .words = "paused restarting removing running dead created exited"),
    OPTION_END,
};

static const struct listing_column columns[] = {
    {"NAME", "Name"},          {"IMAGE", "Image"},   {"COMMAND", "Command"}, {"SERVICE", "Service"},
    {"CREATED", "RunningFor"}, {"STATUS", "Status"}, {"PORTS", "Ports"},     {NULL, NULL},
};

static const struct listing_column headings[] = {
    {"CONTAINER ID", "ID"},       {"CREATED AT", "CreatedAt"},       {"EXIT CODE", "ExitCode"},
    {"PUBLISHERS", "Publishers"}, {"LOCAL VOLUMES", "LocalVolumes"}, {NULL, NULL},
};

struct selection {
    const char *const *services;
    const char *const *status;
    const char *filter_status;     /* of --filter, NULL: none */
    bool all;                      /* one-offs and stopped ones too */
    const struct project *project; /* NULL: orphans are shown */
};

static bool is_selected(const struct selection *s, const struct container_record *c)
{
    const char *status = container_status_name(c->status);
    if (!container_in_services(c, s->services) || (c->oneoff && !s->all))
        return false;
    if (s->project && !project_service(s->project, c->service))
        return false;
    if (s->filter_status && !streq(s->filter_status, status))
        return false;
    bool wanted = !s->status[0];
    for (size_t i = 0; s->status[i] && !wanted; i++)
        wanted = streq(s->status[i], status);
    return wanted && (s->all || container_is_up(c));
}

static void print_services(const struct container_list *list, const struct selection *s)
{
    const char *last = "";
    for (size_t i = 0; i < list->n; i++) {
        if (is_selected(s, &list->v[i]) && !streq(last, list->v[i].service))
            cli_outf("%s\n", last = list->v[i].service);
    }
}

static int print_all(const struct args *args, const struct container_list *list,
                     const struct selection *s, struct err *err)
{
    bool whole = args_bool(args, "no-trunc");
    json_t *rows AUTOJSON = json_array();
    for (size_t i = 0; i < list->n; i++) {
        if (is_selected(s, &list->v[i]))
            json_array_append_new(rows, container_json(&list->v[i], whole));
    }
    return listing_print(args_str(args, "format"), rows, columns, headings, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *filter = args_str(args, "filter");
    struct selection s = {
        .services = args->positional,
        .status = args_list(args, "status"),
    };
    if (*filter) {
        if (!starts_with(filter, "status="))
            return err_set(err, ERR_INVALID,
                           strchr(filter, '=') ? "unknown filter %.*s"
                                               : "arguments to --filter should be in form KEY=VAL",
                           (int)strcspn(filter, "="), filter);
        s.filter_status = filter + strlen("status=");
    }
    s.all = args_bool(args, "all") || s.filter_status || s.status[0];

    char *name AUTOFREE = NULL;
    struct project *project = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, args->positional, err) < 0)
        return -1;
    if (!args_bool(args, "orphans") && cli_project(cli, NULL, &project, err) < 0)
        return -1;
    s.project = project;
    int rc = containers_read(cli, name, &list, err);
    if (rc == 0 && args_bool(args, "quiet")) {
        for (size_t i = 0; i < list.n; i++) {
            if (is_selected(&s, &list.v[i]))
                cli_outf("%s\n", list.v[i].id);
        }
    } else if (rc == 0 && args_bool(args, "services")) {
        print_services(&list, &s);
    } else if (rc == 0) {
        rc = print_all(args, &list, &s, err);
    }
    project_free(project);
    return rc;
}

const struct command cmd_ps = {
    .name = "ps",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "List containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
