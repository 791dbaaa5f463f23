#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/dialog.h"
#include "cli/provision.h"
#include "cli/run_spec.h"
#include "cli/stream.h"
#include "cli/unsupported.h"
#include "cli/up_options.h"

static const struct option options[] = {
    OPT_BOOL("build", 0, "Build image before starting container"),
    OPT_WORDS("cap-add", 0, "Add Linux capabilities"),
    OPT_WORDS("cap-drop", 0, "Drop Linux capabilities"),
    OPT_BOOL("detach", 'd', "Run container in background and print container ID"),
    OPT_STR("detach-keys", 0, "Override the key sequence for detaching from a container.",
            .flags = OPTION_OURS),
    OPT_STR("entrypoint", 0, "Override the entrypoint of the image"),
    OPT_LIST("env", 'e', "Set environment variables"),
    OPT_LIST("env-from-file", 0, "Set environment variables from file", .words = "@file"),
    OPT_BOOL("interactive", 'i', "Keep STDIN open even if not attached", .fallback = "true"),
    OPT_LIST("label", 'l', "Add or override a label"),
    LOCKED_OPTION,
    OPT_STR("name", 0, "Assign a name to the container"),
    OPT_BOOL("no-TTY", 'T', "Disable pseudo-TTY allocation (default: auto-detected)"),
    OPT_BOOL("no-deps", 0, "Don't start linked services"),
    OPT_LIST("publish", 'p', "Publish a container's port(s) to the host"),
    OPT_STR("pull", 0, "Pull image before running (\"always\"|\"missing\"|\"never\")",
            .fallback = "policy", .words = "always missing never"),
    OPT_BOOL("quiet", 'q', "Don't print anything to STDOUT"),
    OPT_BOOL("quiet-build", 0, "Suppress progress output from the build process"),
    OPT_BOOL("quiet-pull", 0, "Pull without printing progress information"),
    OPT_BOOL("remove-orphans", 0, "Remove containers for services not defined in the Compose file"),
    OPT_BOOL("rm", 0, "Automatically remove the container when it exits"),
    OPT_BOOL("service-ports", 'P',
             "Run command with all service's ports enabled and mapped to the host"),
    OPT_BOOL("tty", 't', "Allocate a pseudo-TTY", .flags = OPTION_HIDDEN),
    OPT_BOOL("use-aliases", 0,
             "Use the service's network useAliases in the network(s) the container connects to"),
    OPT_STR("user", 'u', "Run as specified username or uid"),
    OPT_LIST("volume", 'v', "Bind mount a volume"),
    OPT_STR("workdir", 'w', "Working directory inside the container", .words = "@dir"),
    OPTION_END,
};

/* A one-off container from its request to its end. */
struct session {
    struct cli *cli;
    const struct args *args;
    struct client *client;
    struct progress progress;
    struct progress_ticker ticker;
    uv_signal_t interrupt, terminate;
    const char *project, *id; /* borrowed; id: of the request */
    bool replaced;            /* the supervisor, by another */
    bool created, up, died, destroyed, kept, closed, failed, interrupted;
    int exit_code;
    struct err err;
};

static bool is_own(const struct session *s, const json_t *event)
{
    return s->created && streq(jstr(event, "id", ""), s->id);
}

/* What a supervisor that was killed saw, and did not come to tell. */
static void look_again(struct session *s)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(s->cli, s->project, &list, NULL) < 0)
        return;
    const struct container_record *c = container_by_id(&list, s->id);
    s->destroyed = !c;
    if (c && c->started && !container_is_up(c)) {
        s->died = true;
        s->exit_code = c->exit_code;
    }
}

static void on_event(void *ctx, const char *name, const json_t *event)
{
    struct session *s = ctx;
    const char *action = jstr(event, "action", "");
    if (streq(name, "progress")) {
        progress_show(&s->progress, event);
    } else if (streq(name, "warning")) {
        cli_warn(s->cli, "%s", jstr(event, "message", ""));
        s->kept = s->kept || is_own(s, event);
    } else if (streq(name, "waiting")) {
        cli_info(s->cli, "%s", jstr(event, "message", ""));
    } else if (streq(name, "created")) {
        s->created = true;
    } else if (streq(name, "following")) {
        s->replaced = true;
        if (s->up)
            look_again(s);
    } else if (streq(name, "up") || (is_own(s, event) && streq(action, "start"))) {
        s->up = true;
        if (s->replaced)
            look_again(s);
    } else if (streq(name, "error")) {
        s->failed = true;
        error_of_event(event, NULL, &s->err);
    } else if (is_own(s, event) && streq(action, "die")) {
        s->died = true;
        s->exit_code = (int)jint(event, "exit_code", 0);
    } else if (is_own(s, event) && streq(action, "destroy")) {
        s->destroyed = true;
    }
}

static void on_closed(void *ctx, struct err *err)
{
    struct session *s = ctx;
    s->closed = true;
    if (err && !s->failed && !s->interrupted) {
        s->failed = true;
        err_move(&s->err, err);
    }
}

static void on_signal(uv_signal_t *sig, int signum)
{
    struct session *s = sig->data;
    (void)signum;
    s->interrupted = true;
    client_cancel(s->client);
}

static void session_open(struct session *s, uv_loop_t *loop)
{
    uv_signal_init(loop, &s->interrupt);
    uv_signal_init(loop, &s->terminate);
    s->interrupt.data = s->terminate.data = s;
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
    uv_signal_start(&s->terminate, on_signal, SIGTERM);
    progress_init(&s->progress, s->cli, "Creating");
    progress_ticker_start(&s->ticker, loop, &s->progress);
}

static void session_close(struct session *s, uv_loop_t *loop)
{
    if (!s->closed)
        client_cancel(s->client);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    uv_close((uv_handle_t *)&s->terminate, NULL);
    progress_ticker_stop(&s->ticker);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    client_free(s->client);
    progress_release(&s->progress);
}

static bool wants_tty(const struct args *args)
{
    if (args_bool(args, "no-TTY") || args_bool(args, "detach"))
        return args_bool(args, "tty");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* Connects our streams; the code comes from the monitor, or from the supervisor's "die". */
static int interact(struct session *s, uv_loop_t *loop, struct err *err)
{
    const struct args *args = s->args;
    const char *keys = args_given(args, "detach-keys") ? args_str(args, "detach-keys") : NULL;
    struct stream_options o = {
        .id = s->id,
        .tty = wants_tty(args),
        .stdin_open = args_bool(args, "interactive"),
        .sig_proxy = true,
        .replay = true,
    };
    struct stream_result result = {0};
    if (keys_parse(keys, &o.keys, err) < 0)
        return -1;
    struct err why AUTOERR = ERR_INIT;
    bool streamed = stream_run(s->cli, &o, &result, &why) == 0;
    if (!streamed && why.kind != ERR_UNAVAILABLE && !s->died) {
        err_move(err, &why);
        if (err)
            err->exit_code = result.exit_code;
        return -1;
    }
    if (streamed && result.end != STREAM_EXITED)
        return result.end == STREAM_DETACHED ? 0 : result.exit_code;
    bool remove = args_bool(args, "rm");
    while (!s->closed && !s->interrupted && !s->destroyed && !s->kept && (remove || !s->died))
        uv_run(loop, UV_RUN_ONCE);
    if (!streamed && !s->died && !s->interrupted)
        return err_set(err, ERR_UNAVAILABLE, "the container is gone, and nobody saw how it ended");
    return streamed ? result.exit_code : s->exit_code;
}

static int run_container(struct cli *cli, const struct args *args, const char *project,
                         const json_t *request, struct err *err)
{
    struct session s = {.cli = cli, .args = args, .project = project};
    s.id = jstr(json_object_get(request, "options"), "id", "");
    uv_loop_t loop;
    if (cli_paths(cli, err) < 0)
        return -1;
    uv_loop_init(&loop);
    const struct client_handler handler = {on_event, on_closed, &s};
    if (client_open(&loop, &cli->paths, project, true, request, &handler, &s.client, err) < 0) {
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        return -1;
    }
    session_open(&s, &loop);
    while (!s.up && !s.closed && !s.failed)
        uv_run(&loop, UV_RUN_ONCE);
    progress_flush(&s.progress);
    uv_timer_stop(&s.ticker.timer);
    int rc = 0;
    if (s.interrupted) {
        rc = EXIT_INTERRUPTED;
    } else if (s.failed) {
        err_move(err, &s.err);
        rc = -1;
    } else if (args_bool(args, "detach")) {
        cli_outf("%s\n", s.id);
    } else {
        uv_signal_stop(&s.interrupt);
        uv_signal_stop(&s.terminate);
        rc = interact(&s, &loop, err);
    }
    session_close(&s, &loop);
    err_release(&s.err);
    return rc;
}

/* ---- before the container */

/* What the service needs is started, and where it needs more than that, waited for. */
static int dependencies(struct cli *cli, const struct args *args, const struct project *p,
                        const struct service *s, struct err *err)
{
    json_t *all AUTOJSON = json_array(), *awaited AUTOJSON = json_array();
    for (size_t i = 0; i < s->depends_on_n; i++) {
        const struct dependency *d = &s->depends_on[i];
        if (!project_service(p, d->service))
            continue;
        json_array_append_new(all, json_string(d->service));
        if (d->condition != DEPENDS_STARTED)
            json_array_append_new(awaited, json_string(d->service));
    }
    if (!json_array_size(all))
        return 0;
    json_t *request AUTOJSON = request_new("up", NULL);
    request_project(request, p);
    json_object_set(request, "services", all);
    request_bool(request, "no_recreate", true);
    if (json_array_size(awaited)) {
        request_bool(request, "wait", true);
        request_json(request, "wait_for", json_incref(awaited));
    }
    request_orphans(request, args);
    return dialog_run(cli, p->name, request, "Running", &(struct dialog_hooks){.project = p}, err);
}

static int images(struct cli *cli, const struct args *args, struct project *p, const char *service,
                  struct err *err)
{
    const char *names[] = {service, NULL};
    bool *selected AUTOFREE = NULL;
    if (choose_services(p, names, !args_bool(args, "no-deps"), &selected, err) < 0)
        return -1;
    struct lockfile lock AUTOLOCKFILE = {0};
    bool locked = args_bool(args, "locked");
    if (locked && lockfile_use(&lock, p, selected, err) < 0)
        return -1;
    const struct provision o = {
        .selected = selected,
        .pull = args_str(args, "pull"),
        .build = args_bool(args, "build"),
        .quiet_pull = args_bool(args, "quiet-pull"),
        .quiet_build = args_bool(args, "quiet-build") || args_bool(args, "quiet"),
        .lock = locked ? &lock : NULL,
    };
    return provision(cli, p, &o, err);
}

static int run_project(struct cli *cli, const struct args *args, struct project *p, struct err *err)
{
    const struct service *s = project_service(p, args->positional[0]);
    if (!s)
        return err_set(err, ERR_NOT_FOUND, "no such service: %s", args->positional[0]);
    if (s->provider)
        return err_set(err, ERR_INVALID, "service \"%s\" has a provider, and no image to run",
                       s->name);
    json_t *request AUTOJSON = request_new("run", NULL);
    jset_str(request, "service", s->name);
    char id[65];
    random_hex(32, id);
    request_str(request, "id", id);
    request_bool(request, "tty", wants_tty(args));
    if (run_request(args, request, err) < 0 || images(cli, args, p, s->name, err) < 0)
        return -1;
    request_project(request, p); /* with locked images, variables of providers and models */
    if (args_bool(args, "quiet"))
        cli->progress = PROGRESS_QUIET;
    int rc = args_bool(args, "no-deps") ? 0 : dependencies(cli, args, p, s, err);
    if (rc != 0)
        return rc;
    if (cli->dry_run)
        return args_bool(args, "detach")
                   ? 0
                   : err_set(err, ERR_INVALID, "interactive run is not supported in dry-run mode");
    return run_container(cli, args, p->name, request, err);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *names[] = {args->positional[0], NULL};
    struct project *p;
    if (check_pull_option(args_str(args, "pull"), err) < 0 ||
        load_for_services(cli, names, &p, err) < 0)
        return -1;
    warn_unsupported(cli, p, "");
    int rc = run_project(cli, args, p, err);
    project_free(p);
    return rc;
}

const struct command cmd_run = {
    .name = "run",
    .usage = "[OPTIONS] SERVICE [COMMAND] [ARGS...]",
    .summary = "Run a one-off command on a service",
    .options = options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .stop_at_argument = true,
    .complete = "@service",
    .run = run,
};
