#include "cli/attached.h"

#include <signal.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/dialog.h"
#include "cli/menu.h"
#include "cli/progress.h"
#include "cli/side_watch.h"

enum phase {
    PHASE_CREATING, /* the operation runs and its progress is shown */
    PHASE_ATTACHED, /* logs are shown; the operation may still be starting things */
    PHASE_STOPPING, /* a stop is under way: Ctrl-C, or a container's end */
    PHASE_KILLING,
    PHASE_ENDING, /* handles are being closed */
};

enum { EXIT_ENDED_EARLY = 128 + SIGTERM };

struct attached {
    struct cli *cli;
    const struct attached_options *o;
    uv_loop_t loop;
    enum phase phase;
    int64_t began;           /* ns since the epoch: older log lines are not ours */
    struct client *watching; /* the "up" connection, or one that follows events */
    struct client *stopping; /* "stop" or "kill" */
    struct logview *log;
    struct progress progress, stop_progress;
    struct progress_ticker ticker;
    uv_signal_t interrupt, terminate;
    struct menu *menu;
    struct side_watch watch;
    struct map running; /* ids of containers that run or will run again */
    struct map ended;   /* ids of those whose end was told */
    bool up;            /* the operation has ended well */
    bool watch_wanted;  /* as soon as it has: --watch, or the key */
    bool interrupted, failed;
    bool has_code; /* exit_code is decided */
    int exit_code;
    struct err err;
};

/* ---- ending */

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void close_menu(struct attached *a)
{
    menu_close(a->menu);
    a->menu = NULL;
    side_watch_stop(&a->watch);
}

static void finish(struct attached *a)
{
    if (a->phase == PHASE_ENDING)
        return;
    a->phase = PHASE_ENDING;
    close_menu(a);
    logview_drain(a->log);
    logview_close(a->log);
    close_handle((uv_handle_t *)&a->interrupt);
    close_handle((uv_handle_t *)&a->terminate);
    close_handle((uv_handle_t *)&a->ticker.timer);
    if (a->watching)
        client_cancel(a->watching);
    if (a->stopping)
        client_cancel(a->stopping);
}

static void fail(struct attached *a, struct err *err)
{
    a->failed = true;
    if (!a->err.msg)
        err_move(&a->err, err);
    finish(a);
}

/* ---- which service */

static bool in_set(const struct attached *a, const bool *set, const char *service)
{
    const struct service *s = project_service(a->o->project, service);
    return s && set[s - a->o->project->services];
}

static int64_t replicas(const struct attached *a, const struct service *s)
{
    return jint(a->o->scale, s->name, s->scale);
}

/* "Attaching to db-1, web-1": the names are known before the containers are. */
static void announce(struct attached *a)
{
    struct strbuf names AUTOBUF = STRBUF_INIT;
    const struct project *p = a->o->project;
    for (size_t i = 0; i < p->services_n; i++) {
        const struct service *s = &p->services[i];
        for (int64_t n = 1; a->o->shown[i] && n <= replicas(a, s); n++) {
            char *name AUTOFREE = s->container_name ? xstrdup(s->container_name)
                                                    : xasprintf("%s-%lld", s->name, (long long)n);
            logview_reserve(a->log, name);
            strbuf_addf(&names, "%s%s", names.len ? ", " : "", name);
        }
    }
    if (names.len)
        cli_outf("Attaching to %s\n", names.buf);
}

/* ---- keys */

/* All have ended, and nothing that is watched starts them again. */
static void finish_if_idle(struct attached *a)
{
    if (a->up && !a->running.live && a->phase == PHASE_ATTACHED && !a->watch.running)
        finish(a);
}

static void on_watch_ended(void *ctx)
{
    struct attached *a = ctx;
    menu_set_watching(a->menu, false);
    finish_if_idle(a);
}

static void start_watching(struct attached *a)
{
    struct err err AUTOERR = ERR_INIT;
    a->watch.ended = on_watch_ended;
    a->watch.ctx = a;
    if (side_watch_start(&a->watch, a->cli, &a->loop, a->o->named, &err) < 0)
        cli_warn(a->cli, "%s", err.msg);
    else
        menu_set_watching(a->menu, true);
}

static void on_key(void *ctx, char key)
{
    struct attached *a = ctx;
    if (a->phase != PHASE_ATTACHED)
        return;
    if (key == 'd')
        finish(a); /* the containers run on */
    else if (a->watch.running)
        side_watch_stop(&a->watch);
    else if (a->up)
        start_watching(a);
    else
        a->watch_wanted = !a->watch_wanted;
}

static void attach(struct attached *a)
{
    if (a->phase != PHASE_CREATING)
        return;
    a->phase = PHASE_ATTACHED;
    progress_flush(&a->progress);
    uv_timer_stop(&a->ticker.timer);
    announce(a);
    if (a->o->menu)
        a->menu = menu_open(a->cli, &a->loop, &(struct menu_handler){on_key, a});
}

/* ---- stopping */

static void look_again(struct attached *a);

static void on_stop_event(void *ctx, const char *name, const json_t *event)
{
    struct attached *a = ctx;
    if (streq(name, "progress")) {
        progress_show(&a->stop_progress, event);
    } else if (streq(name, "error")) {
        struct err err AUTOERR = ERR_INIT;
        error_of_event(event, a->o->project, &err);
        fail(a, &err);
    } else if (streq(name, "done")) {
        look_again(a);
        finish(a);
    }
}

static void on_stop_closed(void *ctx, struct err *err)
{
    struct attached *a = ctx;
    client_free(a->stopping);
    a->stopping = NULL;
    if (err && a->phase != PHASE_ENDING)
        fail(a, err);
}

/* An "up" that has not ended yet is given up first: ended by our stop, it would call that a failure. */
static void send_stop(struct attached *a)
{
    if (!a->up && a->watching)
        client_cancel(a->watching);
    json_t *request AUTOJSON = request_new("stop", NULL);
    json_t *services = json_array();
    const struct project *p = a->o->project;
    for (size_t i = 0; i < p->services_n; i++) {
        if (a->o->selected[i])
            json_array_append_new(services, json_string(p->services[i].name));
    }
    json_object_set_new(request, "services", services);
    if (a->o->timeout >= 0)
        request_int(request, "timeout", a->o->timeout);
    const struct client_handler handler = {on_stop_event, on_stop_closed, a};
    struct err err AUTOERR = ERR_INIT;
    if (client_open(&a->loop, &a->cli->paths, p->name, true, request, &handler, &a->stopping,
                    &err) < 0)
        fail(a, &err);
}

/* The stop goes on and sees them end: a request of its own would wait for it. */
static void kill_all(struct attached *a)
{
    struct container_list list AUTOCONTAINERS = {0};
    containers_read(a->cli, a->o->project->name, &list, NULL);
    for (size_t i = 0; i < list.n; i++) {
        const struct container_record *c = &list.v[i];
        if (c->oneoff || c->pid <= 0 || !in_set(a, a->o->selected, c->service) ||
            pid_start_time(c->pid) != c->pid_start)
            continue;
        char *id AUTOFREE = xasprintf("Container %s", c->name);
        bool killed = kill(c->pid, SIGKILL) == 0;
        progress_event(&a->stop_progress, &(struct progress_event){
                                              .id = id,
                                              .status = killed ? "Killed" : "Error while Killing",
                                              .state = killed ? PROGRESS_DONE : PROGRESS_ERROR,
                                          });
    }
}

/* ---- events of the operation and its containers */

static void on_event(void *ctx, const char *name, const json_t *event);

static void on_watch_closed(void *ctx, struct err *err);

/* Follows containers without an operation: the "up" was given up. */
static void follow_events(struct attached *a)
{
    json_t *request AUTOJSON = request_new("events", NULL);
    const struct client_handler handler = {on_event, on_watch_closed, a};
    struct err err AUTOERR = ERR_INIT;
    if (client_open(&a->loop, &a->cli->paths, a->o->project->name, true, request, &handler,
                    &a->watching, &err) < 0)
        fail(a, &err);
}

static void on_watch_closed(void *ctx, struct err *err)
{
    struct attached *a = ctx;
    client_free(a->watching);
    a->watching = NULL;
    if (a->phase == PHASE_ENDING)
        return;
    if (a->phase >= PHASE_STOPPING && !a->up)
        follow_events(a);
    else if (err)
        fail(a, err);
    else
        finish(a);
}

static void abort_all(struct attached *a, int code)
{
    if (!a->has_code && !a->o->exit_code_from) {
        a->exit_code = code;
        a->has_code = true;
    }
    if (a->phase >= PHASE_STOPPING)
        return;
    a->phase = PHASE_STOPPING;
    close_menu(a);
    fprintf(stderr, "%sAborting on container exit...%s\n",
            a->cli->color_err ? "\033[31m\033[1m" : "", a->cli->color_err ? "\033[0m" : "");
    send_stop(a);
}

static void on_die(struct attached *a, const json_t *event, struct container_record *c)
{
    int code = (int)jint(event, "exit_code", 0);
    bool again = jbool(event, "restarting", false);
    /* Before anything is started only those end that are replaced: the progress tells of them. */
    if (a->phase == PHASE_CREATING || map_set(&a->ended, c->id, ""))
        return;
    if (in_set(a, a->o->shown, c->service)) {
        char *text AUTOFREE = xasprintf("exited with code %d%s%s", code,
                                        jbool(event, "oom", false) ? " (out of memory)" : "",
                                        again ? " (restarting)" : "");
        logview_say(a->log, c->id, container_short_name(c), text);
    }
    if (again)
        return;
    map_del(&a->running, c->id);
    if (a->o->exit_code_from && streq(a->o->exit_code_from, c->service)) {
        /* Ended by us because another one ended, it has not done what it should have. */
        a->exit_code = !code && a->phase >= PHASE_STOPPING ? EXIT_ENDED_EARLY : code;
        a->has_code = true;
    }
    if (a->o->abort_on_exit || (a->o->abort_on_failure && code))
        abort_all(a, code);
    else
        finish_if_idle(a);
}

static void on_start(struct attached *a, struct container_record *c)
{
    struct err err AUTOERR = ERR_INIT;
    map_set(&a->running, c->id, "");
    map_del(&a->ended, c->id);
    if (in_set(a, a->o->shown, c->service) && logview_add(a->log, c, a->began, &err) < 0)
        cli_warn(a->cli, "%s: %s", c->name, err.msg);
    logview_drain(a->log);
}

static void on_gone(struct attached *a, const char *id)
{
    map_del(&a->running, id);
    map_del(&a->ended, id);
    logview_remove(a->log, id);
}

static void on_container(struct attached *a, const json_t *event)
{
    const char *action = jstr(event, "action", "");
    /* As much of a record as the views need: the container may be gone from the disk already. */
    struct container_record c = {
        .id = (char *)jstr(event, "id", ""),
        .name = (char *)jstr(event, "name", ""),
        .service = (char *)jstr(event, "service", ""),
        .project = (char *)a->o->project->name,
    };
    if (!in_set(a, a->o->selected, c.service) || jbool(event, "oneoff", false))
        return;
    if (streq(action, "start")) {
        attach(a);
        on_start(a, &c);
    } else if (streq(action, "die")) {
        on_die(a, event, &c);
    } else if (streq(action, "destroy")) {
        on_gone(a, c.id);
    }
}

static void on_hook(struct attached *a, const json_t *event)
{
    struct container_record c = {.name = (char *)jstr(event, "name", ""),
                                 .service = (char *)jstr(event, "service", ""),
                                 .project = (char *)a->o->project->name};
    if (in_set(a, a->o->shown, c.service))
        logview_hook(a->log, jstr(event, "id", ""), container_short_name(&c),
                     jstr(event, "text", ""));
}

static void look_for_started(struct attached *a, struct container_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct container_record *c = &list->v[i];
        if (!c->oneoff && in_set(a, a->o->selected, c->service) && container_is_up(c))
            on_start(a, c);
    }
}

/* What nobody has told of shows now: another supervisor goes on, or the end came while we asked for
 * events anew. */
static void look_again(struct attached *a)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(a->cli, a->o->project->name, &list, NULL) < 0)
        return;
    map_foreach (&a->running, it) {
        struct container_record *c = container_by_id(&list, it->key);
        if (c && container_is_up(c))
            continue;
        char *id AUTOFREE = xstrdup(it->key);
        if (!c) {
            on_gone(a, id);
            continue;
        }
        json_t *end AUTOJSON = json_pack("{s:i, s:b}", "exit_code", c->exit_code, "oom",
                                         c->oom_killed);
        on_die(a, end, c);
    }
    look_for_started(a, &list);
    finish_if_idle(a);
}

/* What ran before the operation began has no start event, and what ended under a supervisor that was killed
 * perhaps no end. */
static void on_up(struct attached *a)
{
    a->up = true;
    attach(a);
    if (a->watch_wanted && a->phase == PHASE_ATTACHED)
        start_watching(a);
    look_again(a);
}

static void on_progress(struct attached *a, const json_t *event)
{
    if (a->phase == PHASE_CREATING && streq(jstr(event, "text", ""), "Starting"))
        attach(a);
    /* Once logs are shown, a block that redraws itself would eat them; lines go between them. */
    bool between = a->phase == PHASE_ATTACHED && a->progress.view && !a->progress.view->draw &&
                   starts_with(jstr(event, "text", ""), "Creat");
    if (a->phase == PHASE_CREATING || between)
        progress_show(&a->progress, event);
}

static void on_event(void *ctx, const char *name, const json_t *event)
{
    struct attached *a = ctx;
    if (a->phase == PHASE_ENDING)
        return;
    if (streq(name, "container")) {
        on_container(a, event);
    } else if (streq(name, "hook")) {
        on_hook(a, event);
    } else if (streq(name, "progress")) {
        on_progress(a, event);
    } else if (streq(name, "up")) {
        on_up(a);
    } else if (streq(name, "following")) {
        if (a->up)
            look_again(a);
    } else if (streq(name, "warning")) {
        progress_flush(&a->progress);
        cli_warn(a->cli, "%s", jstr(event, "message", ""));
    } else if (streq(name, "waiting")) {
        cli_info(a->cli, "%s", jstr(event, "message", ""));
    } else if (streq(name, "error")) {
        struct err err AUTOERR = ERR_INIT;
        error_of_event(event, a->o->project, &err);
        fail(a, &err);
    } else if (streq(name, "idle") || streq(name, "done")) {
        if (a->phase == PHASE_ATTACHED)
            finish(a);
    }
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct attached *a = s->data;
    (void)signum;
    a->interrupted = true;
    switch (a->phase) {
    case PHASE_CREATING:
    case PHASE_ATTACHED:
        progress_flush(&a->progress);
        uv_timer_stop(&a->ticker.timer);
        a->phase = PHASE_STOPPING;
        close_menu(a);
        cli_outf("Gracefully Stopping... press Ctrl+C again to force\n");
        send_stop(a);
        break;
    case PHASE_STOPPING:
        a->phase = PHASE_KILLING;
        kill_all(a);
        break;
    case PHASE_KILLING:
        finish(a);
        break;
    case PHASE_ENDING:
        break;
    }
}

static void watch_signal(struct attached *a, uv_signal_t *s, int signum)
{
    uv_signal_init(&a->loop, s);
    s->data = a;
    uv_signal_start(s, on_signal, signum);
}

static int attached_result(struct attached *a, struct err *err)
{
    if (a->failed && !a->interrupted) {
        err_move(err, &a->err);
        return -1;
    }
    err_release(&a->err);
    if (a->interrupted && !a->has_code)
        return EXIT_INTERRUPTED;
    return a->exit_code;
}

int attached_run(struct cli *cli, const json_t *request, const struct attached_options *o,
                 struct err *err)
{
    struct attached a = {.cli = cli, .o = o, .watch_wanted = o->watch, .began = time_now()};
    if (cli_paths(cli, err) < 0)
        return -1;
    uv_loop_init(&a.loop);
    const struct client_handler handler = {on_event, on_watch_closed, &a};
    if (client_open(&a.loop, &cli->paths, o->project->name, true, request, &handler, &a.watching,
                    err) < 0) {
        uv_run(&a.loop, UV_RUN_DEFAULT);
        uv_loop_close(&a.loop);
        return -1;
    }
    a.log = logview_new(cli, &a.loop, &o->log);
    progress_init(&a.progress, cli, "Running");
    a.progress.project = o->project;
    progress_init(&a.stop_progress, cli, "Stopping");
    if (cli->progress == PROGRESS_TTY)
        a.stop_progress.view = &progress_plain;
    progress_ticker_start(&a.ticker, &a.loop, &a.progress);
    watch_signal(&a, &a.interrupt, SIGINT);
    watch_signal(&a, &a.terminate, SIGTERM);
    uv_run(&a.loop, UV_RUN_DEFAULT);
    uv_loop_close(&a.loop);
    logview_free(a.log);
    progress_flush(&a.progress);
    progress_release(&a.progress);
    progress_release(&a.stop_progress);
    map_release(&a.running);
    map_release(&a.ended);
    return attached_result(&a, err);
}
