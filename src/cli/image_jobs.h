/* Pulls, pushes and builds of several services at once, with progress. The calls of image/transfer.h block,
 * so each runs in libuv's pool; what they tell travels to the loop's thread, which alone draws. */
#ifndef CLI_IMAGE_JOBS_H
#define CLI_IMAGE_JOBS_H

#include "cli/cli.h"
#include "image/transfer.h"

enum image_job_kind { JOB_PULL, JOB_PUSH, JOB_BUILD, JOB_RESOLVE };

struct image_job {
    enum image_job_kind kind;
    const struct service *service;
    const char *image; /* the main name; borrowed for the job's life */
    /* pull */
    enum image_pull_policy policy;
    int64_t max_age; /* ns, 0: never ask again */
    bool may_fail;   /* a failed pull is a warning: it can be built, or --ignore-pull-failures */
    /* results */
    bool done, failed;
    char *digest; /* JOB_RESOLVE: what the registry says; heap, the caller's */
    struct err err;
};

struct build_flags {
    bool all_platforms; /* of build.platforms; else the one that is to run */
    bool no_cache, pull, quiet;
    int64_t memory;
    const char *const *args;      /* "K=V" or "K" of the environment */
    const char *ssh;              /* "": none */
    const struct build_pin *pins; /* --locked; NULL: none */
    size_t pins_n;
};

struct image_jobs {
    const struct project *project;
    struct image_job *v;
    size_t n;
    const struct build_flags *build;
    bool quiet_pull; /* transfers are not shown */
    char *
        *skipped; /* names of services that there is nothing to do for, to be told so; NULL: none */
};

/* Runs all; title of the progress. -1: the first failure of a job that must not fail, or cancelled
 * by Ctrl-C (exit code 130). A job that needs another's image (additional_contexts "service:NAME")
 * waits for it. */
int image_jobs_run(struct cli *cli, struct image_jobs *jobs, const char *title, struct err *err);

/* What a Dockerfile calls a secret of its build section: RUN --mount=type=secret,id=... */
const char *build_secret_id(const struct file_mount *secret);
/* The name of a service's image: image:, else <project>-<service>; heap. */
char *service_image_name(const struct project *p, const struct service *s);
/* Is it what a service of the project builds, and so no image of a registry? */
bool image_is_built(const struct project *p, const char *image);

#endif
