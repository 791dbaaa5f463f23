#include "cli/watcher.h"

#include <signal.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/dialog.h"

struct watcher {
    struct client *client;
    const struct watcher_handler *handler;
    uv_signal_t interrupt, terminate;
    uv_timer_t until;
    bool interrupted, ended;
};

static void finish(struct watcher *w)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&w->interrupt, (uv_handle_t *)&w->terminate,
                              (uv_handle_t *)&w->until};
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
        if (!uv_is_closing(handles[i]))
            uv_close(handles[i], NULL);
    }
    w->ended = true;
    if (w->client)
        client_cancel(w->client);
}

static void on_event(void *ctx, const char *name, const json_t *event)
{
    struct watcher *w = ctx;
    if (w->ended)
        return;
    bool enough = false;
    if (streq(name, "container"))
        enough = !w->handler->event(w->handler->ctx, event);
    else if (streq(name, "following"))
        enough = w->handler->ready && !w->handler->ready(w->handler->ctx);
    if (enough)
        finish(w);
}

static void on_closed(void *ctx, struct err *err)
{
    struct watcher *w = ctx;
    (void)err; /* no supervisor is to be had any more, and so no events */
    client_free(w->client);
    w->client = NULL;
    finish(w);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct watcher *w = s->data;
    (void)signum;
    w->interrupted = true;
    finish(w);
}

static void on_until(uv_timer_t *timer)
{
    finish(timer->data);
}

int watcher_run(struct cli *cli, const char *project, bool start, int64_t since, int64_t until,
                const struct watcher_handler *handler, struct err *err)
{
    struct watcher w = {.handler = handler};
    uv_loop_t loop;
    json_t *request AUTOJSON = request_new("events", NULL);
    if (since)
        request_int(request, "since", since);
    if (until)
        request_int(request, "until", until);
    const struct client_handler h = {on_event, on_closed, &w};
    struct err why AUTOERR = ERR_INIT;
    if (cli_paths(cli, err) < 0)
        return -1;
    uv_loop_init(&loop);
    uv_signal_init(&loop, &w.interrupt);
    uv_signal_init(&loop, &w.terminate);
    uv_timer_init(&loop, &w.until);
    w.interrupt.data = w.terminate.data = w.until.data = &w;
    int rc = client_open(&loop, &cli->paths, project, start, request, &h, &w.client, &why);
    if (rc == 0) {
        uv_signal_start(&w.interrupt, on_signal, SIGINT);
        uv_signal_start(&w.terminate, on_signal, SIGTERM);
        int64_t left = until - time_now();
        if (until && left > 0) /* else the supervisor ends it, behind what it has kept */
            uv_timer_start(&w.until, on_until, (uint64_t)(left / 1000000), 0);
    } else
        finish(&w);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (rc < 0 && why.kind != ERR_NOT_FOUND) {
        err_move(err, &why);
        return -1;
    }
    return w.interrupted ? EXIT_INTERRUPTED : 0;
}
