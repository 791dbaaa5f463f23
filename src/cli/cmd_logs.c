#include <signal.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/dialog.h"
#include "cli/logview.h"
#include "cli/moment.h"

static const struct option options[] = {
    OPT_BOOL("follow", 'f', "Follow log output"),
    OPT_INT("index", 0, "index of the container if service has multiple replicas."),
    OPT_BOOL("no-color", 0, "Produce monochrome output"),
    OPT_BOOL("no-log-prefix", 0, "Don't print prefix in logs"),
    OPT_STR("since", 0,
            "Show logs since timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 "
            "minutes)"),
    OPT_STR("tail", 'n', "Number of lines to show from the end of the logs for each container",
            .fallback = "all"),
    OPT_BOOL("timestamps", 't', "Show timestamps"),
    OPT_STR("until", 0,
            "Show logs before a timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 "
            "minutes)"),
    OPTION_END,
};

static int log_options(struct cli *cli, const struct args *args, struct logview_options *o,
                       struct err *err)
{
    const char *tail = args_str(args, "tail");
    *o = (struct logview_options){
        .color = cli->color_out && !args_bool(args, "no-color"),
        .prefix = !args_bool(args, "no-log-prefix"),
        .timestamps = args_bool(args, "timestamps"),
        .tail = -1,
    };
    if (!streq(tail, "all") && (!parse_int(tail, &o->tail) || o->tail < 0))
        o->tail = -1; /* as the reference takes it */
    if (moment_parse(args_str(args, "since"), &o->since, err) < 0)
        return err_wrap(err, "--since");
    if (moment_parse(args_str(args, "until"), &o->until, err) < 0)
        return err_wrap(err, "--until");
    return 0;
}

struct follower {
    struct cli *cli;
    const struct args *args;
    const char *project;
    struct logview *view;
    struct client *client;
    uv_signal_t interrupt, terminate;
    uv_timer_t until;
    struct map running;
    bool interrupted;
};

static bool wanted(const struct args *args, const struct container_record *c)
{
    int64_t index = args_int(args, "index");
    return !c->oneoff && container_in_services(c, args->positional) &&
           (!index || c->number == index);
}

static void finish(struct follower *f)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&f->interrupt, (uv_handle_t *)&f->terminate,
                              (uv_handle_t *)&f->until};
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        if (!uv_is_closing(handles[i]))
            uv_close(handles[i], NULL);
    }
    logview_drain(f->view);
    logview_close(f->view);
    if (f->client)
        client_cancel(f->client);
}

static void on_end(struct follower *f, const struct container_record *c, int code, bool again)
{
    if (!again && !map_del(&f->running, c->id))
        return; /* known already */
    char *text AUTOFREE = xasprintf("exited with code %d%s", code, again ? " (restarting)" : "");
    logview_say(f->view, c->id, container_short_name(c), text);
    if (!f->running.live)
        finish(f);
}

/* Another supervisor goes on: what has ended meanwhile? */
static void look_again(struct follower *f)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(f->cli, f->project, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < list.n; i++)
        if (map_get(&f->running, list.v[i].id) && !container_is_up(&list.v[i]))
            on_end(f, &list.v[i], list.v[i].exit_code, false);
}

static void on_event(void *ctx, const char *name, const json_t *event)
{
    struct follower *f = ctx;
    if (streq(name, "following"))
        look_again(f);
    const char *action = jstr(event, "action", "");
    struct container_record c = {
        .id = (char *)jstr(event, "id", ""),
        .name = (char *)jstr(event, "name", ""),
        .service = (char *)jstr(event, "service", ""),
        .project = (char *)f->project,
        .number = (int)jint(event, "number", 0),
        .oneoff = jbool(event, "oneoff", false),
    };
    if (!streq(name, "container") || !wanted(f->args, &c))
        return;
    if (streq(action, "start")) {
        map_set(&f->running, c.id, "");
        logview_add(f->view, &c, 0, NULL);
        logview_drain(f->view);
    } else if (streq(action, "die")) {
        on_end(f, &c, (int)jint(event, "exit_code", 0), jbool(event, "restarting", false));
    } else if (streq(action, "destroy")) {
        logview_remove(f->view, c.id);
    }
}

static void on_closed(void *ctx, struct err *err)
{
    struct follower *f = ctx;
    (void)err; /* no supervisor is to be had: nothing is left to follow */
    client_free(f->client);
    f->client = NULL;
    finish(f);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct follower *f = s->data;
    (void)signum;
    f->interrupted = true;
    finish(f);
}

static void on_until(uv_timer_t *timer)
{
    finish(timer->data);
}

static int follow(struct cli *cli, const struct args *args, const char *project,
                  const struct logview_options *o, struct err *err)
{
    struct follower f = {.cli = cli, .args = args, .project = project};
    struct container_list list AUTOCONTAINERS = {0};
    uv_loop_t loop;
    uv_loop_init(&loop);
    uv_signal_init(&loop, &f.interrupt);
    uv_signal_init(&loop, &f.terminate);
    uv_timer_init(&loop, &f.until);
    f.interrupt.data = f.terminate.data = f.until.data = &f;
    uv_signal_start(&f.interrupt, on_signal, SIGINT);
    uv_signal_start(&f.terminate, on_signal, SIGTERM);
    f.view = logview_new(cli, &loop, o);

    /* Events first, then what is there: a container that starts in between is seen twice, not never. */
    json_t *request AUTOJSON = request_new("events", NULL);
    const struct client_handler handler = {on_event, on_closed, &f};
    struct err none AUTOERR = ERR_INIT;
    bool live = client_open(&loop, &cli->paths, project, false, request, &handler, &f.client,
                            &none) == 0;
    int rc = containers_read(cli, project, &list, err);
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        if (!wanted(args, &list.v[i]))
            continue;
        rc = logview_add(f.view, &list.v[i], 0, err);
        if (container_is_up(&list.v[i]))
            map_set(&f.running, list.v[i].id, "");
    }
    logview_drain(f.view);
    if (o->until && rc == 0) {
        int64_t left = (o->until - time_now()) / 1000000;
        uv_timer_start(&f.until, on_until, left > 0 ? (uint64_t)left : 0, 0);
    }
    if (!live || rc < 0 || !f.running.live)
        finish(&f);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    logview_free(f.view);
    map_release(&f.running);
    return rc < 0 ? -1 : f.interrupted ? EXIT_INTERRUPTED : 0;
}

static int once(struct cli *cli, const struct args *args, const char *project,
                const struct logview_options *o, struct err *err)
{
    struct container_list list AUTOCONTAINERS = {0};
    int64_t index = args_int(args, "index");
    if (containers_read(cli, project, &list, err) < 0)
        return -1;
    if (index && args->n == 1 &&
        !container_choose(&list, args->positional[0], index, false, false, NULL))
        return err_set(err, ERR_NOT_FOUND, "service \"%s\" is not running container #%lld",
                       args->positional[0], (long long)index);
    struct logview *view = logview_new(cli, NULL, o);
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        if (wanted(args, &list.v[i]))
            rc = logview_add(view, &list.v[i], 0, err);
    }
    if (rc == 0)
        logview_drain(view);
    logview_free(view);
    return rc;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct logview_options o;
    char *name AUTOFREE = NULL;
    if (args_int(args, "index") && args->n != 1)
        return err_set(err, ERR_INVALID, "--index requires one service to be selected");
    if (log_options(cli, args, &o, err) < 0 ||
        cli_project_name(cli, &name, args->positional, err) < 0 || cli_paths(cli, err) < 0)
        return -1;
    return args_bool(args, "follow") ? follow(cli, args, name, &o, err)
                                     : once(cli, args, name, &o, err);
}

const struct command cmd_logs = {
    .name = "logs",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "View output from containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
