#include "cli/provider.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/subprocess.h"
#include "cli/dialog.h"
#include "cli/progress.h"
#include "engine/engine.h"
#include "model/decode.h"
#include "model/graph.h"

enum {
    OUTPUT_MAX = 1 << 20, /* of one message */
    STDERR_MAX = 4096,    /* kept for the error message */
};
#define METADATA_TIMEOUT (10LL * 1000000000)

static const struct {
    const char *name, *doing, *done, *noun;
} verbs[] = {
    [PROVIDER_UP] = {"up", "Creating", "Created", "create"},
    [PROVIDER_DOWN] = {"down", "Removing", "Removed", "remove"},
    [PROVIDER_STOP] = {"stop", "Stopping", "Stopped", "stop"},
};

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE };

struct job {
    struct providers *all;
    const struct service *service;
    char *program;
    enum job_state state;
    uv_process_t process;
    uv_pipe_t out, errout;
    int open; /* handles that are not closed yet */
    struct strbuf buffer, complaint;
    char **variables, **raw; /* NAME=VALUE */
    int64_t exit_code;
    int signal;
};

struct providers {
    struct cli *cli;
    struct project *project;
    enum provider_verb verb;
    const struct graph *graph;
    struct job *jobs; /* by service; those without a program are done */
    char **environment;
    uv_loop_t loop;
    uv_signal_t interrupt, terminate;
    struct progress progress;
    struct progress_ticker ticker;
    bool interrupted;
    struct err err; /* the first */
};

static void start_ready(struct providers *all);

/* ---- the program */

static char *config_dir(void)
{
    const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
    return dir && *dir ? xstrdup(dir) : xasprintf("%s/.docker", home ? home : "");
}

char *docker_plugin_find(const char *name)
{
    char *config AUTOFREE = config_dir();
    char *own AUTOFREE = path_join(config, "cli-plugins");
    const char *const dirs[] = {own, "/usr/local/lib/docker/cli-plugins",
                                "/usr/local/libexec/docker/cli-plugins",
                                "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        char *path = xasprintf("%s/docker-%s", dirs[i], name);
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static char *program_find(const char *type, struct err *err)
{
    if (streq(type, "compose")) {
        err_set(err, ERR_INVALID, "'compose' is not a valid provider type");
        return NULL;
    }
    char *plugin = docker_plugin_find(type);
    if (plugin)
        return plugin;
    if (strchr(type, '/'))
        return xstrdup(type);
    const char *list = getenv("PATH");
    char *dirs AUTOFREE = xstrdup(list ? list : ""), *rest = NULL;
    for (char *dir = strtok_r(dirs, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
        char *path = path_join(dir, type);
        if (access(path, X_OK) == 0 && !fs_is_dir(path))
            return path;
        free(path);
    }
    err_set(err, ERR_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", type);
    return NULL;
}

/* What the program says of its parameters; NULL: nothing, so all options are passed. */
static json_t *read_metadata(const struct job *job)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    const char *argv[] = {job->program, "compose", "metadata", NULL};
    struct subprocess run = {
        .argv = argv,
        .env = (const char *const *)job->all->environment,
        .out = &out,
        .timeout_ns = METADATA_TIMEOUT,
    };
    if (subprocess_run(&run, NULL) < 0 || run.status != 0)
        return NULL;
    json_t *j = json_loadb(out.buf, out.len, 0, NULL);
    bool empty = !*jstr(j, "description", "") &&
                 !json_is_array(json_object_get(json_object_get(j, "up"), "parameters")) &&
                 !json_is_array(json_object_get(json_object_get(j, "down"), "parameters"));
    if (empty) {
        json_decref(j);
        return NULL;
    }
    return j;
}

static int check_required(const struct service *s, const json_t *parameters, struct err *err)
{
    size_t i;
    json_t *parameter;
    json_array_foreach ((json_t *)parameters, i, parameter) {
        const char *name = jstr(parameter, "name", "");
        if (jbool(parameter, "required", false) &&
            !node_get(node_get(s->provider, "options"), name))
            return err_set(err, ERR_INVALID,
                           "required parameter \"%s\" is missing from provider \"%s\" definition",
                           name, node_get_str(s->provider, "type"));
    }
    return 0;
}

static bool is_parameter(const json_t *parameters, const char *name)
{
    size_t i;
    json_t *parameter;
    json_array_foreach ((json_t *)parameters, i, parameter)
        if (streq(jstr(parameter, "name", ""), name))
            return true;
    return false;
}

static void push_option(struct project *p, char ***argv, const char *name, const struct node *value)
{
    const char *text = node_text(p->arena, value);
    char *option AUTOFREE = xasprintf("--%s=%s", name, text ? text : "");
    strv_push(argv, option);
}

/* *argv stays NULL where the provider has no such command. */
static int build_argv(struct job *job, char ***argv, struct err *err)
{
    struct project *p = job->all->project;
    const struct service *s = job->service;
    const char *verb = verbs[job->all->verb].name;
    const struct node *options = node_get(s->provider, "options");
    json_t *metadata AUTOJSON = read_metadata(job);
    const json_t *command = json_object_get(metadata, verb);
    const json_t *parameters = json_object_get(command, "parameters");
    if (job->all->verb == PROVIDER_STOP && !command)
        return 0;
    if (check_required(s, parameters, err) < 0)
        return -1;
    char *name AUTOFREE = xasprintf("--project-name=%s", p->name);
    const char *const first[] = {job->program, "compose", name, verb};
    for (size_t i = 0; i < ARRAY_SIZE(first); i++)
        strv_push(argv, first[i]);
    for (size_t i = 0; node_is(options, NODE_MAPPING) && i < options->count; i++) {
        const struct node_pair *pair = &options->pairs[i];
        if (metadata && !is_parameter(parameters, pair->key))
            continue;
        if (!node_is(pair->value, NODE_SEQUENCE))
            push_option(p, argv, pair->key, pair->value);
        for (size_t k = 0; node_is(pair->value, NODE_SEQUENCE) && k < pair->value->count; k++)
            push_option(p, argv, pair->key, pair->value->items[k]);
    }
    strv_push(argv, s->name);
    return 0;
}

/* ---- what it says */

static void show(struct job *job, const char *status, enum progress_state state)
{
    char *line AUTOFREE = xstrndup(status, strcspn(status, "\n"));
    progress_event(
        &job->all->progress,
        &(struct progress_event){.id = job->service->name, .status = line, .state = state});
}

static void fail(struct job *job, enum err_kind kind, const char *fmt, const char *what)
{
    struct providers *all = job->all;
    if (job->state == JOB_RUNNING)
        uv_process_kill(&job->process, SIGTERM);
    if (all->err.msg)
        return;
    char *msg AUTOFREE = xasprintf("%s%s", fmt, what);
    show(job, what, PROGRESS_ERROR);
    err_set(&all->err, kind, "%s", msg);
}

static void on_message(struct job *job, const json_t *message)
{
    const char *type = jstr(message, "type", ""), *text = jstr(message, "message", "");
    if (streq(type, "info"))
        show(job, text, PROGRESS_WORKING);
    else if (streq(type, "error"))
        fail(job, ERR_IO, "", text);
    else if (streq(type, "debug"))
        return;
    else if (!streq(type, "setenv") && !streq(type, "rawsetenv"))
        fail(job, ERR_INVALID, "invalid response from plugin: ", type);
    else if (!strchr(text, '='))
        fail(job, ERR_INVALID, "invalid response from plugin: ", text);
    else
        strv_push(streq(type, "setenv") ? &job->variables : &job->raw, text);
}

/* Objects stand one behind the other; how they are laid out in lines does not matter. */
static void read_messages(struct job *job)
{
    struct strbuf *b = &job->buffer;
    size_t space;
    while (space = strspn(b->buf, " \t\r\n"), strbuf_consume(b, space), b->len) {
        json_error_t error;
        json_t *message AUTOJSON = json_loadb(b->buf, b->len, JSON_DISABLE_EOF_CHECK, &error);
        if (!message && json_error_code(&error) == json_error_premature_end_of_input &&
            b->len < OUTPUT_MAX)
            return;
        if (!json_is_object(message)) {
            fail(job, ERR_INVALID, "invalid response from plugin: ", b->buf);
            strbuf_setlen(b, 0);
            return;
        }
        strbuf_consume(b, (size_t)error.position);
        on_message(job, message);
    }
}

/* ---- its life */

static void finish(struct job *job)
{
    struct providers *all = job->all;
    const char *noun = verbs[all->verb].noun;
    job->state = JOB_DONE;
    if (job->buffer.len)
        fail(job, ERR_INVALID, "invalid response from plugin: ", job->buffer.buf);
    if (!all->err.msg && (job->exit_code || job->signal)) {
        char *how AUTOFREE = job->signal ? xasprintf("signal: %s", strsignal(job->signal))
                                         : xasprintf("exit status %d", (int)job->exit_code);
        show(job, how, PROGRESS_ERROR);
        while (job->complaint.len && job->complaint.buf[job->complaint.len - 1] == '\n')
            strbuf_setlen(&job->complaint, job->complaint.len - 1);
        err_set(&all->err, ERR_IO, "failed to %s service provider: %s%s%s", noun, how,
                job->complaint.len ? "\n" : "", job->complaint.buf);
    } else if (!all->err.msg) {
        show(job, verbs[all->verb].done, PROGRESS_DONE);
    }
    start_ready(all);
}

static void on_closed(uv_handle_t *h)
{
    struct job *job = h->data;
    if (--job->open == 0)
        finish(job);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct job *job = s->data;
    struct strbuf *to = s == (uv_stream_t *)&job->out ? &job->buffer : &job->complaint;
    size_t room = (size_t)(to == &job->buffer ? OUTPUT_MAX : STDERR_MAX) - to->len;
    if (n > 0)
        strbuf_add(to, buf->base, (size_t)n < room ? (size_t)n : room);
    free(buf->base);
    if (n > 0 && to == &job->buffer)
        read_messages(job);
    if (n < 0)
        uv_close((uv_handle_t *)s, on_closed);
}

static void on_end(uv_process_t *process, int64_t code, int signal)
{
    struct job *job = process->data;
    job->exit_code = code;
    job->signal = signal;
    uv_close((uv_handle_t *)process, on_closed);
}

static void spawn(struct job *job, char **argv)
{
    struct providers *all = job->all;
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&job->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&job->errout},
    };
    const uv_process_options_t o = {
        .exit_cb = on_end,
        .file = argv[0],
        .args = argv,
        .env = all->environment,
        .stdio_count = 3,
        .stdio = stdio,
    };
    uv_pipe_init(&all->loop, &job->out, 0);
    uv_pipe_init(&all->loop, &job->errout, 0);
    job->process.data = job->out.data = job->errout.data = job;
    job->state = JOB_RUNNING;
    job->open = 3;
    int rc = uv_spawn(&all->loop, &job->process, &o);
    if (rc < 0) {
        err_set(&all->err, ERR_IO, "%s: %s", argv[0], uv_strerror(rc));
        uv_close((uv_handle_t *)&job->process, on_closed);
        uv_close((uv_handle_t *)&job->out, on_closed);
        uv_close((uv_handle_t *)&job->errout, on_closed);
        return;
    }
    uv_read_start((uv_stream_t *)&job->out, engine_read_buffer, on_read);
    uv_read_start((uv_stream_t *)&job->errout, engine_read_buffer, on_read);
}

static void start(struct job *job)
{
    struct providers *all = job->all;
    char **argv AUTOSTRV = NULL;
    struct err err AUTOERR = ERR_INIT;
    job->program = program_find(node_get_str(job->service->provider, "type"), &err);
    if (!job->program || build_argv(job, &argv, &err) < 0) {
        if (!all->err.msg)
            err_move(&all->err, &err);
        job->state = JOB_DONE;
        return;
    }
    if (!argv) {
        job->state = JOB_DONE;
        return;
    }
    show(job, verbs[all->verb].doing, PROGRESS_WORKING);
    spawn(job, argv);
}

/* Has everything that goes before the service ended? What is no provider counts as done, so order
 * among providers goes through it. */
static bool is_ready(const struct providers *all, size_t i, int depth)
{
    const struct graph_node *node = &all->graph->nodes[i];
    bool up = all->verb == PROVIDER_UP;
    const size_t *before = up ? node->needs : node->needed_by;
    size_t n = up ? node->needs_n : node->needed_by_n;
    for (size_t k = 0; k < n; k++)
        if (all->jobs[before[k]].state != JOB_DONE ||
            (!all->jobs[before[k]].service && depth < (int)all->graph->n &&
             !is_ready(all, before[k], depth + 1)))
            return false;
    return true;
}

static void close_signals(struct providers *all)
{
    if (uv_is_closing((uv_handle_t *)&all->interrupt))
        return;
    uv_close((uv_handle_t *)&all->interrupt, NULL);
    uv_close((uv_handle_t *)&all->terminate, NULL);
    progress_ticker_stop(&all->ticker);
}

static void start_ready(struct providers *all)
{
    bool busy = false;
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < all->graph->n; i++) {
            struct job *job = &all->jobs[i];
            if (job->state != JOB_WAITING || all->err.msg || all->interrupted ||
                !is_ready(all, i, 0))
                continue;
            start(job);
            again |= job->state == JOB_DONE;
        }
    }
    for (size_t i = 0; i < all->graph->n; i++)
        busy |= all->jobs[i].state == JOB_RUNNING;
    if (!busy)
        close_signals(all);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct providers *all = s->data;
    all->interrupted = true;
    for (size_t i = 0; i < all->graph->n; i++)
        if (all->jobs[i].state == JOB_RUNNING)
            uv_process_kill(&all->jobs[i].process, signum);
}

static void watch_signal(struct providers *all, uv_signal_t *s, int signum)
{
    uv_signal_init(&all->loop, s);
    s->data = all;
    uv_signal_start(s, on_signal, signum);
}

/* ---- all of them */

static char *upper(const char *s)
{
    char *text = xstrdup(s);
    for (char *c = text; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    return text;
}

static void inject(struct providers *all, const struct job *job)
{
    struct project *p = all->project;
    char *prefix AUTOFREE = upper(job->service->name);
    for (size_t i = 0; i < p->services_n; i++) {
        struct service *s = &p->services[i];
        bool depends = false;
        for (size_t k = 0; k < s->depends_on_n; k++)
            depends |= streq(s->depends_on[k].service, job->service->name);
        for (char **v = job->variables; depends && v && *v; v++) {
            char *pair AUTOFREE = xasprintf("%s_%s", prefix, *v);
            service_set_variable(p, s, pair);
        }
        for (char **v = job->raw; depends && v && *v; v++)
            if (service_set_variable(p, s, *v))
                cli_warn(all->cli,
                         "provider \"%s\" overrides environment variable \"%.*s\" in service "
                         "\"%s\"",
                         job->service->name, (int)strcspn(*v, "="), *v, s->name);
    }
}

static void run_all(struct providers *all)
{
    uv_loop_init(&all->loop);
    watch_signal(all, &all->interrupt, SIGINT);
    watch_signal(all, &all->terminate, SIGTERM);
    progress_init(&all->progress, all->cli, "Running");
    progress_ticker_start(&all->ticker, &all->loop, &all->progress);
    start_ready(all);
    uv_run(&all->loop, UV_RUN_DEFAULT);
    uv_loop_close(&all->loop);
    progress_flush(&all->progress);
    progress_release(&all->progress);
}

/* The variables that a provider set the last time. */
static void inject_stored(struct project *p, const struct project *stored, const char *provider)
{
    char *name AUTOFREE = upper(provider);
    char *prefix AUTOFREE = xasprintf("%s_", name);
    for (size_t i = 0; stored && i < stored->services_n; i++) {
        const struct key_values *e = &stored->services[i].environment;
        struct service *s = project_service(p, stored->services[i].name);
        for (size_t k = 0; s && k < e->n; k++) {
            char *pair AUTOFREE = xasprintf("%s=%s", e->v[k].key, e->v[k].value);
            if (starts_with(pair, prefix))
                service_set_variable(p, s, pair);
        }
    }
}

/* --dry-run: no program is started. */
static void show_only(struct providers *all)
{
    struct project *stored = provided_project(all->cli, all->project->name);
    progress_init(&all->progress, all->cli, "Running");
    for (size_t k = 0; k < all->graph->n; k++) {
        struct job *job = &all->jobs[all->graph->order[k]];
        if (!job->service)
            continue;
        show(job, verbs[all->verb].done, PROGRESS_DONE);
        inject_stored(all->project, stored, job->service->name);
    }
    project_free(stored);
    progress_flush(&all->progress);
    progress_release(&all->progress);
}

static void job_release(struct job *job)
{
    free(job->program);
    strbuf_release(&job->buffer);
    strbuf_release(&job->complaint);
    strv_free(job->variables);
    strv_free(job->raw);
}

int providers_run(struct cli *cli, struct project *p, const bool *selected, enum provider_verb verb,
                  struct err *err)
{
    struct graph graph;
    size_t wanted = 0;
    for (size_t i = 0; i < p->services_n; i++)
        wanted += p->services[i].provider && (!selected || selected[i]);
    if (!wanted)
        return 0;
    if (graph_init(&graph, p, err) < 0)
        return -1;
    struct providers all = {.cli = cli, .project = p, .verb = verb, .graph = &graph};
    all.environment = project_environ(p);
    all.jobs = xcalloc(p->services_n, sizeof(*all.jobs));
    for (size_t i = 0; i < p->services_n; i++) {
        bool mine = p->services[i].provider && (!selected || selected[i]);
        all.jobs[i] = (struct job){
            .all = &all,
            .service = mine ? &p->services[i] : NULL,
            .state = mine ? JOB_WAITING : JOB_DONE,
            .buffer = STRBUF_INIT,
            .complaint = STRBUF_INIT,
        };
    }
    if (cli->dry_run)
        show_only(&all);
    else
        run_all(&all);
    if (all.interrupted) {
        err_release(&all.err);
        all.err = (struct err)ERR_INIT;
        err_set(&all.err, ERR_CANCELLED, "canceled");
        all.err.exit_code = EXIT_INTERRUPTED;
    }
    int rc = all.err.msg ? -1 : 0;
    for (size_t i = 0; i < p->services_n; i++) {
        if (rc == 0 && verb == PROVIDER_UP && all.jobs[i].service)
            inject(&all, &all.jobs[i]);
        job_release(&all.jobs[i]);
    }
    if (rc < 0)
        err_move(err, &all.err);
    free(all.jobs);
    strv_free(all.environment);
    graph_release(&graph);
    return rc;
}

struct project *provided_project(struct cli *cli, const char *project)
{
    char *dir AUTOFREE = cli_paths(cli, NULL) == 0 ? paths_project(&cli->paths, project) : NULL;
    char *path AUTOFREE = dir ? path_join(dir, "project.json") : NULL;
    json_t *stored AUTOJSON = NULL;
    struct project *p = NULL;
    if (!path || json_read(path, &stored, NULL) < 0 ||
        project_from_json(json_object_get(stored, "project"), &p, NULL) < 0)
        return NULL;
    for (size_t i = 0; i < p->services_n; i++)
        if (p->services[i].provider)
            return p;
    project_free(p);
    return NULL;
}

int providers_stop(struct cli *cli, const char *project, const char *const *services,
                   struct err *err)
{
    struct project *p = provided_project(cli, project);
    bool *selected AUTOFREE = p ? xcalloc(p->services_n, sizeof(*selected)) : NULL;
    if (!p)
        return 0;
    for (size_t i = 0; i < p->services_n; i++) {
        selected[i] = !*services;
        for (const char *const *s = services; *s; s++)
            selected[i] |= streq(*s, p->services[i].name);
    }
    int rc = providers_run(cli, p, selected, PROVIDER_STOP, err);
    project_free(p);
    return rc;
}
