#include "cli/push_jobs.h"

#include "base/mem.h"
#include "cli/image_jobs.h"

int push_services(struct cli *cli, const struct project *p, const bool *selected, bool only_built,
                  bool ignore_failures, bool quiet, struct err *err)
{
    struct image_job *jobs AUTOFREE = xcalloc(p->services_n + 1, sizeof(*jobs));
    char **skipped AUTOSTRV = NULL;
    size_t n = 0;
    for (size_t i = 0; i < p->services_n; i++) {
        const struct service *s = &p->services[i];
        /* A name that we made up belongs to no registry. */
        bool wanted = s->image && (!only_built || s->build);
        if (selected[i] && !wanted && only_built && !quiet)
            strv_push(&skipped, s->name);
        if (selected[i] && wanted)
            jobs[n++] = (struct image_job){
                .kind = JOB_PUSH, .service = s, .image = s->image, .may_fail = ignore_failures};
    }
    struct image_jobs all = {
        .project = p, .v = jobs, .n = n, .quiet_pull = quiet, .skipped = skipped};
    int rc = image_jobs_run(cli, &all, "Pushing", err);
    for (size_t i = 0; i < n; i++)
        err_release(&jobs[i].err);
    return rc;
}
