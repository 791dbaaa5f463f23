/* What the unit compose.service runs: after a reboot, and before one. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/dialog.h"
#include "engine/state.h"

static const struct option options[] = {
    OPT_BOOL("stop", 0, "Stop all containers, so that a later restore starts them again"),
    OPTION_END,
};

struct one {
    const struct cli *cli;
    const char *project;
    struct client *client;
    bool failed;
};

static void complain(struct one *o, const char *message)
{
    o->failed = true;
    fprintf(stderr, "project %s: %s\n", o->project, message);
}

static void on_event(void *ctx, const char *name, const json_t *event)
{
    struct one *o = ctx;
    if (streq(name, "error"))
        complain(o, jstr(event, "message", ""));
    else if (streq(name, "warning"))
        fprintf(stderr, "project %s: warning: %s\n", o->project, jstr(event, "message", ""));
    else if (streq(name, "progress") && !streq(jstr(event, "state", ""), "working"))
        cli_outf("%s %s\n", jstr(event, "name", ""), jstr(event, "text", ""));
}

static void on_closed(void *ctx, struct err *err)
{
    struct one *o = ctx;
    if (err)
        complain(o, err->msg);
    client_free(o->client);
    o->client = NULL;
}

/* Projects that have nothing to do need no supervisor. */
static bool is_concerned(const struct paths *paths, const char *project, bool stop)
{
    struct container_list list = {0};
    bool found = false;
    if (container_list_read(paths, project, &list, NULL) < 0)
        return false;
    for (size_t i = 0; i < list.n; i++) {
        const struct container_record *c = &list.v[i];
        bool runs = c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED ||
                    c->status == CONTAINER_RESTARTING;
        found |= stop ? runs : c->started && !c->oneoff;
    }
    container_list_release(&list);
    return found;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    bool stop = args_bool(args, "stop");
    if (cli_paths(cli, err) < 0)
        return -1;
    char **names AUTOSTRV = project_names(&cli->paths);
    size_t n = strv_len((const char *const *)names);
    struct one *all = xcalloc(n + 1, sizeof(*all));
    json_t *request AUTOJSON = request_new(stop ? "stop" : "restore", NULL);
    if (stop)
        request_bool(request, "come_back", true);
    uv_loop_t loop;
    uv_loop_init(&loop);
    /* All at once: a project that waits for another's network or volume has it already. */
    for (size_t i = 0; i < n; i++) {
        struct err why AUTOERR = ERR_INIT;
        const struct client_handler handler = {on_event, on_closed, &all[i]};
        all[i] = (struct one){.cli = cli, .project = names[i]};
        if (is_concerned(&cli->paths, names[i], stop) &&
            client_open(&loop, &cli->paths, names[i], true, request, &handler, &all[i].client,
                        &why) < 0)
            complain(&all[i], why.msg);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    int rc = 0;
    for (size_t i = 0; i < n; i++)
        rc |= all[i].failed;
    free(all);
    return rc;
}

const struct command cmd_restore = {
    .name = "restore",
    .usage = "[OPTIONS]",
    .summary = "Start what restart policies want to run, in all projects: after a reboot",
    .options = options,
    .flags = COMMAND_OURS,
    .run = run,
};
