#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/containers.h"
#include "cli/dialog.h"
#include "cli/listing.h"
#include "runtime/cgroup.h"

static const struct option options[] = {
    OPT_BOOL("all", 'a', "Show all containers (default shows just running)"),
    OPT_STR("format", 0,
            "Format output using a custom template:\n"
            "'table':            Print output in table format with column headers (default)\n"
            "'table TEMPLATE':   Print output in table format using the given Go template\n"
            "'json':             Print in JSON format\n"
            "'TEMPLATE':         Print output using the given Go template.",
            .words = "table json"),
    OPT_BOOL("no-stream", 0, "Disable streaming stats and only pull the first result"),
    OPT_BOOL("no-trunc", 0, "Do not truncate output"),
    OPTION_END,
};

static const struct listing_column columns[] = {
    {"CONTAINER ID", "ID"},
    {"NAME", "Name"},
    {"CPU %", "CPUPerc"},
    {"MEM USAGE / LIMIT", "MemUsage"},
    {"MEM %", "MemPerc"},
    {"NET I/O", "NetIO"},
    {"BLOCK I/O", "BlockIO"},
    {"PIDS", "PIDs"},
    {NULL, NULL},
};

/* One container's counters at two points in time. */
struct sample {
    char *id;
    struct cgroup_usage before, now;
    bool has_before, has_now;
};

typedef VEC(struct sample) samples;

static struct sample *sample_of(samples *s, const char *id)
{
    vec_foreach (s, it) {
        if (streq(it->id, id))
            return it;
    }
    vec_push(s, (struct sample){.id = xstrdup(id)});
    return &s->v[s->n - 1];
}

/* Bytes over all interfaces but lo, from the container's own view. */
static void network_bytes(pid_t pid, uint64_t *in, uint64_t *out)
{
    char path[48], *text AUTOFREE = NULL;
    *in = *out = 0;
    snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)pid);
    if (fs_read(path, 1 << 20, &text, NULL, NULL) < 0)
        return;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[64];
        uint64_t rx, tx;
        if (sscanf(line, " %63[^:]: %" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, name, &rx,
                   &tx) == 3 &&
            !streq(name, "lo")) {
            *in += rx;
            *out += tx;
        }
    }
}

/* docker's formula: share of the machine's time, times its processors. */
static double cpu_percent(const struct sample *s)
{
    if (!s->has_before || s->now.system_cpu_ns <= s->before.system_cpu_ns)
        return 0;
    double own = (double)(s->now.cpu_ns - s->before.cpu_ns);
    double all = (double)(s->now.system_cpu_ns - s->before.system_cpu_ns);
    return own / all * (double)sysconf(_SC_NPROCESSORS_ONLN) * 100;
}

/* go-units BytesSize: binary, 4 significant digits. */
static char *binary_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1024 && u + 1 < ARRAY_SIZE(units); u++)
        v /= 1024;
    return xasprintf("%.4g%s", v, units[u]);
}

static char *pair_text(uint64_t a, uint64_t b)
{
    char x[32], y[32];
    return xasprintf("%s / %s", size_format((int64_t)a, x), size_format((int64_t)b, y));
}

static json_t *stats_row(const struct container_record *c, const struct sample *s, bool whole)
{
    uint64_t in = 0, out = 0;
    if (s->has_now)
        network_bytes(c->pid, &in, &out);
    double mem = s->now.memory_limit ? (double)s->now.memory * 100 / (double)s->now.memory_limit
                                     : 0;
    char *id AUTOFREE = xstrndup(c->id, whole ? 64 : 12);
    char *cpu AUTOFREE = xasprintf("%.2f%%", cpu_percent(s));
    char *used AUTOFREE = binary_size(s->now.memory);
    char *limit AUTOFREE = binary_size(s->now.memory_limit);
    char *usage AUTOFREE = xasprintf("%s / %s", used, limit);
    char *percent AUTOFREE = xasprintf("%.2f%%", mem);
    char *net AUTOFREE = pair_text(in, out);
    char *block AUTOFREE = pair_text(s->now.block_read, s->now.block_write);
    char *pids AUTOFREE = xasprintf("%" PRIu64, s->now.pids);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "BlockIO", block, "CPUPerc",
                     cpu, "Container", c->id, "ID", id, "MemPerc", percent, "MemUsage", usage,
                     "Name", c->name, "NetIO", net, "PIDs", pids);
}

static int collect(struct cli *cli, const struct args *args, const char *project, samples *all,
                   json_t *rows, struct err *err)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(cli, project, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        const struct container_record *c = &list.v[i];
        bool up = container_is_up(c) && c->pid > 0;
        if (!container_in_services(c, args->positional) || (!up && !args_bool(args, "all")))
            continue;
        struct sample *s = sample_of(all, c->id);
        s->before = s->now;
        s->has_before = s->has_now;
        s->has_now = up && cgroup_usage_read(c->pid, &s->now, NULL) == 0;
        json_array_append_new(rows, stats_row(c, s, args_bool(args, "no-trunc")));
    }
    return 0;
}

static int show(struct cli *cli, const struct args *args, const char *project, samples *all,
                bool redraw, struct err *err)
{
    json_t *rows AUTOJSON = json_array();
    if (collect(cli, args, project, all, rows, err) < 0)
        return -1;
    if (redraw)
        cli_outf("\033[H\033[J");
    return listing_print(args_str(args, "format"), rows, columns, NULL, err);
}

/* Sleeps a second; false: Ctrl-C. */
static bool wait_second(const sigset_t *stop)
{
    const struct timespec second = {.tv_sec = 1};
    return sigtimedwait(stop, NULL, &second) < 0;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    char *name AUTOFREE = NULL;
    samples all = {0};
    bool stream = !args_bool(args, "no-stream");
    bool redraw = stream && isatty(STDOUT_FILENO) && !streq(args_str(args, "format"), "json");
    if (cli_project_name(cli, &name, args->positional, err) < 0)
        return -1;
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    /* A share of time needs two looks. */
    json_t *first AUTOJSON = json_array();
    int rc = collect(cli, args, name, &all, first, err);
    bool go_on = rc == 0;
    if (go_on && json_array_size(first))
        go_on = wait_second(&stop);
    bool interrupted = rc == 0 && !go_on;
    while (go_on) {
        rc = show(cli, args, name, &all, redraw, err);
        go_on = rc == 0 && stream;
        if (go_on && !wait_second(&stop)) {
            go_on = false;
            interrupted = true;
        }
    }
    vec_foreach (&all, s) {
        free(s->id);
    }
    vec_release(&all);
    return rc < 0 ? -1 : interrupted ? EXIT_INTERRUPTED : 0;
}

const struct command cmd_stats = {
    .name = "stats",
    .usage = "[OPTIONS] [SERVICE]",
    .summary = "Display a live stream of container(s) resource usage statistics",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
