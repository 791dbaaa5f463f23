#include "cli/dialog.h"

#include <signal.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/dry_run.h"
#include "cli/reasons.h"
#include "net/network.h"
#include "volume/volume.h"

struct dialog {
    struct cli *cli;
    struct client *client;
    struct progress progress;
    struct progress_ticker ticker;
    uv_signal_t interrupt, terminate;
    const struct dialog_hooks *hooks;
    int exit_code;
    bool failed, interrupted;
    struct err err;
};

static enum progress_state state_by_name(const char *s)
{
    static const struct {
        const char *name;
        enum progress_state state;
    } names[] = {{"done", PROGRESS_DONE}, {"warning", PROGRESS_WARNING}, {"error", PROGRESS_ERROR}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (streq(s, names[i].name))
            return names[i].state;
    }
    return PROGRESS_WORKING;
}

void progress_show(struct progress *p, const json_t *event)
{
    const char *text = jstr(event, "text", ""), *detail = jstr(event, "detail", NULL);
    enum progress_state state = state_by_name(jstr(event, "state", "working"));
    char *id AUTOFREE = xasprintf("%s %s", jstr(event, "kind", "Container"),
                                  jstr(event, "name", ""));
    char *status AUTOFREE = !detail                   ? xstrdup(text)
                            : state == PROGRESS_ERROR ? xasprintf("%s %s", text, detail)
                                                      : xasprintf("%s (%s)", text, detail);
    json_t *reasons AUTOJSON = reasons_resolve(json_object_get(event, "reasons"), p->project);
    progress_event(p, &(struct progress_event){
                          .id = id, .status = status, .state = state, .reasons = reasons});
}

int error_of_event(const json_t *event, const struct project *p, struct err *err)
{
    const char *message = jstr(event, "message", "the supervisor gave no reason");
    err_set(err, ERR_IO, "%s", message);
    if (err)
        err->exit_code = (int)jint(event, "exit", 1);
    return err_at_path(err, p, json_object_get(event, "path"));
}

/* A command that needs no files still names the place of what is at fault. */
static void fail(struct dialog *d, const json_t *event)
{
    const struct project *known = d->progress.project;
    struct project *own = known || !json_object_get(event, "path") ? NULL
                                                                   : cli_project_quietly(d->cli);
    d->failed = true;
    error_of_event(event, known ? known : own, &d->err);
    project_free(own);
}

static void on_event(void *ctx, const char *name, const json_t *event)
{
    struct dialog *d = ctx;
    if (streq(name, "progress")) {
        progress_show(&d->progress, event);
    } else if (streq(name, "warning")) {
        progress_flush(&d->progress);
        cli_warn(d->cli, "%s", jstr(event, "message", ""));
    } else if (streq(name, "waiting")) {
        progress_flush(&d->progress);
        cli_info(d->cli, "%s", jstr(event, "message", ""));
    } else if (streq(name, "done")) {
        d->exit_code = (int)jint(event, "exit", 0);
    } else if (streq(name, "error")) {
        fail(d, event);
    }
    if (d->hooks && d->hooks->event)
        d->hooks->event(d->hooks->ctx, name, event);
    if (streq(name, "done") || streq(name, "error"))
        client_cancel(d->client);
}

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void on_closed(void *ctx, struct err *err)
{
    struct dialog *d = ctx;
    if (err && !d->interrupted) {
        d->failed = true;
        err_move(&d->err, err);
    }
    close_handle((uv_handle_t *)&d->interrupt);
    close_handle((uv_handle_t *)&d->terminate);
    progress_ticker_stop(&d->ticker);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct dialog *d = s->data;
    (void)signum;
    d->interrupted = true;
    client_cancel(d->client);
}

static void watch_signal(struct dialog *d, uv_loop_t *loop, uv_signal_t *s, int signum)
{
    uv_signal_init(loop, s);
    s->data = d;
    uv_signal_start(s, on_signal, signum);
}

int dialog_run(struct cli *cli, const char *project, const json_t *request, const char *title,
               const struct dialog_hooks *hooks, struct err *err)
{
    struct dialog d = {.cli = cli, .hooks = hooks};
    if (cli_paths(cli, err) < 0)
        return -1;
    if (cli->dry_run)
        return dry_run_show(cli, project, request, title, hooks ? hooks->project : NULL, err);
    uv_loop_t loop;
    uv_loop_init(&loop);
    const struct client_handler handler = {.event = on_event, .closed = on_closed, .ctx = &d};
    if (client_open(&loop, &cli->paths, project, true, request, &handler, &d.client, err) < 0) {
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        return -1;
    }
    progress_init(&d.progress, cli, title);
    d.progress.project = hooks ? hooks->project : NULL;
    progress_ticker_start(&d.ticker, &loop, &d.progress);
    watch_signal(&d, &loop, &d.interrupt, SIGINT);
    watch_signal(&d, &loop, &d.terminate, SIGTERM);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    progress_flush(&d.progress);
    progress_release(&d.progress);
    client_free(d.client);
    if (d.interrupted) {
        err_release(&d.err);
        return EXIT_INTERRUPTED;
    }
    if (d.failed) {
        err_move(err, &d.err);
        return -1;
    }
    return d.exit_code;
}

/* Networks and volumes outlive a `down` that could not or should not remove them. */
static bool has_resources(struct cli *cli, const char *project)
{
    struct network_state **networks = NULL;
    struct volume_state *volumes = NULL;
    size_t n = 0;
    bool found = false;
    if (network_list(&cli->paths, &networks, NULL) == 0)
        for (size_t i = 0; networks[i]; i++)
            found |= networks[i]->project && streq(networks[i]->project, project);
    network_list_free(networks);
    if (volume_list(&cli->paths, project, &volumes, &n, NULL) == 0) {
        found |= n > 0;
        for (size_t i = 0; i < n; i++)
            volume_state_release(&volumes[i]);
        free(volumes);
    }
    return found;
}

bool project_is_known(struct cli *cli, const char *project)
{
    char *dir AUTOFREE = paths_project(&cli->paths, project);
    return fs_is_dir(dir) || has_resources(cli, project);
}
