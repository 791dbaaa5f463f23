/* compose image pull, push, load, save, import */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/image_commands.h"
#include "cli/image_jobs.h"

/* A transfer of images that belong to no service: each name stands for one. */
static int run_jobs(struct cli *cli, const struct args *args, enum image_job_kind kind,
                    const char *platform, const char *title, struct err *err)
{
    static const struct project none;
    struct service *services AUTOFREE = xcalloc(args->n, sizeof(*services));
    struct image_job *jobs AUTOFREE = xcalloc(args->n, sizeof(*jobs));
    for (size_t i = 0; i < args->n; i++) {
        services[i] = (struct service){.name = args->positional[i], .platform = platform};
        jobs[i] = (struct image_job){
            .kind = kind,
            .service = &services[i],
            .image = args->positional[i],
            .policy = IMAGE_PULL_ALWAYS,
        };
    }
    struct image_jobs all = {
        .project = &none, .v = jobs, .n = args->n, .quiet_pull = args_bool(args, "quiet")};
    return image_jobs_run(cli, &all, title, err);
}

/* ---- pull, push */

static const struct option pull_options[] = {
    OPT_STR("platform", 0, "Pull for this platform: os[/arch[/variant]]"),
    OPT_BOOL("quiet", 'q', "Suppress verbose output"),
    OPTION_END,
};

static int run_pull(struct cli *cli, const struct args *args, struct err *err)
{
    const char *platform = args_str(args, "platform");
    return run_jobs(cli, args, JOB_PULL, *platform ? platform : NULL, "Pulling", err);
}

const struct command image_pull_command = {
    .name = "pull",
    .usage = "[OPTIONS] NAME[:TAG|@DIGEST] [NAME...]",
    .summary = "Download images from a registry",
    .options = pull_options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .wording = ARGS_DOCKER,
    .run = run_pull,
};

static const struct option push_options[] = {
    OPT_BOOL("quiet", 'q', "Suppress verbose output"),
    OPTION_END,
};

static int run_push(struct cli *cli, const struct args *args, struct err *err)
{
    return run_jobs(cli, args, JOB_PUSH, NULL, "Pushing", err);
}

const struct command image_push_command = {
    .name = "push",
    .usage = "[OPTIONS] NAME[:TAG] [NAME...]",
    .summary = "Upload images to a registry",
    .options = push_options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .wording = ARGS_DOCKER,
    .complete = "@image",
    .run = run_push,
};

/* ---- load */

static int open_input(const char *path, struct err *err)
{
    if (streq(path, "-"))
        return dup(STDIN_FILENO);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err_sys(err, errno, "open %s", path);
    return fd;
}

static const struct option load_options_table[] = {
    OPT_STR("input", 'i', "Read from tar archive file, instead of STDIN", .words = "@file"),
    OPT_STR("platform", 0, "Load only this platform: os[/arch[/variant]]"),
    OPT_BOOL("quiet", 'q', "Suppress the load output"),
    OPTION_END,
};

static int run_load(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    const char *input = args_str(args, "input"), *platform = args_str(args, "platform");
    if (!*input && isatty(STDIN_FILENO))
        return err_set(err, ERR_INVALID, "requested load from stdin, but stdin is empty");
    int fd AUTOCLOSE = open_input(*input ? input : "-", err);
    if (fd < 0 || cli_store(cli, &store, err) < 0)
        return -1;
    const struct load_request request = {
        .fd = fd,
        .source = *input ? input : "stdin",
        .platform = *platform ? platform : NULL,
    };
    char **names AUTOSTRV = NULL;
    if (image_load(store, &request, &names, err) < 0)
        return -1;
    for (char **n = names; n && *n && !args_bool(args, "quiet"); n++) {
        char *name AUTOFREE = reference_shorten(*n);
        cli_outf("Loaded image: %s\n", name);
    }
    return 0;
}

const struct command image_load_command = {
    .name = "load",
    .usage = "[OPTIONS]",
    .summary = "Load images from a tar archive or STDIN",
    .options = load_options_table,
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_load,
};

/* ---- save */

static const struct option save_options[] = {
    OPT_STR("format", 0, "Form of the archive: docker (OCI layout and Docker's manifest) or oci",
            .fallback = "docker", .words = "docker oci"),
    OPT_STR("output", 'o', "Write to a file, instead of STDOUT", .words = "@file"),
    OPTION_END,
};

static int run_save(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    const char *output = args_str(args, "output"), *format = args_str(args, "format");
    if (!streq(format, "docker") && !streq(format, "oci"))
        return err_set(err, ERR_INVALID, "unsupported format \"%s\"", format);
    if (!*output && isatty(STDOUT_FILENO))
        return err_set(err, ERR_INVALID,
                       "cowardly refusing to save to a terminal. Use the -o flag or redirect");
    int fd AUTOCLOSE = *output ? open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
                               : dup(STDOUT_FILENO);
    if (fd < 0)
        return err_sys(err, errno, "open %s", output);
    const struct save_request request = {
        .fd = fd, .references = args->positional, .oci = streq(format, "oci")};
    int rc = cli_store(cli, &store, err);
    if (rc == 0)
        rc = image_save(store, &request, err);
    if (rc < 0 && *output)
        unlink(output);
    return rc;
}

const struct command image_save_command = {
    .name = "save",
    .usage = "[OPTIONS] IMAGE [IMAGE...]",
    .summary = "Save images to a tar archive (streamed to STDOUT by default)",
    .options = save_options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .wording = ARGS_DOCKER,
    .complete = "@image",
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_save,
};

/* ---- import */

static const struct option import_options[] = {
    OPT_LIST("change", 'c', "Apply Dockerfile instruction to the created image"),
    OPT_STR("message", 'm', "Set commit message for imported image"),
    OPT_STR("platform", 0, "Set platform of the image: os[/arch[/variant]]"),
    OPTION_END,
};

static int run_import(struct cli *cli, const struct args *args, struct err *err)
{
    struct image_store *store;
    const char *source = args->positional[0], *message = args_str(args, "message");
    const char *platform = args_str(args, "platform");
    int fd AUTOCLOSE = open_input(source, err);
    if (fd < 0 || cli_store(cli, &store, err) < 0)
        return -1;
    const struct import_request request = {
        .fd = fd,
        .source = streq(source, "-") ? "stdin" : source,
        .reference = args->n > 1 ? args->positional[1] : NULL,
        .changes = args_list(args, "change"),
        .message = *message ? message : NULL,
        .platform = *platform ? platform : NULL,
    };
    char *id AUTOFREE = NULL;
    if (image_import(store, &request, &id, err) < 0)
        return -1;
    cli_outf("%s\n", id);
    return 0;
}

const struct command image_import_command = {
    .name = "import",
    .usage = "[OPTIONS] file|- [REPOSITORY[:TAG]]",
    .summary = "Make an image of a root file system in a tar archive",
    .options = import_options,
    .args_min = 1,
    .args_max = 2,
    .wording = ARGS_DOCKER,
    .complete = "@file",
    .flags = COMMAND_NO_DRY_RUN,
    .run = run_import,
};
