#include "cli/side_watch.h"

#include <signal.h>

#include "base/mem.h"

static void on_closed(uv_handle_t *h)
{
    struct side_watch *w = container_of((uv_process_t *)h, struct side_watch, process);
    w->running = false;
    w->ended(w->ctx);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signum)
{
    (void)status;
    (void)signum;
    uv_close((uv_handle_t *)process, on_closed);
}

/* Our own global options, then the command. */
static char **argv_of(const struct cli *cli, const char *const *services)
{
    char **argv = NULL;
    for (char *const *a = cli->argv; *a && *a != cli->global->positional[0]; a++)
        strv_push(&argv, *a);
    strv_push(&argv, "watch");
    strv_push(&argv, "--no-up");
    for (; *services; services++)
        strv_push(&argv, *services);
    return argv;
}

int side_watch_start(struct side_watch *w, struct cli *cli, uv_loop_t *loop,
                     const char *const *services, struct err *err)
{
    char **argv AUTOSTRV = argv_of(cli, services);
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE}, /* the keys are the menu's */
        {.flags = UV_INHERIT_FD, .data.fd = 1},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    const uv_process_options_t options = {
        .file = "/proc/self/exe",
        .args = argv,
        .exit_cb = on_exit_of,
        .stdio = stdio,
        .stdio_count = ARRAY_SIZE(stdio),
    };
    int rc = uv_spawn(loop, &w->process, &options);
    w->running = true;
    if (rc == 0)
        return 0;
    uv_close((uv_handle_t *)&w->process, on_closed);
    return err_set(err, ERR_IO, "start watching: %s", uv_strerror(rc));
}

void side_watch_stop(struct side_watch *w)
{
    if (w->running && !uv_is_closing((uv_handle_t *)&w->process))
        uv_process_kill(&w->process, SIGTERM);
}
