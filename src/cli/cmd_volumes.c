#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/listing.h"
#include "volume/volume.h"

static const struct option options[] = {
    OPT_STR("format", 0,
            "Format output using a custom template:\n"
            "'table':            Print output in table format with column headers (default)\n"
            "'table TEMPLATE':   Print output in table format using the given Go template\n"
            "'json':             Print in JSON format\n"
            "'TEMPLATE':         Print output using the given Go template.",
            .fallback = "table", .words = "table json"),
    OPT_BOOL("quiet", 'q', "Only display volume names"),
    OPTION_END,
};

static const struct listing_column columns[] = {
    {"DRIVER", "Driver"}, {"VOLUME NAME", "Name"}, {NULL, NULL}};

static bool is_used(const struct container_list *list, const char *const *services,
                    const char *volume)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct container_record *c = &list->v[i];
        for (size_t m = 0; container_in_services(c, services) && m < c->mounts_n; m++) {
            if (c->mounts[m].name && streq(c->mounts[m].name, volume))
                return true;
        }
    }
    return false;
}

static json_t *volume_row(const struct volume_state *v)
{
    json_t *labels AUTOJSON = v->labels ? json_copy(v->labels) : json_object();
    jset_str(labels, "com.docker.compose.config-hash", v->config_hash);
    char *text AUTOFREE = labels_text(labels);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "Availability",
                          "N/A", "Driver", v->driver, "Group", "N/A", "Labels", text, "Links",
                          "N/A", "Mountpoint", v->mountpoint, "Name", v->name, "Scope", "local",
                          "Size", "N/A", "Status", "N/A");
    json_object_set(j, "_labels", labels);
    return j;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    struct volume_state *volumes AUTOFREE = NULL;
    size_t n = 0;
    if (cli_project_name(cli, &name, args->positional, err) < 0 ||
        containers_read(cli, name, &list, err) < 0 ||
        volume_list(&cli->paths, name, &volumes, &n, err) < 0)
        return -1;
    json_t *rows AUTOJSON = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct volume_state *v = &volumes[i];
        /* Anonymous volumes are their container's, not the project's. */
        bool shown = !v->anonymous && (!args->n || is_used(&list, args->positional, v->name));
        if (shown && args_bool(args, "quiet"))
            cli_outf("%s\n", v->name);
        else if (shown)
            json_array_append_new(rows, volume_row(v));
        volume_state_release(&volumes[i]);
    }
    if (args_bool(args, "quiet"))
        return 0;
    return listing_print(args_str(args, "format"), rows, columns, NULL, err);
}

const struct command cmd_volumes = {
    .name = "volumes",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "List volumes",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
