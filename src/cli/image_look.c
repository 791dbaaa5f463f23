/* compose image ls, inspect, history, fsck */
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/containers.h"
#include "cli/format.h"
#include "cli/image_commands.h"
#include "cli/image_filter.h"
#include "cli/listing.h"
#include "image/transfer.h"

#define FORMAT_HELP                                                                                \
    "Format output using a custom template: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'"

/* ---- ls */

static const struct option ls_options[] = {
    OPT_BOOL("all", 'a', "Accepted for compatibility: all images are shown"),
    OPT_BOOL("digests", 0, "Show digests"),
    OPT_LIST("filter", 'f',
             "Filter output (dangling=BOOL, reference=PATTERN, label=KEY[=VALUE], before=IMAGE, "
             "since=IMAGE, until=TIME)",
             .type = "filter"),
    OPT_STR("format", 0, FORMAT_HELP, .fallback = "table", .words = "table json"),
    OPT_BOOL("no-trunc", 0, "Don't truncate output"),
    OPT_BOOL("quiet", 'q', "Only show image IDs"),
    OPTION_END,
};

static const struct listing_column ls_columns[] = {
    {"REPOSITORY", "Repository"}, {"TAG", "Tag"},   {"IMAGE ID", "ID"},
    {"CREATED", "CreatedSince"},  {"SIZE", "Size"}, {NULL, NULL},
};

static const struct listing_column ls_digest_columns[] = {
    {"REPOSITORY", "Repository"}, {"TAG", "Tag"},   {"DIGEST", "Digest"}, {"IMAGE ID", "ID"},
    {"CREATED", "CreatedSince"},  {"SIZE", "Size"}, {NULL, NULL},
};

static void split_name(const char *name, char **repository, char **tag)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    *repository = *tag = NULL;
    if (name && reference_parse(name, &ref, NULL) == 0) {
        char *full AUTOFREE = reference_repository(&ref);
        *repository = reference_shorten(full);
        char *colon = strrchr(*repository, ':');
        if (colon && !strchr(colon, '/'))
            *colon = '\0';
        *tag = ref.tag ? xstrdup(ref.tag) : NULL;
    }
    if (!*repository)
        *repository = xstrdup("<none>");
    if (!*tag)
        *tag = xstrdup("<none>");
}

/* "2026-01-02 15:04:05 +0000 UTC", as Go prints a time; out holds 64 bytes. */
static void created_text(int64_t ns, char out[64])
{
    time_t t = (time_t)(ns / 1000000000);
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(out, 64, "%Y-%m-%d %H:%M:%S %z %Z", &tm);
}

static json_t *image_row(const struct image *image, const char *name, bool whole)
{
    char *repository AUTOFREE = NULL, *tag AUTOFREE = NULL;
    split_name(name, &repository, &tag);
    char created[64] = "N/A", size[32], ago[80] = "N/A";
    char *id AUTOFREE = whole ? xstrdup(image->id) : xstrndup(image->id + 7, 12);
    if (image->created) {
        ago_text(image->created, time_now(), ago);
        created_text(image->created, created);
    }
    json_t *j = json_object();
    jset_str(j, "Repository", repository);
    jset_str(j, "Tag", tag);
    jset_str(j, "Digest", image->index_digest ? image->index_digest : image->digest);
    jset_str(j, "ID", id);
    jset_str(j, "CreatedSince", ago);
    jset_str(j, "CreatedAt", created);
    jset_str(j, "Size", size_format(image->size, size));
    return j;
}

static void add_rows(json_t *rows, const struct image *image, const struct image_filter *filter,
                     const struct args *args)
{
    bool whole = args_bool(args, "no-trunc");
    size_t n = strv_len((const char *const *)image->names);
    const char *wanted = args->n ? args->positional[0] : NULL;
    for (size_t i = 0; i < (n ? n : 1); i++) {
        const char *name = n ? image->names[i] : NULL;
        if (image_filter_takes(filter, image, name) &&
            (!wanted || image_reference_matches(name, wanted)))
            json_array_append_new(rows, image_row(image, name, whole));
    }
}

static int run_ls(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    struct image_list list = {0};
    struct image_filter filter;
    if (cli_store(cli, &store, err) < 0 ||
        image_filter_init(&filter, store, args_list(args, "filter"), err) < 0 ||
        image_store_list(store, &list, err) < 0)
        return -1;
    json_t *rows AUTOJSON = json_array();
    int rc = 0;
    for (size_t i = 0; i < list.n; i++)
        add_rows(rows, list.v[i], &filter, args);
    if (args_bool(args, "quiet")) {
        size_t i;
        json_t *row;
        json_array_foreach (rows, i, row) {
            cli_outf("%s\n", jstr(row, "ID", ""));
        }
    } else {
        const struct listing_column *columns = args_bool(args, "digests") ? ls_digest_columns
                                                                          : ls_columns;
        rc = listing_print(args_str(args, "format"), rows, columns, NULL, err);
    }
    image_list_release(&list);
    return rc;
}

const struct command image_ls = {
    .name = "ls",
    .aliases = "list",
    .usage = "[OPTIONS] [REPOSITORY[:TAG]]",
    .summary = "List images",
    .options = ls_options,
    .args_max = 1,
    .wording = ARGS_DOCKER,
    .run = run_ls,
};

/* ---- inspect */

static const struct option inspect_options[] = {
    OPT_STR("format", 'f', "Format output using a custom template: 'json' or a Go template"),
    OPT_STR("platform", 0, "Inspect a specific platform of the multi-platform image"),
    OPTION_END,
};

static json_t *names_json(const struct image *image)
{
    json_t *out = json_array();
    for (char **n = image->names; n && *n; n++) {
        char *name AUTOFREE = reference_shorten(*n);
        json_array_append_new(out, json_string(name));
    }
    return out;
}

/* What the registries call it, under the names that it was pulled by. */
static json_t *digests_json(const struct image *image)
{
    json_t *out = json_array();
    const char *digest = image->index_digest ? image->index_digest : image->digest;
    for (char **n = image->names; image->pulled && n && *n; n++) {
        char *repository AUTOFREE = NULL, *tag AUTOFREE = NULL;
        split_name(*n, &repository, &tag);
        char *text AUTOFREE = xasprintf("%s@%s", repository, digest);
        json_array_append_new(out, json_string(text));
    }
    return out;
}

static json_t *layers_json(const struct image *image)
{
    json_t *out = json_array();
    for (size_t i = 0; i < image->layers_n; i++)
        json_array_append_new(out, json_string(image->layers[i].diff_id));
    return json_pack("{s:s, s:o}", "Type", "layers", "Layers", out);
}

/* docker's shape: GET /images/NAME/json of the Engine API. */
static int inspect_json(struct image_store *store, const struct image *image, json_t **out,
                        struct err *err)
{
    json_t *raw AUTOJSON = NULL;
    char created[40];
    if (image_config_json(store, image, &raw, err) < 0)
        return -1;
    json_t *j = json_object(), *config = json_object_get(raw, "config");
    const char *comment = image->history_n ? image->history[image->history_n - 1].comment : NULL;
    jset_str(j, "Id", image->id);
    json_object_set_new(j, "RepoTags", names_json(image));
    json_object_set_new(j, "RepoDigests", digests_json(image));
    jset_str(j, "Digest", image->index_digest ? image->index_digest : image->digest);
    jset_str(j, "Comment", comment ? comment : "");
    jset_str(j, "Created", time_format(image->created, created));
    jset_str(j, "Author", image->author ? image->author : "");
    json_object_set(j, "Config", config ? config : json_null());
    jset_str(j, "Architecture", image->architecture);
    jset_str(j, "Variant", image->variant);
    jset_str(j, "Os", image->os);
    json_object_set_new(j, "Size", json_integer(image->size));
    json_object_set_new(j, "RootFS", layers_json(image));
    *out = j;
    return 0;
}

static int print_formatted(const char *format, const json_t *all, struct err *err)
{
    struct format *f;
    size_t i;
    json_t *one;
    int rc = 0;
    if (format_parse(format, &f, err) < 0)
        return -1;
    json_array_foreach (all, i, one) {
        struct strbuf out AUTOBUF = STRBUF_INIT;
        rc = rc < 0 ? rc : format_execute(f, one, &out, err);
        if (rc == 0)
            cli_outf("%s\n", out.buf);
    }
    format_free(f);
    return rc;
}

static int run_inspect(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    const char *platform = args_str(args, "platform"), *format = args_str(args, "format");
    if (cli_store(cli, &store, err) < 0)
        return -1;
    json_t *all AUTOJSON = json_array();
    for (size_t i = 0; i < args->n; i++) {
        struct image *image = NULL;
        json_t *j = NULL;
        if (image_find(store, args->positional[i], *platform ? platform : NULL, &image, err) < 0)
            return -1;
        int rc = inspect_json(store, image, &j, err);
        image_free(image);
        if (rc < 0)
            return -1;
        json_array_append_new(all, j);
    }
    if (*format && !streq(format, "json"))
        return print_formatted(format, all, err);
    char *text AUTOFREE = json_dumps(all, *format ? JSON_COMPACT : JSON_INDENT(4));
    cli_outf("%s\n", text);
    return 0;
}

const struct command image_inspect = {
    .name = "inspect",
    .usage = "[OPTIONS] IMAGE [IMAGE...]",
    .summary = "Display detailed information on one or more images",
    .options = inspect_options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .wording = ARGS_DOCKER,
    .complete = "@image",
    .run = run_inspect,
};

/* ---- history */

static const struct option history_options[] = {
    OPT_STR("format", 0, FORMAT_HELP, .fallback = "table", .words = "table json"),
    OPT_BOOL("human", 'H', "Print sizes and dates in human readable format", .fallback = "true"),
    OPT_BOOL("no-trunc", 0, "Don't truncate output"),
    OPT_STR("platform", 0, "Show history for the given platform: os[/arch[/variant]]"),
    OPT_BOOL("quiet", 'q', "Only show image IDs"),
    OPTION_END,
};

static const struct listing_column history_columns[] = {
    {"IMAGE", "ID"},  {"CREATED", "CreatedSince"}, {"CREATED BY", "CreatedBy"},
    {"SIZE", "Size"}, {"COMMENT", "Comment"},      {NULL, NULL},
};

static const struct listing_column history_exact_columns[] = {
    {"IMAGE", "ID"},  {"CREATED AT", "CreatedAt"}, {"CREATED BY", "CreatedBy"},
    {"SIZE", "Size"}, {"COMMENT", "Comment"},      {NULL, NULL},
};

static json_t *history_row(const struct image *image, const struct image_history *h, bool newest,
                           int64_t bytes, const struct args *args)
{
    enum { SHOWN = 44 };
    bool whole = args_bool(args, "no-trunc");
    char size[32], ago[80] = "N/A", when[40];
    const char *by = h->created_by ? h->created_by : "";
    bool cut = !whole && strlen(by) > SHOWN;
    char *text AUTOFREE = cut ? xasprintf("%.*s…", SHOWN, by) : xstrdup(by);
    char *id AUTOFREE = !newest ? xstrdup("<missing>")
                        : whole ? xstrdup(image->id)
                                : xstrndup(image->id + 7, 12);
    if (h->created)
        ago_text(h->created, time_now(), ago);
    time_format(h->created, when);
    memcpy(when + strlen("2026-01-02T03:04:05"), "Z", 2); /* whole seconds, as docker prints it */
    if (args_bool(args, "human"))
        size_format(bytes, size);
    else
        snprintf(size, sizeof(size), "%lld", (long long)bytes);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "ID", id, "CreatedSince", ago, "CreatedAt",
                     when, "CreatedBy", text, "Size", size, "Comment",
                     h->comment ? h->comment : "");
}

static json_t *history_rows(const struct image *image, const struct args *args)
{
    json_t *rows = json_array();
    size_t layer = image->layers_n;
    for (size_t i = image->history_n; i-- > 0;) {
        const struct image_history *h = &image->history[i];
        int64_t bytes = 0;
        if (!h->empty_layer && layer > 0) {
            const struct image_layer *l = &image->layers[--layer];
            bytes = l->unpacked ? l->unpacked : l->size;
        }
        json_array_append_new(rows, history_row(image, h, i + 1 == image->history_n, bytes, args));
    }
    return rows;
}

static int run_history(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    struct image *image = NULL;
    const char *platform = args_str(args, "platform");
    if (cli_store(cli, &store, err) < 0 ||
        image_find(store, args->positional[0], *platform ? platform : NULL, &image, err) < 0)
        return -1;
    json_t *rows AUTOJSON = history_rows(image, args), *row;
    image_free(image);
    if (args_bool(args, "quiet")) {
        size_t i;
        json_array_foreach (rows, i, row) {
            cli_outf("%s\n", jstr(row, "ID", ""));
        }
        return 0;
    }
    return listing_print(args_str(args, "format"), rows,
                         args_bool(args, "human") ? history_columns : history_exact_columns, NULL,
                         err);
}

const struct command image_history = {
    .name = "history",
    .usage = "[OPTIONS] IMAGE",
    .summary = "Show the history of an image",
    .options = history_options,
    .args_min = 1,
    .args_max = 1,
    .wording = ARGS_DOCKER,
    .complete = "@image",
    .run = run_history,
};

/* ---- fsck */

static const struct option fsck_options[] = {
    OPT_BOOL("deep", 0, "Also check the digest of each blob, and each file of each unpacked layer"),
    OPT_BOOL(
        "mend", 0,
        "Put unpacked layers right, and remove what is damaged otherwise, so that it is pulled "
        "or built again"),
    OPTION_END,
};

static void on_finding(void *ctx, const char *line)
{
    (void)ctx;
    cli_outf("%s\n", line);
}

static int run_fsck(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    size_t findings = 0, layers = 0;
    bool mend = args_bool(args, "mend"), deep = args_bool(args, "deep");
    if (cli_store(cli, &store, err) < 0 ||
        image_check(store, deep, mend, on_finding, NULL, &findings, err) < 0 ||
        (deep && image_compare(store, mend, on_finding, NULL, &layers, NULL, err) < 0))
        return -1;
    findings += layers;
    cli_outf("%zu finding%s%s\n", findings, findings == 1 ? "" : "s",
             findings && mend ? ", mended" : "");
    return findings && !mend ? 1 : 0;
}

const struct command image_fsck = {
    .name = "fsck",
    .usage = "[OPTIONS]",
    .summary = "Check the image store, and mend it",
    .options = fsck_options,
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_fsck,
};
