#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/image_jobs.h"
#include "cli/lockfile.h"
#include "cli/provision.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_BOOL("check", 0, "Write nothing; exit code 1 if the lock file would change"),
    OPT_BOOL("quiet", 'q', "Don't say what changed"),
    OPTION_END,
};

/* An image that the project uses, for one platform. */
struct use {
    char *key; /* as in the lock file */
    char platform[96];
    char *digest;           /* it is given with one: nobody has to be asked */
    bool asked;             /* of a selected service: looked up anew */
    struct service service; /* what the job needs to know */
};

struct locking {
    struct cli *cli;
    const struct project *project;
    VEC(struct use) uses;
};

static int add_use(struct locking *l, const char *service, const char *image, const char *platform,
                   bool asked, struct err *err)
{
    struct use u = {.asked = asked};
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (lockfile_key(image, platform, &u.key, u.platform, err) < 0 ||
        reference_parse(image, &ref, err) < 0)
        return err_wrap(err, "service \"%s\"", service);
    vec_foreach (&l->uses, known) {
        if (!streq(known->key, u.key) || !streq(known->platform, u.platform))
            continue;
        known->asked = known->asked || asked;
        free(u.key);
        return 0;
    }
    u.digest = ref.digest ? STEAL(ref.digest) : NULL;
    u.service.name = service;
    vec_push(&l->uses, u);
    return 0;
}

/* all: what `build` starts from, else what `up` does. */
static int add_bases(struct locking *l, const struct service *s, bool all, bool asked,
                     struct err *err)
{
    const struct build_request request = {
        .service = s->name, .build = s->build, .all_platforms = all, .platform = s->platform};
    struct err why AUTOERR = ERR_INIT;
    struct build_base *bases = NULL;
    size_t n = 0;
    int rc = 0;
    if (image_bases(&request, &bases, &n, &why) < 0) {
        if (why.kind != ERR_UNAVAILABLE) {
            err_move(err, &why);
            return err_wrap(err, "service \"%s\"", s->name);
        }
        if (!all)
            cli_warn(l->cli, "service \"%s\": %s: the images that it is built from are not locked",
                     s->name, why.msg);
    }
    for (size_t i = 0; i < n; i++) {
        if (rc == 0 && !image_is_built(l->project, bases[i].image))
            rc = add_use(l, s->name, bases[i].image, bases[i].platform, asked, err);
        free(bases[i].image);
        free(bases[i].platform);
    }
    free(bases);
    return rc;
}

static int add_contexts(struct locking *l, const struct service *s, const char *platform,
                        bool asked, struct err *err)
{
    static const char image[] = "docker-image://";
    const struct key_values *contexts = &s->build->additional_contexts;
    for (size_t i = 0; i < contexts->n; i++) {
        const char *value = contexts->v[i].value;
        if (value && starts_with(value, image) &&
            add_use(l, s->name, value + strlen(image), platform, asked, err) < 0)
            return -1;
    }
    return 0;
}

static int add_build(struct locking *l, const struct service *s, bool asked, struct err *err)
{
    const struct strings *platforms = &s->build->platforms;
    if (add_bases(l, s, false, asked, err) < 0 || add_contexts(l, s, s->platform, asked, err) < 0)
        return -1;
    if (platforms->n < 2)
        return 0;
    for (size_t i = 0; i < platforms->n; i++)
        if (add_contexts(l, s, platforms->v[i], asked, err) < 0)
            return -1;
    return add_bases(l, s, true, asked, err);
}

static int add_service(struct locking *l, const struct service *s, bool asked, struct err *err)
{
    if (s->build && add_build(l, s, asked, err) < 0)
        return -1;
    if (s->image && !s->build && add_use(l, s->name, s->image, s->platform, asked, err) < 0)
        return -1;
    for (size_t i = 0; i < s->mounts_n; i++) {
        const char *source = s->mounts[i].source;
        if (s->mounts[i].type == MOUNT_IMAGE && source && !image_is_built(l->project, source) &&
            add_use(l, s->name, source, NULL, asked, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < s->pre_start_n; i++) {
        const char *image = s->pre_start[i].image;
        if (image && !image_is_built(l->project, image) &&
            add_use(l, s->name, image, s->platform, asked, err) < 0)
            return -1;
    }
    return 0;
}

/* Digests of all that is used: from the registry, or as the lock file has them. */
static int resolve(struct locking *l, const struct lockfile *old, struct err *err)
{
    struct image_job *jobs AUTOFREE = xcalloc(l->uses.n + 1, sizeof(*jobs));
    struct use **of AUTOFREE = xcalloc(l->uses.n + 1, sizeof(*of));
    size_t n = 0;
    vec_foreach (&l->uses, u) {
        const struct lock_entry *e = lockfile_find(old, u->key, u->platform);
        if (!u->digest && !u->asked && e)
            u->digest = xstrdup(e->digest);
        if (u->digest)
            continue;
        u->service.platform = u->platform;
        of[n] = u;
        jobs[n++] = (struct image_job){
            .kind = JOB_RESOLVE, .service = &u->service, .image = u->key};
    }
    struct image_jobs all = {.project = l->project, .v = jobs, .n = n};
    int rc = image_jobs_run(l->cli, &all, "Resolving", err);
    for (size_t i = 0; i < n; i++)
        of[i]->digest = jobs[i].digest;
    return rc;
}

/* One line for each difference; how many there are. */
static size_t tell(const struct lockfile *old, const struct lockfile *new, bool quiet)
{
    size_t changes = 0;
    vec_foreach (&new->entries, e) {
        const struct lock_entry *was = lockfile_find(old, e->image, e->platform);
        if (was && streq(was->digest, e->digest))
            continue;
        changes++;
        if (!quiet)
            cli_outf("%s %s %s %s\n", was ? "changed" : "added", e->image, e->platform, e->digest);
    }
    vec_foreach (&old->entries, e) {
        if (lockfile_find(new, e->image, e->platform))
            continue;
        changes++;
        if (!quiet)
            cli_outf("removed %s %s\n", e->image, e->platform);
    }
    return changes;
}

static int lock(struct locking *l, const struct args *args, const bool *selected, struct err *err)
{
    struct lockfile old AUTOLOCKFILE = {0}, new AUTOLOCKFILE = {0};
    bool check = args_bool(args, "check"), found = false;
    for (size_t i = 0; i < l->project->services_n; i++)
        if (add_service(l, &l->project->services[i], selected[i], err) < 0)
            return -1;
    if (lockfile_read(l->project, &old, &found, err) < 0 || resolve(l, &old, err) < 0)
        return -1;
    char now[40];
    time_format(time_now(), now);
    vec_foreach (&l->uses, u) {
        const struct lock_entry *e = lockfile_find(&old, u->key, u->platform);
        bool same = e && streq(e->digest, u->digest);
        lockfile_set(&new, u->key, u->platform, u->digest, same ? e->time : now);
    }
    char *text AUTOFREE = lockfile_text(&new);
    size_t changes = tell(&old, &new, args_bool(args, "quiet")) + !found;
    if (check || l->cli->dry_run || !changes)
        return check && changes ? 1 : 0;
    return fs_write_atomic(old.path, text, strlen(text), 0644, false, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct project *p;
    bool *selected = NULL;
    if (load_for_services(cli, args->positional, &p, err) < 0)
        return -1;
    struct locking l = {.cli = cli, .project = p};
    int rc = choose_services(p, args->positional, false, &selected, err);
    if (rc == 0)
        rc = lock(&l, args, selected, err);
    vec_foreach (&l.uses, u) {
        free(u->key);
        free(u->digest);
    }
    vec_release(&l.uses);
    free(selected);
    project_free(p);
    return rc;
}

const struct command cmd_lock = {
    .name = "lock",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Write the digests of all images to compose.lock",
    .options = options,
    .args_max = ARGS_ANY,
    .flags = COMMAND_OURS,
    .complete = "@service",
    .run = run,
};
