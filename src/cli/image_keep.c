/* compose image tag, rm, prune */
#include "base/mem.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/containers.h"
#include "cli/image_commands.h"
#include "cli/image_filter.h"
#include "image/builder.h"

char **images_in_use(struct cli *cli)
{
    char **ids = NULL;
    char **names AUTOSTRV = project_names(&cli->paths);
    for (size_t i = 0; names && names[i]; i++) {
        struct container_list list AUTOCONTAINERS = {0};
        containers_read(cli, names[i], &list, NULL);
        for (size_t c = 0; c < list.n; c++) {
            if (list.v[c].image_id)
                strv_push(&ids, list.v[c].image_id);
            for (size_t m = 0; m < list.v[c].mounts_n; m++)
                if (streq(list.v[c].mounts[m].type, "image") && list.v[c].mounts[m].name)
                    strv_push(&ids, list.v[c].mounts[m].name);
        }
    }
    return ids;
}

static void print_change(const struct image_change *change)
{
    for (char **n = change->untagged; n && *n; n++) {
        char *name AUTOFREE = reference_shorten(*n);
        cli_outf("Untagged: %s\n", name);
    }
    for (char **id = change->deleted; id && *id; id++)
        cli_outf("Deleted: %s\n", *id);
}

/* ---- tag */

static int run_tag(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    if (cli_store(cli, &store, err) < 0)
        return -1;
    return image_tag(store, args->positional[0], args->positional[1], err);
}

const struct command image_tag_command = {
    .name = "tag",
    .usage = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    .summary = "Give an image one more name",
    .args_min = 2,
    .args_max = 2,
    .wording = ARGS_DOCKER,
    .complete = "@image",
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_tag,
};

/* ---- rm */

static const struct option rm_options[] = {
    OPT_BOOL("force", 'f', "Force removal of the image"),
    OPT_BOOL("no-prune", 0, "Accepted for compatibility", .flags = OPTION_HIDDEN),
    OPTION_END,
};

static int run_rm(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    bool force = args_bool(args, "force");
    if (cli_store(cli, &store, err) < 0)
        return -1;
    char **in_use AUTOSTRV = images_in_use(cli);
    int failures = 0;
    for (size_t i = 0; i < args->n; i++) {
        struct image_change change = {0};
        struct err why AUTOERR = ERR_INIT;
        if (image_remove(store, args->positional[i], (const char *const *)in_use, force, &change,
                         &why) == 0) {
            print_change(&change);
        } else if (!force || why.kind != ERR_NOT_FOUND) {
            cli_print_error(cli, &why);
            failures++;
        }
        image_change_release(&change);
    }
    return failures ? 1 : 0;
}

const struct command image_rm = {
    .name = "rm",
    .aliases = "remove",
    .usage = "[OPTIONS] IMAGE [IMAGE...]",
    .summary = "Remove one or more images",
    .options = rm_options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .wording = ARGS_DOCKER,
    .complete = "@image",
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_rm,
};

/* ---- prune */

static const struct option prune_options[] = {
    OPT_BOOL("all", 'a', "Remove all unused images, not just dangling ones"),
    OPT_BOOL("builder", 0, "Remove the builder's cache instead: the finished steps of builds"),
    OPT_LIST("filter", 0, "Only those that match (until=TIME, label[!]=KEY[=VALUE])",
             .type = "filter"),
    OPT_BOOL("force", 'f', "Do not prompt for confirmation"),
    OPTION_END,
};

/* Images that a filter leaves out are kept like those in use. */
static int keep_filtered(struct image_store *store, const char *const *words, char ***kept,
                         struct err *err)
{
    struct image_filter filter;
    struct image_list list;
    if (image_filter_init(&filter, store, words, err) < 0 ||
        image_store_list(store, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++)
        if (!image_filter_takes(&filter, list.v[i], list.v[i]->names[0]))
            strv_push(kept, list.v[i]->id);
    image_list_release(&list);
    return 0;
}

/* docker builder prune */
static int prune_builder(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    const char *const *filter = args_list(args, "filter");
    int64_t freed;
    char size[32];
    if (filter && *filter)
        return err_set(err, ERR_INVALID, "--filter goes for images, not for the builder's cache");
    if (!args_bool(args, "force") &&
        !cli_confirm(cli, "WARNING! This will remove all build cache.\n"
                          "Are you sure you want to continue? [y/N]"))
        return 0;
    if (cli_store(cli, &store, err) < 0 || builder_prune(store, &freed, err) < 0)
        return -1;
    cli_outf("Total reclaimed space: %s\n", size_format(freed, size));
    return 0;
}

static int run_prune(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    if (args_bool(args, "builder"))
        return prune_builder(cli, args, err);
    bool all = args_bool(args, "all");
    const char *question =
        all ? "WARNING! This will remove all images without at least one container associated to "
              "them.\nAre you sure you want to continue? [y/N]"
            : "WARNING! This will remove all dangling images.\nAre you sure you want to continue? "
              "[y/N]";
    if (!args_bool(args, "force") && !cli_confirm(cli, question))
        return 0;
    if (cli_store(cli, &store, err) < 0)
        return -1;
    char **in_use AUTOSTRV = images_in_use(cli);
    if (keep_filtered(store, args_list(args, "filter"), &in_use, err) < 0)
        return -1;
    struct image_change change = {0};
    if (image_prune(store, (const char *const *)in_use, all, &change, err) < 0)
        return -1;
    char size[32];
    if (change.untagged || change.deleted)
        cli_outf("Deleted Images:\n");
    print_change(&change);
    cli_outf("%sTotal reclaimed space: %s\n", change.deleted ? "\n" : "",
             size_format(change.freed, size));
    image_change_release(&change);
    return 0;
}

const struct command image_prune_command = {
    .name = "prune",
    .usage = "[OPTIONS]",
    .summary = "Remove unused images",
    .options = prune_options,
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_prune,
};
