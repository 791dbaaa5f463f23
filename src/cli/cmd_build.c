#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/units.h"
#include "cli/bake.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/image_jobs.h"
#include "cli/lockfile.h"
#include "cli/provision.h"
#include "cli/push_jobs.h"
#include "cli/unsupported.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_LIST("build-arg", 0, "Set build-time variables for services"),
    OPT_STR("builder", 0, "Accepted for compatibility: images are built by buildah"),
    OPT_BOOL("check", 0, "Check build configuration"),
    OPT_BOOL("compress", 0, "Obsolete", .flags = OPTION_HIDDEN),
    OPT_BOOL("force-rm", 0, "Obsolete", .flags = OPTION_HIDDEN),
    LOCKED_OPTION,
    OPT_STR("memory", 'm', "Set memory limit for the build container.", .type = "bytes"),
    OPT_BOOL("no-cache", 0, "Do not use cache when building the image"),
    OPT_BOOL("no-rm", 0, "Obsolete", .flags = OPTION_HIDDEN),
    OPT_BOOL("parallel", 0, "Obsolete", .fallback = "true", .flags = OPTION_HIDDEN),
    OPT_BOOL("print", 0, "Print equivalent bake file"),
    OPT_STR("progress", 0, "Obsolete: use the global option", .flags = OPTION_HIDDEN),
    OPT_STR("provenance", 0, "Accepted for compatibility: no attestation is made"),
    OPT_BOOL("pull", 0, "Always attempt to pull a newer version of the image"),
    OPT_BOOL("push", 0, "Push service images"),
    OPT_BOOL("quiet", 'q', "Suppress the build output"),
    OPT_STR("sbom", 0, "Accepted for compatibility: no attestation is made"),
    OPT_STR("ssh", 0,
            "Set SSH authentications used when building service images. (use 'default' for using "
            "your default SSH Agent)"),
    OPT_BOOL("with-dependencies", 0, "Also build dependencies (transitively)"),
    OPTION_END,
};

/* Services that another one's build context names are built too. */
static void add_context_services(const struct project *p, bool *selected)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < p->services_n; i++) {
            const struct build *b = selected[i] ? p->services[i].build : NULL;
            for (size_t k = 0; b && k < b->additional_contexts.n; k++) {
                const char *value = b->additional_contexts.v[k].value;
                const struct service *s = value && starts_with(value, "service:")
                                              ? project_service(p, value + strlen("service:"))
                                              : NULL;
                if (s && !selected[s - p->services])
                    more = selected[s - p->services] = true;
            }
        }
    }
}

static int print_bake(const struct args *args, const struct project *p, const bool *selected,
                      char **names, const struct build_flags *flags, struct err *err)
{
    bool *shown AUTOFREE = NULL;
    if (choose_services(p, args->positional, true, &shown, err) < 0)
        return -1;
    const struct bake bake = {
        .project = p,
        .names = names,
        .selected = selected,
        .shown = shown,
        .flags = flags,
        .push = args_bool(args, "push"),
        .check = args_bool(args, "check"),
    };
    json_t *j AUTOJSON = bake_json(&bake);
    char *text AUTOFREE = json_dumps(j, JSON_INDENT(2));
    cli_outf("%s\n", text);
    return 0;
}

struct lint {
    const char *file;
    size_t warnings;
};

static void on_warning(void *ctx, const char *rule, const char *message, size_t line)
{
    struct lint *l = ctx;
    l->warnings++;
    cli_outf("%s:%zu: warning: %s: %s\n", l->file, line, rule, message);
}

/* --check: what is questionable in the Dockerfiles; exit code 1 if anything is. */
static int check_dockerfiles(struct cli *cli, const struct image_job *jobs, size_t n,
                             struct err *err)
{
    size_t warnings = 0;
    struct image_store *store;
    if (cli_store(cli, &store, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct service *s = jobs[i].service;
        const char *name = s->build->dockerfile ? s->build->dockerfile : "Dockerfile";
        char *path AUTOFREE = s->build->dockerfile_inline
                                  ? xasprintf("%s (dockerfile_inline)", s->name)
                                  : path_join(s->build->context, name);
        struct lint l = {.file = path};
        struct err why AUTOERR = ERR_INIT;
        const struct build_request request = {
            .service = s->name, .build = s->build, .platform = s->platform};
        if (image_lint(store, &request, on_warning, &l, &why) < 0) {
            if (why.kind != ERR_UNAVAILABLE) {
                err_move(err, &why);
                return err_wrap(err, "service \"%s\"", s->name);
            }
            cli_warn(cli, "service \"%s\" is not checked: %s", s->name, why.msg);
        }
        warnings += l.warnings;
    }
    if (warnings)
        cli_outf("Check complete, %zu warning%s been found!\n", warnings,
                 warnings == 1 ? " has" : "s have");
    else
        cli_outf("Check complete, no warnings found.\n");
    return warnings ? 1 : 0;
}

static int build(struct cli *cli, const struct args *args, struct project *p, const bool *selected,
                 char **names, struct err *err)
{
    struct lockfile lock AUTOLOCKFILE = {0};
    struct build_pin *pins AUTOFREE = NULL;
    struct build_flags flags = {
        .all_platforms = true,
        .no_cache = args_bool(args, "no-cache"),
        .pull = args_bool(args, "pull"),
        .quiet = args_bool(args, "quiet"),
        .args = args_list(args, "build-arg"),
        .ssh = args_str(args, "ssh"),
    };
    const char *memory = args_str(args, "memory");
    if (*memory && !size_parse(memory, &flags.memory))
        return err_set(err, ERR_INVALID,
                       "invalid argument \"%s\" for \"-m, --memory\" flag: invalid size: '%s'",
                       memory, memory);
    if (args_bool(args, "locked")) {
        if (lockfile_use(&lock, p, selected, err) < 0)
            return -1;
        flags.pins = pins = lockfile_pins(&lock);
        flags.pins_n = lock.entries.n;
    }
    struct image_job *jobs AUTOFREE = xcalloc(p->services_n + 1, sizeof(*jobs));
    size_t n = 0;
    for (size_t i = 0; i < p->services_n; i++) {
        if (selected[i] && p->services[i].build)
            jobs[n++] = (struct image_job){
                .kind = JOB_BUILD, .service = &p->services[i], .image = names[i]};
    }
    if (args_bool(args, "print"))
        return print_bake(args, p, selected, names, &flags, err);
    if (args_bool(args, "check"))
        return check_dockerfiles(cli, jobs, n, err);
    warn_unsupported(cli, p, "build.");
    struct image_jobs all = {.project = p, .v = jobs, .n = n, .build = &flags};
    if (flags.quiet)
        cli->progress = PROGRESS_QUIET;
    if (image_jobs_run(cli, &all, "Building", err) < 0)
        return -1;
    return args_bool(args, "push") ? push_services(cli, p, selected, true, false, false, err) : 0;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct project *p;
    bool *selected = NULL;
    char **names AUTOSTRV = NULL;
    if (load_for_services(cli, args->positional, &p, err) < 0)
        return -1;
    int rc = choose_services(p, args->positional, args_bool(args, "with-dependencies"), &selected,
                             err);
    for (size_t i = 0; i < p->services_n; i++) {
        char *name AUTOFREE = service_image_name(p, &p->services[i]);
        strv_push(&names, name);
    }
    if (rc == 0) {
        add_context_services(p, selected);
        rc = build(cli, args, p, selected, names, err);
    }
    free(selected);
    project_free(p);
    return rc;
}

const struct command cmd_build = {
    .name = "build",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Build or rebuild services",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
