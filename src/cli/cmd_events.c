#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/moment.h"
#include "cli/watcher.h"

static const struct option options[] = {
    OPT_BOOL("json", 0, "Output events as a stream of json objects"),
    OPT_STR("since", 0, "Show all events created since timestamp"),
    OPT_STR("until", 0, "Stream events until this timestamp"),
    OPTION_END,
};

struct events {
    const struct args *args;
    int64_t since;
};

/* What the reference shows in brackets: sorted by name here, so that lines compare. */
static json_t *attributes(const json_t *event)
{
    static const char *const extra[] = {"health", "signal"};
    json_t *a = json_object();
    char code[16];
    jset_str(a, "image", jstr(event, "image", ""));
    jset_str(a, "name", jstr(event, "name", ""));
    if (json_object_get(event, "exit_code")) {
        snprintf(code, sizeof(code), "%d", (int)jint(event, "exit_code", 0));
        jset_str(a, "exitCode", code);
    }
    for (size_t i = 0; i < ARRAY_SIZE(extra); i++)
        jset_str(a, extra[i], jstr(event, extra[i], NULL));
    jset_str(a, "execID", jstr(event, "exec_id", NULL));
    return a;
}

/* "2026-01-02 15:04:05.000000" */
static char *local_time(int64_t ns)
{
    char stamp[64];
    time_t t = (time_t)(ns / 1000000000);
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
    return xasprintf("%s.%06lld", stamp, (long long)(ns % 1000000000 / 1000));
}

/* "health_status: healthy" and "exec_start: sh -c true" are one word to Docker. Heap. */
static char *action_of(const json_t *event)
{
    const char *action = jstr(event, "action", ""), *more = jstr(event, "exec", NULL);
    if (streq(action, "health_status"))
        more = jstr(event, "health", NULL);
    return more ? xasprintf("%s: %s", action, more) : xstrdup(action);
}

static void print_json(const json_t *event)
{
    char when[40];
    char *action AUTOFREE = action_of(event);
    json_t *j AUTOJSON = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o}", "time", time_format(jint(event, "time", 0), when), "type",
        "container", "service", jstr(event, "service", ""), "id", jstr(event, "id", ""), "action",
        action, "attributes", attributes(event));
    cli_out_json(j);
}

static void print_line(const json_t *event)
{
    json_t *a AUTOJSON = attributes(event);
    struct strbuf text AUTOBUF = STRBUF_INIT;
    const char *key;
    json_t *value;
    json_object_foreach (a, key, value) {
        strbuf_addf(&text, "%s%s=%s", text.len ? ", " : "", key, json_string_value(value));
    }
    char *when AUTOFREE = local_time(jint(event, "time", 0));
    char *action AUTOFREE = action_of(event);
    cli_outf("%s container %s %s (%s)\n", when, action, jstr(event, "id", ""), text.buf);
}

static bool on_event(void *ctx, const json_t *event)
{
    const struct events *e = ctx;
    struct container_record c = {.service = (char *)jstr(event, "service", "")};
    if (!container_in_services(&c, e->args->positional) || jint(event, "time", 0) < e->since)
        return true;
    if (args_bool(e->args, "json"))
        print_json(event);
    else
        print_line(event);
    return true;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct events e = {.args = args};
    int64_t until;
    char *name AUTOFREE = NULL;
    if (moment_parse(args_str(args, "since"), &e.since, err) < 0 ||
        moment_parse(args_str(args, "until"), &until, err) < 0 ||
        cli_project_name(cli, &name, args->positional, err) < 0)
        return -1;
    const struct watcher_handler handler = {.event = on_event, .ctx = &e};
    return watcher_run(cli, name, true, e.since, until, &handler, err);
}

const struct command cmd_events = {
    .name = "events",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Receive real time events from containers",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
