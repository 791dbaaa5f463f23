#include "base/map.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/dialog.h"
#include "cli/watcher.h"

static const struct option options[] = {
    OPT_BOOL("down-project", 0, "Drops project when the first container stops"),
    OPTION_END,
};

struct waiting {
    struct cli *cli;
    const char *project;
    const struct args *args;
    struct map left; /* ids of containers that still run -> name, heap */
    bool first_only;
    int code; /* of the container that ended last */
};

static bool is_over(const struct waiting *w, bool one_ended)
{
    return !w->left.live || (w->first_only && one_ended);
}

static void ended(struct waiting *w, const char *id, int code)
{
    char *name AUTOFREE = map_del(&w->left, id);
    if (!name)
        return;
    w->code = code;
    cli_outf("container \"%s\" exited with status code %d\n", name, code);
}

static bool on_event(void *ctx, const json_t *event)
{
    struct waiting *w = ctx;
    const char *id = jstr(event, "id", "");
    if (!streq(jstr(event, "action", ""), "die") || jbool(event, "restarting", false) ||
        !map_get(&w->left, id))
        return true;
    ended(w, id, (int)jint(event, "exit_code", 0));
    return !is_over(w, true);
}

/* What ended between the first look and the stream. */
static bool on_ready(void *ctx)
{
    struct waiting *w = ctx;
    struct container_list list AUTOCONTAINERS = {0};
    bool one = false;
    containers_read(w->cli, w->project, &list, NULL);
    for (size_t i = 0; i < list.n; i++) {
        if (map_get(&w->left, list.v[i].id) && !container_is_up(&list.v[i])) {
            ended(w, list.v[i].id, list.v[i].exit_code);
            one = true;
        }
    }
    return !is_over(w, one);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    struct waiting w = {.cli = cli, .args = args, .first_only = args_bool(args, "down-project")};
    if (cli_project_name(cli, &name, args->positional, err) < 0 ||
        containers_read(cli, name, &list, err) < 0)
        return -1;
    w.project = name;
    for (size_t i = 0; i < list.n; i++) {
        const struct container_record *c = &list.v[i];
        if (container_in_services(c, args->positional) && !c->oneoff && container_is_up(c))
            map_set(&w.left, c->id, xstrdup(c->name));
    }
    if (!w.left.live)
        return err_set(err, ERR_NOT_FOUND, "no containers for project \"%s\"", name);
    const struct watcher_handler handler = {.event = on_event, .ready = on_ready, .ctx = &w};
    int rc = watcher_run(cli, name, true, 0, 0, &handler, err);
    map_foreach (&w.left, it) {
        free(it->value);
    }
    map_release(&w.left);
    if (rc == 0 && w.first_only) {
        json_t *request AUTOJSON = request_new("down", NULL);
        rc = dialog_run(cli, name, request, "Running", NULL, err);
    }
    return rc ? rc : w.code;
}

const struct command cmd_wait = {
    .name = "wait",
    .usage = "SERVICE [SERVICE...] [OPTIONS]",
    .summary = "Block until containers of all (or specified) services stop.",
    .options = options,
    .args_min = 1,
    .args_max = ARGS_ANY,
    .wording = ARGS_DOCKER,
    .complete = "@service",
    .run = run,
};
