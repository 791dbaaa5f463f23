#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/rootfs.h"
#include "image/transfer.h"

static const struct option options[] = {
    OPT_INT("index", 0, "index of the container if service has multiple replicas."),
    OPT_STR("output", 'o', "Write to a file, instead of STDOUT", .words = "@file"),
    OPTION_END,
};

static int export(struct cli *cli, const struct container_record *c, int fd, struct err *err)
{
    struct image_store *store;
    struct rootfs root;
    char dir[48];
    if (cli_store(cli, &store, err) < 0 || rootfs_open(cli, c, &root, err) < 0)
        return -1;
    snprintf(dir, sizeof(dir), "/proc/self/fd/%d", root.fd);
    int rc = image_export(store, dir, fd, NULL, err);
    rootfs_close(&root);
    return rc;
}

static void show(struct cli *cli, const struct container_record *c, const char *output,
                 const char *status, enum progress_state state)
{
    struct progress p;
    if (!*output)
        return;
    char *text AUTOFREE = xasprintf("export %s to %s", c->name, output);
    progress_init(&p, cli, "Exporting");
    progress_event(&p, &(struct progress_event){
                           .id = c->name, .text = text, .status = status, .state = state});
    progress_flush(&p);
    progress_release(&p);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *output = args_str(args, "output");
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    if (cli_project_name(cli, &name, NULL, err) < 0 || containers_read(cli, name, &list, err) < 0)
        return -1;
    struct container_record *c = container_choose(&list, args->positional[0],
                                                  args_int(args, "index"), false, false, err);
    if (!c)
        return -1;
    if (!*output && isatty(STDOUT_FILENO))
        return err_set(err, ERR_INVALID, "output option is required when exporting to terminal");
    if (cli->dry_run)
        return 0;
    int fd AUTOCLOSE = *output ? open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
                               : dup(STDOUT_FILENO);
    if (fd < 0)
        return err_sys(err, errno, "open %s", output);
    int rc = export(cli, c, fd, err);
    show(cli, c, output, rc == 0 ? "Exported" : "Error", rc == 0 ? PROGRESS_DONE : PROGRESS_ERROR);
    return rc;
}

const struct command cmd_export = {
    .name = "export",
    .usage = "[OPTIONS] SERVICE",
    .summary = "Export a service container's filesystem as a tar archive",
    .options = options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
