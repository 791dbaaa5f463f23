#include "cli/image_jobs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"
#include "base/version.h"
#include "cli/dialog.h"
#include "cli/progress.h"

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_ENDED };

/* From a worker to the loop. */
struct message {
    struct message *next;
    size_t job;
    char *line;  /* a builder's output, why a transfer is tried again, or NULL: */
    char *layer; /* NULL: about the image */
    enum image_phase phase;
    int64_t current, total, delay;
};

struct worker {
    uv_work_t work;
    struct runner *runner;
    struct image_job *job;
    enum job_state state;
};

struct runner {
    struct cli *cli;
    struct image_jobs *jobs;
    struct image_store *store;
    struct worker *workers;
    size_t running, limit;
    atomic_bool cancel;
    bool interrupted, failed;
    uv_loop_t loop;
    uv_async_t wake;
    uv_mutex_t mutex;
    struct message *first, **last; /* guarded by mutex */
    uv_signal_t interrupt, terminate;
    struct progress progress;
    struct progress_ticker ticker;
};

char *service_image_name(const struct project *p, const struct service *s)
{
    return s->image ? xstrdup(s->image) : xasprintf("%s%s%s", p->name, p->separator, s->name);
}

bool image_is_built(const struct project *p, const char *image)
{
    for (size_t i = 0; i < p->services_n; i++) {
        char *name AUTOFREE = service_image_name(p, &p->services[i]);
        if (p->services[i].build && streq(name, image))
            return true;
    }
    return false;
}

const char *build_secret_id(const struct file_mount *secret)
{
    const char *target = secret->target; /* made absolute for containers */
    return !target ? secret->source : target[0] == '/' ? target + 1 : target;
}

/* ---- in the workers */

static void post(struct worker *w, struct message *take_m)
{
    struct runner *r = w->runner;
    take_m->job = (size_t)(w - r->workers);
    uv_mutex_lock(&r->mutex);
    *r->last = take_m;
    r->last = &take_m->next;
    uv_mutex_unlock(&r->mutex);
    uv_async_send(&r->wake);
}

static void on_pull_progress(void *ctx, const struct image_progress *p)
{
    struct message *m = xcalloc(1, sizeof(*m));
    m->layer = p->layer ? xstrdup(p->layer) : NULL;
    m->line = p->why ? xstrdup(p->why) : NULL;
    m->delay = p->delay;
    m->phase = p->phase;
    m->current = p->current;
    m->total = p->total;
    post(ctx, m);
}

static void on_build_output(void *ctx, const char *line)
{
    struct message *m = xcalloc(1, sizeof(*m));
    m->line = xstrdup(line);
    post(ctx, m);
}

/* The file's word, else DOCKER_DEFAULT_PLATFORM (of this process or of .env), else NULL. */
static const char *platform_of(const struct worker *w)
{
    static const char name[] = "DOCKER_DEFAULT_PLATFORM";
    const struct key_values *seen = &w->runner->jobs->project->environment;
    const char *value = getenv(name);
    for (size_t i = 0; i < seen->n && !value; i++)
        value = streq(seen->v[i].key, name) ? seen->v[i].value : NULL;
    if (w->job->service->platform)
        return w->job->service->platform;
    return value && *value ? value : NULL;
}

static int run_pull(struct worker *w, struct err *err)
{
    const struct image_job *job = w->job;
    const struct pull_request request = {
        .reference = job->image,
        .platform = platform_of(w),
        .policy = job->policy,
        .max_age = job->max_age,
        .progress = on_pull_progress,
        .ctx = w,
        .cancel = &w->runner->cancel,
    };
    return image_pull(w->runner->store, &request, NULL, NULL, err);
}

static int run_resolve(struct worker *w, struct err *err)
{
    const struct resolve_request request = {
        .reference = w->job->image,
        .platform = platform_of(w),
        .cancel = &w->runner->cancel,
    };
    return image_resolve(&request, &w->job->digest, err);
}

static int run_push(struct worker *w, struct err *err)
{
    const struct push_request request = {
        .reference = w->job->image,
        .progress = on_pull_progress,
        .ctx = w,
        .cancel = &w->runner->cancel,
    };
    return image_push(w->runner->store, &request, NULL, err);
}

struct build_parts {
    char **names;
    struct build_secret *secrets;
    struct key_value *images;
    char **image_names;
    struct key_value *args;
    char **arg_texts;
    const char **ssh;
};

static void build_secrets(const struct project *p, const struct build *b, struct build_parts *out)
{
    out->secrets = xcalloc(b->secrets_n + 1, sizeof(*out->secrets));
    for (size_t i = 0; i < b->secrets_n; i++) {
        const struct file_object *o = project_secret(p, b->secrets[i].source);
        out->secrets[i] = (struct build_secret){
            .id = build_secret_id(&b->secrets[i]),
            .file = o ? o->file : NULL,
            .environment = o ? o->environment : NULL,
        };
    }
}

/* service -> image, for contexts that name another service. */
static size_t build_images(const struct project *p, struct build_parts *out)
{
    size_t n = 0;
    out->images = xcalloc(p->services_n + 1, sizeof(*out->images));
    out->image_names = xcalloc(p->services_n + 1, sizeof(*out->image_names));
    for (size_t i = 0; i < p->services_n; i++) {
        out->image_names[n] = service_image_name(p, &p->services[i]);
        out->images[n] = (struct key_value){p->services[i].name, out->image_names[n]};
        n++;
    }
    return n;
}

static size_t build_args(const struct build_flags *flags, struct build_parts *out)
{
    size_t n = 0;
    for (size_t i = 0; flags->args && flags->args[i]; i++)
        strv_push(&out->arg_texts, flags->args[i]);
    size_t max = strv_len((const char *const *)out->arg_texts);
    out->args = xcalloc(max + 1, sizeof(*out->args));
    for (size_t i = 0; i < max; i++) {
        char *eq = strchr(out->arg_texts[i], '=');
        if (eq)
            *eq = '\0';
        const char *value = eq ? eq + 1 : getenv(out->arg_texts[i]);
        if (value)
            out->args[n++] = (struct key_value){out->arg_texts[i], value};
    }
    return n;
}

static void build_parts_release(struct build_parts *p)
{
    strv_free(p->names);
    free(p->secrets);
    free(p->images);
    strv_free(p->image_names);
    free(p->args);
    strv_free(p->arg_texts);
    free(p->ssh);
}

/* build.platforms must name what runs: of the service's own platform: this has been said already. */
static int check_platform(const struct worker *w, struct err *err)
{
    const struct strings *list = &w->job->service->build->platforms;
    const char *platform = platform_of(w);
    bool found = !platform || !list->n;
    for (size_t i = 0; i < list->n && !found; i++)
        found = streq(list->v[i], platform);
    return found ? 0
                 : err_set(err, ERR_INVALID,
                           "service \"%s\" build.platforms does not support value set by "
                           "DOCKER_DEFAULT_PLATFORM: %s",
                           w->job->service->name, platform);
}

static int run_build(struct worker *w, struct err *err)
{
    const struct project *p = w->runner->jobs->project;
    const struct build_flags *flags = w->runner->jobs->build;
    const struct service *s = w->job->service;
    if (check_platform(w, err) < 0)
        return -1;
    struct build_parts parts = {0};
    strv_push(&parts.names, w->job->image);
    for (size_t i = 0; i < s->build->tags.n; i++)
        strv_push(&parts.names, s->build->tags.v[i]);
    build_secrets(p, s->build, &parts);
    size_t images_n = build_images(p, &parts), args_n = build_args(flags, &parts);
    parts.ssh = xcalloc(2, sizeof(*parts.ssh));
    parts.ssh[0] = flags->ssh && *flags->ssh ? flags->ssh : NULL;
    struct key_value labels[] = {
        {"com.docker.compose.project", p->name},
        {"com.docker.compose.service", s->name},
        {"com.docker.compose.version", compose_version},
    };
    const struct build_request request = {
        .service = s->name,
        .build = s->build,
        .names = (const char *const *)parts.names,
        .secrets = parts.secrets,
        .secrets_n = s->build->secrets_n,
        .service_images = parts.images,
        .service_images_n = images_n,
        .args = {parts.args, args_n},
        .labels = {labels, ARRAY_SIZE(labels)},
        .all_platforms = flags->all_platforms,
        .platform = platform_of(w),
        .ssh = parts.ssh,
        .no_cache = flags->no_cache,
        .pull = flags->pull,
        .pins = flags->pins,
        .pins_n = flags->pins_n,
        .memory = flags->memory,
        .output = on_build_output,
        .ctx = w,
        .cancel = &w->runner->cancel,
    };
    int rc = image_build(w->runner->store, &request, err);
    build_parts_release(&parts);
    return rc;
}

static void on_work(uv_work_t *work)
{
    struct worker *w = container_of(work, struct worker, work);
    static int (*const run[])(struct worker *, struct err *) = {
        [JOB_PULL] = run_pull,
        [JOB_PUSH] = run_push,
        [JOB_BUILD] = run_build,
        [JOB_RESOLVE] = run_resolve,
    };
    w->job->failed = run[w->job->kind](w, &w->job->err) < 0;
}

/* ---- on the loop */

/* Pulls are shown under the service's name, builds under the image's, as the reference does. */
static const char *job_id(const struct image_job *job)
{
    return job->kind == JOB_BUILD || job->kind == JOB_RESOLVE ? job->image : job->service->name;
}

static const char *const working[] = {"Pulling", "Pushing", "Building", "Resolving"};
static const char *const finished[] = {"Pulled", "Pushed", "Built", "Resolved"};

/* A transfer's words are its text; a build's its status. */
static void show(struct runner *r, const struct image_job *job, const char *word,
                 const char *detail, enum progress_state state)
{
    bool transfer = job->kind != JOB_BUILD;
    if (transfer && r->jobs->quiet_pull && state != PROGRESS_ERROR)
        return;
    progress_event(&r->progress, &(struct progress_event){.id = job_id(job),
                                                          .text = transfer ? word : "",
                                                          .status = transfer ? detail : word,
                                                          .state = state});
}

static const char *phase_text(enum image_phase phase)
{
    switch (phase) {
    case IMAGE_RESOLVING:
        return "Pulling";
    case IMAGE_WAITING:
        return "Pulling fs layer";
    case IMAGE_DOWNLOADING:
        return "Downloading";
    case IMAGE_UNPACKING:
        return "Extracting";
    case IMAGE_RETRYING:
        return "Retrying";
    case IMAGE_UPLOADING:
        return "Pushing";
    case IMAGE_EXISTS:
        return "Already exists";
    case IMAGE_DONE:
        return "Pull complete";
    }
    return "";
}

/* A wait that is not explained looks like one that never ends. */
static void show_retry(struct runner *r, const struct image_job *job, const struct message *m)
{
    if (job->kind == JOB_BUILD || r->jobs->quiet_pull)
        return;
    char *text AUTOFREE = m->delay ? xasprintf("Retrying in %.1f s", (double)m->delay / 1000)
                                   : xstrdup("Retrying");
    progress_event(&r->progress, &(struct progress_event){
                                     .id = m->layer ? m->layer : job_id(job),
                                     .parent = m->layer ? job_id(job) : NULL,
                                     .text = text,
                                     .status = m->line,
                                     .state = PROGRESS_WORKING,
                                 });
}

static void show_message(struct runner *r, const struct message *m)
{
    const struct image_job *job = r->workers[m->job].job;
    if (m->phase == IMAGE_RETRYING) {
        show_retry(r, job, m);
        return;
    }
    if (m->line) {
        if (!r->jobs->build->quiet) {
            char *line AUTOFREE = xasprintf("%s | %s", job->service->name, m->line);
            progress_line(&r->progress, line);
        }
        return;
    }
    if (!m->layer || r->jobs->quiet_pull)
        return;
    bool done = m->phase == IMAGE_DONE || m->phase == IMAGE_EXISTS;
    progress_event(&r->progress, &(struct progress_event){
                                     .id = m->layer,
                                     .parent = job_id(job),
                                     .text = phase_text(m->phase),
                                     .state = done ? PROGRESS_DONE : PROGRESS_WORKING,
                                     .current = m->current,
                                     .total = m->total,
                                 });
}

static void on_wake(uv_async_t *wake)
{
    struct runner *r = container_of(wake, struct runner, wake);
    uv_mutex_lock(&r->mutex);
    struct message *m = r->first;
    r->first = NULL;
    r->last = &r->first;
    uv_mutex_unlock(&r->mutex);
    while (m) {
        struct message *next = m->next;
        show_message(r, m);
        free(m->line);
        free(m->layer);
        free(m);
        m = next;
    }
}

/* A build that another one's context names must come first. */
static bool waits_for_other(const struct runner *r, const struct worker *w)
{
    const struct build *b = w->job->kind == JOB_BUILD ? w->job->service->build : NULL;
    for (size_t i = 0; b && i < b->additional_contexts.n; i++) {
        const char *value = b->additional_contexts.v[i].value;
        if (!value || !starts_with(value, "service:"))
            continue;
        for (size_t k = 0; k < r->jobs->n; k++) {
            if (r->workers[k].job->kind == JOB_BUILD && r->workers[k].state != JOB_ENDED &&
                streq(r->workers[k].job->service->name, value + strlen("service:")))
                return true;
        }
    }
    return false;
}

static void start_more(struct runner *r);

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void on_worked(uv_work_t *work, int status)
{
    struct worker *w = container_of(work, struct worker, work);
    struct runner *r = w->runner;
    struct image_job *job = w->job;
    (void)status;
    on_wake(&r->wake); /* what it said comes before its end */
    w->state = JOB_ENDED;
    r->running--;
    job->done = true;
    if (!job->failed) {
        show(r, job, finished[job->kind], "", PROGRESS_DONE);
    } else if (job->may_fail) {
        show(r, job, "Warning", job->err.msg, PROGRESS_WARNING);
    } else {
        if (!r->interrupted)
            show(r, job, "Error", job->err.msg, PROGRESS_ERROR);
        r->failed = true;
    }
    start_more(r);
}

static void start_one(struct runner *r, struct worker *w)
{
    w->state = JOB_RUNNING;
    r->running++;
    show(r, w->job, working[w->job->kind], "", PROGRESS_WORKING);
    uv_queue_work(&r->loop, &w->work, on_work, on_worked);
}

static void start_more(struct runner *r)
{
    bool stop = r->interrupted || r->failed;
    for (size_t i = 0; i < r->jobs->n && r->running < r->limit && !stop; i++) {
        struct worker *w = &r->workers[i];
        if (w->state == JOB_WAITING && !waits_for_other(r, w))
            start_one(r, w);
    }
    if (r->running)
        return;
    close_handle((uv_handle_t *)&r->wake);
    close_handle((uv_handle_t *)&r->interrupt);
    close_handle((uv_handle_t *)&r->terminate);
    if (!uv_is_closing((uv_handle_t *)&r->ticker.timer))
        progress_ticker_stop(&r->ticker);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct runner *r = s->data;
    (void)signum;
    r->interrupted = true;
    atomic_store(&r->cancel, true);
}

static void runner_init(struct runner *r, struct cli *cli, struct image_jobs *jobs,
                        const char *title)
{
    r->cli = cli;
    r->jobs = jobs;
    r->limit = (size_t)cli->parallel;
    r->last = &r->first;
    r->workers = xcalloc(jobs->n + 1, sizeof(*r->workers));
    for (size_t i = 0; i < jobs->n; i++)
        r->workers[i] = (struct worker){.runner = r, .job = &jobs->v[i]};
    uv_loop_init(&r->loop);
    uv_mutex_init(&r->mutex);
    uv_async_init(&r->loop, &r->wake, on_wake);
    uv_signal_init(&r->loop, &r->interrupt);
    uv_signal_init(&r->loop, &r->terminate);
    r->interrupt.data = r->terminate.data = r;
    uv_signal_start(&r->interrupt, on_signal, SIGINT);
    uv_signal_start(&r->terminate, on_signal, SIGTERM);
    progress_init(&r->progress, cli, title);
    progress_ticker_start(&r->ticker, &r->loop, &r->progress);
}

static void tell_skipped(struct progress *p, char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        progress_event(
            p, &(struct progress_event){.id = names[i], .text = "Skipped", .state = PROGRESS_DONE});
}

/* The first failure that counts. */
static int outcome(struct runner *r, struct err *err)
{
    if (r->interrupted) {
        err_set(err, ERR_CANCELLED, "canceled");
        if (err)
            err->exit_code = EXIT_INTERRUPTED;
        return -1;
    }
    for (size_t i = 0; i < r->jobs->n; i++) {
        struct image_job *job = &r->jobs->v[i];
        if (job->failed && !job->may_fail) {
            err_move(err, &job->err);
            return -1;
        }
    }
    return 0;
}

/* --dry-run: what would be pulled, pushed and built, in the reference's words. */
static void rehearse_job(struct progress *p, struct image_job *job)
{
    static const char *const words[][2] = {
        [JOB_PULL] = {"Pulling", "Pulled"},
        [JOB_PUSH] = {"Pushing", "Pushed"},
        [JOB_BUILD] = {"==>", "Built"},
    };
    const char *id = job->service ? job->service->name : job->image;
    char *naming AUTOFREE = xasprintf("==> naming to %s", job->image);
    bool build = job->kind == JOB_BUILD;
    struct progress_event e = {.id = id, .text = words[job->kind][0]};
    if (build)
        e.status = naming;
    progress_event(p, &e);
    e = (struct progress_event){.id = id, .state = PROGRESS_DONE};
    if (build)
        e.status = words[job->kind][1];
    else
        e.text = words[job->kind][1];
    progress_event(p, &e);
    job->done = true;
}

static int rehearse_jobs(struct cli *cli, struct image_jobs *jobs, const char *title)
{
    struct progress p;
    progress_init(&p, cli, title);
    tell_skipped(&p, jobs->skipped);
    for (size_t i = 0; i < jobs->n; i++)
        rehearse_job(&p, &jobs->v[i]);
    progress_flush(&p);
    progress_release(&p);
    return 0;
}

int image_jobs_run(struct cli *cli, struct image_jobs *jobs, const char *title, struct err *err)
{
    static const struct build_flags no_flags;
    struct runner r = {0};
    if (!jobs->n && !jobs->skipped)
        return 0;
    if (!jobs->n || (cli->dry_run && jobs->v[0].kind != JOB_RESOLVE))
        return rehearse_jobs(cli, jobs, title);
    if (!jobs->build)
        jobs->build = &no_flags;
    if (cli_store(cli, &r.store, err) < 0)
        return -1;
    runner_init(&r, cli, jobs, title);
    tell_skipped(&r.progress, jobs->skipped);
    start_more(&r);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    uv_loop_close(&r.loop);
    uv_mutex_destroy(&r.mutex);
    progress_flush(&r.progress);
    progress_release(&r.progress);
    free(r.workers);
    int rc = outcome(&r, err);
    for (size_t i = 0; i < jobs->n; i++)
        if (!jobs->v[i].may_fail)
            err_release(&jobs->v[i].err);
    return rc;
}
