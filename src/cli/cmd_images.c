#include <stdio.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/table.h"

static const struct option options[] = {
    OPT_STR("format", 0, "Format the output. Values: [table | json]", .fallback = "table",
            .words = "table json"),
    OPT_BOOL("quiet", 'q', "Only display IDs"),
    OPTION_END,
};

struct row {
    const struct container_record *container;
    struct image *image; /* NULL: no longer in the store */
    char *repository, *tag;
};

static void name_row(struct row *r)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (!r->container->image || reference_parse(r->container->image, &ref, NULL) < 0) {
        r->repository = xstrdup("<none>");
        r->tag = xstrdup("<none>");
        return;
    }
    char *repository AUTOFREE = reference_repository(&ref);
    r->repository = reference_shorten(repository);
    char *at = strrchr(r->repository, ':');
    if (at && !strchr(at, '/'))
        *at = '\0'; /* the short form of a name ends with :latest */
    r->tag = xstrdup(ref.tag ? ref.tag : "<none>");
}

static const char *image_id(const struct row *r)
{
    return r->image ? r->image->id : r->container->image_id ? r->container->image_id : "";
}

static char *platform_of(const struct row *r)
{
    if (!r->image)
        return xstrdup("");
    return xasprintf("%s/%s%s%s", r->image->os, r->image->architecture,
                     r->image->variant ? "/" : "", r->image->variant ? r->image->variant : "");
}

static void print_json(const struct row *rows, size_t n)
{
    json_t *all AUTOJSON = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct row *r = &rows[i];
        char *platform AUTOFREE = platform_of(r);
        char when[40];
        json_t *j = json_object();
        jset_str(j, "ID", image_id(r));
        jset_str(j, "ContainerName", r->container->name);
        jset_str(j, "Repository", r->repository);
        jset_str(j, "Tag", r->tag);
        jset_str(j, "Platform", platform);
        json_object_set_new(j, "Size", json_integer(r->image ? r->image->size : 0));
        jset_str(j, "Created", time_format(r->image ? r->image->created : 0, when));
        int64_t tagged = !r->image ? 0 : r->image->pulled ? r->image->pulled : r->image->created;
        jset_str(j, "LastTagTime", time_format(tagged, when));
        json_array_append_new(all, j);
    }
    char *text AUTOFREE = json_dumps(all, JSON_COMPACT);
    cli_outf("%s\n\n", text);
}

static void print_table(const struct row *rows, size_t n)
{
    struct table t AUTOTABLE = TABLE_WIDE;
    table_row(&t, "CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED",
              NULL);
    for (size_t i = 0; i < n; i++) {
        const struct row *r = &rows[i];
        const char *id = image_id(r);
        char *short_id AUTOFREE = xstrndup(starts_with(id, "sha256:") ? id + 7 : id, 12);
        char *platform AUTOFREE = platform_of(r);
        char size[32], ago[80] = "N/A";
        size_format(r->image ? r->image->size : 0, size);
        if (r->image && r->image->created)
            ago_text(r->image->created, time_now(), ago);
        table_row(&t, r->container->name, r->repository, r->tag, platform, short_id, size, ago,
                  NULL);
    }
    table_print(&t);
}

static void print_ids(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = streq(image_id(&rows[k]), image_id(&rows[i]));
        const char *id = image_id(&rows[i]);
        if (!seen)
            cli_outf("%s\n", starts_with(id, "sha256:") ? id + 7 : id);
    }
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *format = args_str(args, "format");
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    struct image_store *store;
    if (!streq(format, "table") && !streq(format, "json"))
        return err_set(err, ERR_INVALID, "format value \"%s\" could not be parsed: parsing failed",
                       format);
    if (cli_project_name(cli, &name, NULL, err) < 0 || containers_read(cli, name, &list, err) < 0 ||
        cli_store(cli, &store, err) < 0)
        return -1;
    struct row *rows AUTOFREE = xcalloc(list.n + 1, sizeof(*rows));
    size_t n = 0;
    for (size_t i = 0; i < list.n; i++) {
        if (!container_in_services(&list.v[i], args->positional))
            continue;
        rows[n].container = &list.v[i];
        if (list.v[i].image_id)
            image_find(store, list.v[i].image_id, NULL, &rows[n].image, NULL);
        name_row(&rows[n++]);
    }
    if (args_bool(args, "quiet"))
        print_ids(rows, n);
    else if (streq(format, "json"))
        print_json(rows, n);
    else
        print_table(rows, n);
    for (size_t i = 0; i < n; i++) {
        image_free(rows[i].image);
        free(rows[i].repository);
        free(rows[i].tag);
    }
    return 0;
}

const struct command cmd_images = {
    .name = "images",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "List images used by the created containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
