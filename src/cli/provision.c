#include "cli/provision.h"

#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/units.h"
#include "cli/image_jobs.h"
#include "cli/progress.h"
#include "cli/provider.h"
#include "cli/reasons.h"
#include "model/changes.h"
#include "model/graph.h"

#define HOUR (3600LL * 1000000000)

int choose_services(const struct project *p, const char *const *names, bool with_dependencies,
                    bool **selected, struct err *err)
{
    struct graph g;
    if (graph_init(&g, p, err) < 0)
        return -1;
    const struct strings wanted = {(const char **)names, strv_len(names)};
    *selected = xcalloc(p->services_n + 1, sizeof(**selected));
    int rc = graph_select(&g, &wanted, with_dependencies, *selected, err);
    graph_release(&g);
    if (rc < 0) {
        free(*selected);
        *selected = NULL;
    }
    return rc;
}

int check_pull_option(const char *value, struct err *err)
{
    static const char *const words[] = {"", "policy", "always", "missing", "never", "build"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (streq(value, words[i]))
            return 0;
    }
    return err_set(err, ERR_INVALID, "invalid --pull option \"%s\"", value);
}

/* What a service's policy asks for, once it is known whether the image is here. */
struct policy {
    bool always, never, build;
    int64_t max_age; /* ns, 0: never ask again */
};

static struct policy policy_of(const struct service *s, const char *option)
{
    const char *text = *option && !streq(option, "policy") ? option : s->pull_policy;
    struct policy p = {0};
    if (!text || streq(text, "missing") || streq(text, "if_not_present"))
        return p;
    p.always = streq(text, "always");
    p.never = streq(text, "never");
    p.build = streq(text, "build");
    if (streq(text, "daily"))
        p.max_age = 24 * HOUR;
    else if (streq(text, "weekly"))
        p.max_age = 7 * 24 * HOUR;
    else if (starts_with(text, "every_"))
        duration_parse(text + strlen("every_"), &p.max_age);
    return p;
}

struct plan {
    struct cli *cli;
    const struct project *project;
    const struct provision *options;
    struct map present; /* image name -> "" when it is in the store */
    struct map pulling; /* image name -> its pull */
    struct image_job *pulls, *builds;
    size_t pulls_n, builds_n;
    struct service *extras; /* stand-ins for images that are no service's */
    char **extra_names;
};

/* "service "web": WHAT (compose.yaml:2)". Stand-ins are in no file. */
static int blame(const struct plan *plan, const struct service *s, struct err *err)
{
    if (project_service(plan->project, s->name) != s)
        return -1;
    json_t *path AUTOJSON = changes_path("services", s->name, "image", NULL);
    err_wrap(err, "service \"%s\"", s->name);
    return err_at_path(err, plan->project, path);
}

static int find_image(struct plan *plan, const struct service *s, const char *name, bool *found,
                      struct err *err)
{
    *found = map_get(&plan->present, name) != NULL;
    if (*found)
        return 0;
    struct image_store *store;
    struct image *image = NULL;
    struct err why AUTOERR = ERR_INIT;
    if (cli_store(plan->cli, &store, err) < 0)
        return -1;
    if (image_find(store, name, s->platform, &image, &why) < 0) {
        /* A damaged image is as good as none: it is brought again. */
        if (why.kind == ERR_NOT_FOUND || why.kind == ERR_CORRUPT)
            return 0;
        err_move(err, &why);
        return blame(plan, s, err);
    }
    /* Written by another program into the layout, and not yet unpacked. */
    int rc = image->layer_dirs ? 0 : image_unpack(store, &image, NULL, err);
    image_free(image);
    *found = rc == 0;
    if (*found)
        map_set(&plan->present, name, "");
    return rc;
}

static void add_pull(struct plan *plan, const struct service *s, const char *name,
                     const struct policy *policy, bool found)
{
    if (map_get(&plan->pulling, name))
        return;
    plan->pulls[plan->pulls_n++] = (struct image_job){
        .kind = JOB_PULL,
        .service = s,
        .image = name,
        .policy = policy->always || !found ? IMAGE_PULL_ALWAYS : IMAGE_PULL_MISSING,
        .max_age = policy->max_age,
        .may_fail = s->build && !plan->options->no_build,
    };
    map_set(&plan->pulling, name, &plan->pulls[plan->pulls_n - 1]);
}

static int plan_service(struct plan *plan, const struct service *s, const char *name,
                        struct err *err)
{
    struct policy policy = policy_of(s, plan->options->pull);
    bool found;
    if (find_image(plan, s, name, &found, err) < 0)
        return -1;
    bool can_build = s->build && !plan->options->no_build;
    if (s->build && (plan->options->build || (policy.build && can_build))) {
        plan->builds[plan->builds_n++] = (struct image_job){
            .kind = JOB_BUILD, .service = s, .image = name};
        return 0;
    }
    if (found && !policy.always && !policy.max_age)
        return 0;
    if (policy.never && !can_build)
        return err_set(err, ERR_NOT_FOUND, "Error response from daemon: No such image: %s", name);
    if (s->image && !policy.never && !policy.build)
        add_pull(plan, s, name, &policy, found);
    if (!found && can_build)
        plan->builds[plan->builds_n++] = (struct image_job){
            .kind = JOB_BUILD, .service = s, .image = name};
    if (!found && !can_build && !map_get(&plan->pulling, name))
        return err_set(err, ERR_NOT_FOUND, "Error response from daemon: No such image: %s", name);
    return 0;
}

static bool is_built(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->builds_n; i++)
        if (streq(plan->builds[i].image, name))
            return true;
    return false;
}

/* An image that a service needs besides its own is pulled when it is missing, and shown as name. */
static int plan_extra(struct plan *plan, const char *image, const char *platform, char *take_name,
                      struct err *err)
{
    char *name AUTOFREE = take_name;
    const struct service wanted = {.name = name, .platform = platform};
    static const struct policy missing = {0};
    bool found;
    if (is_built(plan, image))
        return 0;
    if (find_image(plan, &wanted, image, &found, err) < 0)
        return -1;
    if (found || map_get(&plan->pulling, image) || streq(plan->options->pull, "never"))
        return 0;
    size_t n = strv_len((const char *const *)plan->extra_names);
    strv_push(&plan->extra_names, name);
    plan->extras[n] = (struct service){.name = plan->extra_names[n], .platform = platform};
    add_pull(plan, &plan->extras[n], image, &missing, false);
    return 0;
}

/* What it mounts (type: image), under the name that the reference gives it, and what its pre_start
 * steps run in. */
static int plan_extras(struct plan *plan, const struct service *s, struct err *err)
{
    for (size_t i = 0; i < s->mounts_n; i++)
        if (s->mounts[i].type == MOUNT_IMAGE && s->mounts[i].source &&
            plan_extra(plan, s->mounts[i].source, NULL, xasprintf("%s:volume %zu", s->name, i),
                       err) < 0)
            return -1;
    for (size_t i = 0; i < s->pre_start_n; i++)
        if (s->pre_start[i].image &&
            plan_extra(plan, s->pre_start[i].image, s->platform,
                       xasprintf("%s pre_start[%zu]", s->name, i), err) < 0)
            return -1;
    return 0;
}

/* Builds that only stood in for a pull are dropped when the pull went well. */
static void drop_needless_builds(struct plan *plan)
{
    size_t n = 0;
    for (size_t i = 0; i < plan->builds_n; i++) {
        const struct image_job *pull = map_get(&plan->pulling, plan->builds[i].image);
        if (!pull || !pull->done || pull->failed)
            plan->builds[n++] = plan->builds[i];
    }
    plan->builds_n = n;
}

/* --dry-run: what would be pulled and built. */
static int run_plan(struct plan *plan, struct err *err)
{
    const struct lockfile *lock = plan->options->lock;
    struct build_pin *pins AUTOFREE = lock ? lockfile_pins(lock) : NULL;
    const struct build_flags flags = {
        .quiet = plan->options->quiet_build,
        .pins = pins,
        .pins_n = lock ? lock->entries.n : 0,
    };
    struct image_jobs pulls = {
        .project = plan->project,
        .v = plan->pulls,
        .n = plan->pulls_n,
        .quiet_pull = plan->options->quiet_pull,
    };
    if (image_jobs_run(plan->cli, &pulls, "Running", err) < 0)
        return -1;
    drop_needless_builds(plan);
    struct image_jobs builds = {
        .project = plan->project,
        .v = plan->builds,
        .n = plan->builds_n,
        .build = &flags,
    };
    return image_jobs_run(plan->cli, &builds, "Building", err);
}

int provision(struct cli *cli, struct project *p, const struct provision *options, struct err *err)
{
    size_t extras_n = 0;
    for (size_t i = 0; i < p->services_n; i++)
        extras_n += p->services[i].mounts_n + p->services[i].pre_start_n;
    struct plan plan = {
        .cli = cli,
        .project = p,
        .options = options,
        .pulls = xcalloc(p->services_n + extras_n + 1, sizeof(struct image_job)),
        .builds = xcalloc(p->services_n + 1, sizeof(struct image_job)),
        .extras = xcalloc(extras_n + 1, sizeof(struct service)),
    };
    char **names AUTOSTRV = NULL;
    int rc = 0;
    for (size_t i = 0; i < p->services_n; i++) {
        char *name AUTOFREE = service_image_name(p, &p->services[i]);
        strv_push(&names, name);
    }
    for (size_t i = 0; i < p->services_n && rc == 0; i++) {
        if (options->selected[i] && !p->services[i].provider)
            rc = plan_service(&plan, &p->services[i], names[i], err);
    }
    for (size_t i = 0; i < p->services_n && rc == 0; i++) {
        if (options->selected[i])
            rc = plan_extras(&plan, &p->services[i], err);
    }
    if (rc == 0)
        rc = run_plan(&plan, err);
    for (size_t i = 0; i < plan.pulls_n; i++)
        err_release(&plan.pulls[i].err);
    map_release(&plan.present);
    map_release(&plan.pulling);
    free(plan.pulls);
    free(plan.builds);
    free(plan.extras);
    strv_free(plan.extra_names);
    if (rc == 0)
        rc = models_run(cli, p, options->selected, options->quiet_pull, err);
    if (rc == 0)
        rc = providers_run(cli, p, options->selected, PROVIDER_UP, err);
    return rc;
}
