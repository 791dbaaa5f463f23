#include <regex.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/table.h"

static const struct option options[] = {
    OPT_BOOL("all", 'a', "Show all stopped Compose projects"),
    OPT_LIST("filter", 0, "Filter output based on conditions provided", .type = "filter"),
    OPT_STR("format", 0, "Format the output. Values: [table | json]", .fallback = "table",
            .words = "table json"),
    OPT_BOOL("quiet", 'q', "Only display project names"),
    OPTION_END,
};

/* "exited(1), running(2)"; heap, NULL when the project has no containers. up: any that run. */
static char *project_status(const struct container_list *list, bool all, bool *up)
{
    static const enum container_status order[] = {
        CONTAINER_CREATED,  CONTAINER_DEAD,       CONTAINER_EXITED,  CONTAINER_PAUSED,
        CONTAINER_REMOVING, CONTAINER_RESTARTING, CONTAINER_RUNNING,
    };
    struct strbuf out = STRBUF_INIT;
    *up = false;
    for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
        size_t n = 0;
        for (size_t i = 0; i < list->n; i++) {
            n += list->v[i].status == order[k];
            *up = *up || container_is_up(&list->v[i]);
        }
        bool stopped = order[k] == CONTAINER_CREATED || order[k] == CONTAINER_DEAD ||
                       order[k] == CONTAINER_EXITED;
        if (n && (all || !stopped))
            strbuf_addf(&out, "%s%s(%zu)", out.len ? ", " : "", container_status_name(order[k]), n);
    }
    return strbuf_detach(&out);
}

static bool name_matches(const char *name, const char *const *filters, struct err *err, int *rc)
{
    bool any = false, hit = false;
    for (; *filters; filters++) {
        size_t key = strcspn(*filters, "=");
        if (key != 4 || strncmp(*filters, "name", 4) != 0 || !(*filters)[key]) {
            *rc = err_set(err, ERR_INVALID, "invalid filter '%.*s'", (int)key, *filters);
            return false;
        }
        regex_t re;
        if (regcomp(&re, *filters + 5, REG_EXTENDED | REG_NOSUB) != 0) {
            *rc = err_set(err, ERR_INVALID, "invalid filter 'name=%s'", *filters + 5);
            return false;
        }
        any = true;
        hit = hit || regexec(&re, name, 0, NULL, 0) == 0;
        regfree(&re);
    }
    return !any || hit;
}

static const char *config_files(const struct container_list *list)
{
    const char *files = "";
    for (size_t i = 0; i < list->n && !*files; i++)
        files = jstr(list->v[i].labels, "com.docker.compose.project.config_files", "");
    return *files ? files : "N/A";
}

static int add_project(struct cli *cli, const struct args *args, const char *name, json_t *rows,
                       struct err *err)
{
    struct container_list list AUTOCONTAINERS = {0};
    int rc = 0;
    if (!name_matches(name, args_list(args, "filter"), err, &rc))
        return rc;
    if (containers_read(cli, name, &list, err) < 0)
        return -1;
    bool up;
    char *status AUTOFREE = project_status(&list, args_bool(args, "all"), &up);
    if (!list.n || (!up && !args_bool(args, "all")))
        return 0;
    json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "Name", name, "Status", status,
                                          "ConfigFiles", config_files(&list)));
    return 0;
}

static void print_json(const json_t *rows)
{
    /* The reference keeps this order of members and ends with an empty line. */
    char *text AUTOFREE = json_dumps(rows, JSON_COMPACT);
    cli_outf("%s\n\n", text);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *format = args_str(args, "format");
    if (!streq(format, "table") && !streq(format, "json") && !streq(format, "pretty") && *format)
        return err_set(err, ERR_INVALID, "format value \"%s\" could not be parsed: parsing failed",
                       format);
    if (cli_paths(cli, err) < 0)
        return -1;
    char **names AUTOSTRV = project_names(&cli->paths);
    json_t *rows AUTOJSON = json_array();
    int rc = 0;
    name_matches("", args_list(args, "filter"), err, &rc);
    for (size_t i = 0; rc == 0 && names && names[i]; i++)
        rc = add_project(cli, args, names[i], rows, err);
    if (rc < 0)
        return -1;
    if (!args_bool(args, "quiet") && streq(format, "json")) {
        print_json(rows);
        return 0;
    }
    struct table t AUTOTABLE = TABLE_WIDE;
    table_row(&t, "NAME", "STATUS", "CONFIG FILES", NULL);
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        if (args_bool(args, "quiet"))
            cli_outf("%s\n", jstr(row, "Name", ""));
        else
            table_row(&t, jstr(row, "Name", ""), jstr(row, "Status", ""),
                      jstr(row, "ConfigFiles", ""), NULL);
    }
    if (!args_bool(args, "quiet"))
        table_print(&t);
    return 0;
}

const struct command cmd_ls = {
    .name = "ls",
    .usage = "[OPTIONS]",
    .summary = "List running compose projects",
    .options = options,
    .run = run,
};
