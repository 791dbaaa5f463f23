#include "base/map.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/image_jobs.h"
#include "cli/progress.h"
#include "cli/lockfile.h"
#include "cli/provision.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_BOOL("ignore-buildable", 0, "Ignore images that can be built"),
    OPT_BOOL("ignore-pull-failures", 0, "Pull what it can and ignores images with pull failures"),
    OPT_BOOL("include-deps", 0, "Also pull services declared as dependencies"),
    LOCKED_OPTION,
    OPT_BOOL("no-parallel", 0, "Obsolete", .flags = OPTION_HIDDEN),
    OPT_BOOL("parallel", 0, "Obsolete", .fallback = "true", .flags = OPTION_HIDDEN),
    OPT_STR("policy", 0, "Apply pull policy (\"missing\"|\"always\")", .words = "missing always"),
    OPT_BOOL("quiet", 'q', "Pull without printing progress information"),
    OPTION_END,
};

static bool is_here(struct cli *cli, const struct service *s)
{
    struct image_store *store;
    struct image *image = NULL;
    if (cli_store(cli, &store, NULL) < 0 ||
        image_find(store, s->image, s->platform, &image, NULL) < 0)
        return false;
    image_free(image);
    return true;
}

/* Why a service is left out, NULL: it is not. heap */
static char *skip_reason(struct cli *cli, const struct args *args, const struct service *s,
                         struct map *pulling)
{
    const char *policy = args_given(args, "policy") ? args_str(args, "policy") : s->pull_policy;
    if (!s->image)
        return xstrdup("- No image to be pulled");
    if (policy && (streq(policy, "never") || streq(policy, "build")))
        return xstrdup("");
    if (policy && (streq(policy, "missing") || streq(policy, "if_not_present")) && is_here(cli, s))
        return xstrdup("- Image is already present locally");
    if (s->build && args_bool(args, "ignore-buildable"))
        return xstrdup("- Image can be built");
    const char *other = map_get(pulling, s->image);
    return other ? xasprintf("- Image is already being pulled by %s", other) : NULL;
}

static int pull(struct cli *cli, const struct args *args, const struct project *p,
                const bool *selected, struct err *err)
{
    size_t max = p->services_n;
    for (size_t i = 0; i < p->services_n; i++)
        max += p->services[i].pre_start_n;
    struct image_job *jobs AUTOFREE = xcalloc(max + 1, sizeof(*jobs));
    struct service *steps AUTOFREE = xcalloc(max + 1, sizeof(*steps));
    char **names AUTOSTRV = NULL;
    struct map pulling AUTOMAP = MAP_INIT;
    struct progress skipped;
    size_t n = 0;
    bool quiet = args_bool(args, "quiet");
    progress_init(&skipped, cli, "Pulling");
    for (size_t i = 0; i < p->services_n; i++) {
        const struct service *s = &p->services[i];
        char *why AUTOFREE = selected[i] ? skip_reason(cli, args, s, &pulling) : NULL;
        if (why && !quiet)
            progress_event(&skipped, &(struct progress_event){.id = s->name,
                                                              .text = "Skipped",
                                                              .status = why,
                                                              .state = PROGRESS_DONE});
        if (why || !selected[i])
            continue;
        map_set(&pulling, s->image, (void *)s->name);
        jobs[n++] = (struct image_job){
            .kind = JOB_PULL,
            .service = s,
            .image = s->image,
            .policy = IMAGE_PULL_ALWAYS,
            .may_fail = args_bool(args, "ignore-pull-failures") || s->build,
        };
    }
    /* Images of pre_start steps, as the reference does: those that a service has are pulled already. */
    for (size_t i = 0, k = 0; i < p->services_n; i++)
        for (size_t h = 0; selected[i] && h < p->services[i].pre_start_n; h++) {
            const char *image = p->services[i].pre_start[h].image;
            if (!image || map_get(&pulling, image) || image_is_built(p, image))
                continue;
            char *name AUTOFREE = xasprintf("%s pre_start[%zu]", p->services[i].name, h);
            strv_push(&names, name);
            steps[k] = (struct service){.name = names[k], .platform = p->services[i].platform};
            map_set(&pulling, image, (void *)names[k]);
            jobs[n++] = (struct image_job){
                .kind = JOB_PULL,
                .service = &steps[k++],
                .image = image,
                .policy = IMAGE_PULL_ALWAYS,
                .may_fail = args_bool(args, "ignore-pull-failures"),
            };
        }
    progress_flush(&skipped);
    progress_release(&skipped);
    struct image_jobs all = {.project = p, .v = jobs, .n = n, .quiet_pull = quiet};
    int rc = image_jobs_run(cli, &all, "Pulling", err);
    for (size_t i = 0; i < n; i++)
        err_release(&jobs[i].err);
    return rc;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *policy = args_str(args, "policy");
    struct project *p;
    bool *selected = NULL;
    if (*policy && !streq(policy, "missing") && !streq(policy, "always"))
        return err_set(err, ERR_INVALID, "--policy value must be \"missing\" or \"always\"");
    if (load_for_services(cli, args->positional, &p, err) < 0)
        return -1;
    bool deps = args_bool(args, "include-deps") || !args->n;
    int rc = choose_services(p, args->positional, deps, &selected, err);
    struct lockfile lock AUTOLOCKFILE = {0};
    if (rc == 0 && args_bool(args, "locked"))
        rc = lockfile_use(&lock, p, selected, err);
    if (rc == 0)
        rc = pull(cli, args, p, selected, err);
    free(selected);
    project_free(p);
    return rc;
}

const struct command cmd_pull = {
    .name = "pull",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Pull service images",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
