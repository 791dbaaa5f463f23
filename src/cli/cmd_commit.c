#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/progress.h"
#include "image/transfer.h"
#include "runtime/oci.h"

static const struct option options[] = {
    OPT_STR("author", 'a', "Author (e.g., \"Ada Example <ada@example.org>\")"),
    OPT_LIST("change", 'c', "Apply Dockerfile instruction to the created image", .type = "list"),
    OPT_INT("index", 0, "index of the container if service has multiple replicas."),
    OPT_STR("message", 'm', "Commit message"),
    OPT_BOOL("pause", 'p', "Pause container during commit", .fallback = "true"),
    OPTION_END,
};

static const char *text_or_null(const struct args *args, const char *name)
{
    const char *s = args_str(args, name);
    return *s ? s : NULL;
}

static int commit(struct cli *cli, const struct args *args, const struct container_record *c,
                  char **id, struct err *err)
{
    struct image_store *store;
    char *dir AUTOFREE = container_dir(cli, c);
    char *upper AUTOFREE = path_join(dir, "upper");
    const struct commit_request request = {
        .base = c->image_id,
        .upper = upper,
        .reference = args->n > 1 ? args->positional[1] : NULL,
        .author = text_or_null(args, "author"),
        .message = text_or_null(args, "message"),
        .changes = args_list(args, "change"),
    };
    return cli_store(cli, &store, err) < 0 ? -1 : image_commit(store, &request, id, err);
}

/* The container stands still while its files are read. */
static int commit_paused(struct cli *cli, const struct args *args, const struct container_record *c,
                         char **id, struct err *err)
{
    struct oci_runtime rt = {0};
    bool pause = args_bool(args, "pause") && c->status == CONTAINER_RUNNING;
    if (pause && (oci_runtime_choose(c->runtime, cli->paths.run, &rt, err) < 0 ||
                  oci_pause(&rt, c->id, err) < 0)) {
        oci_runtime_release(&rt);
        return -1;
    }
    int rc = commit(cli, args, c, id, err);
    struct err again AUTOERR = ERR_INIT;
    if (pause && oci_resume(&rt, c->id, &again) < 0)
        cli_warn(cli, "%s could not be resumed: %s", c->name, again.msg);
    oci_runtime_release(&rt);
    return rc;
}

static void show(struct progress *p, const struct container_record *c, const char *status,
                 enum progress_state state)
{
    char *text AUTOFREE = xasprintf("Commit %s", c->name);
    progress_event(
        p, &(struct progress_event){.id = c->name, .text = text, .status = status, .state = state});
    progress_tick(p);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL, *id AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, NULL, err) < 0 || containers_read(cli, name, &list, err) < 0)
        return -1;
    struct container_record *c = container_choose(&list, args->positional[0],
                                                  args_int(args, "index"), false, false, err);
    if (!c)
        return -1;
    struct progress p;
    progress_init(&p, cli, "Committing");
    show(&p, c, "Committing", PROGRESS_WORKING);
    int rc = cli->dry_run ? 0 : commit_paused(cli, args, c, &id, err);
    char *done AUTOFREE = id ? xasprintf("Committed as %s", id) : xstrdup("Committed");
    show(&p, c, rc < 0 ? "Error" : done, rc < 0 ? PROGRESS_ERROR : PROGRESS_DONE);
    progress_flush(&p);
    progress_release(&p);
    return rc;
}

const struct command cmd_commit = {
    .name = "commit",
    .usage = "[OPTIONS] SERVICE [REPOSITORY[:TAG]]",
    .summary = "Create a new image from a service container's changes",
    .options = options,
    .args_min = 1,
    .args_max = 2,
    .complete = "@service",
    .run = run,
};
