#include "engine/health.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "engine/exec_job.h"
#include "engine/net_probe.h"
#include "runtime/bundle.h"

enum { OUTPUT_MAX = 4096 };

static const int64_t SECOND = 1000000000, FIRST_DELAY = 50000000;

/* docker: moby daemon/health.go, defaultProbeInterval and its neighbours. */
void health_config_of(const struct healthcheck *service, const struct image_config *image,
                      struct health_config *out)
{
    const struct image_healthcheck *base = &image->healthcheck;
    *out = (struct health_config){
        .interval = base->interval,
        .timeout = base->timeout,
        .start_period = base->start_period,
        .start_interval = base->start_interval,
        .retries = (int)base->retries,
        .netns = -1,
    };
    if (service->disable)
        return;
    const char *const *test = service->test.n ? service->test.v : (const char *const *)base->test;
    if (service->interval > 0)
        out->interval = service->interval;
    if (service->timeout > 0)
        out->timeout = service->timeout;
    if (service->start_period > 0)
        out->start_period = service->start_period;
    if (service->start_interval > 0)
        out->start_interval = service->start_interval;
    if (service->retries > 0)
        out->retries = (int)service->retries;
    if (!out->interval)
        out->interval = 30 * SECOND;
    if (!out->timeout)
        out->timeout = 30 * SECOND;
    if (!out->start_interval)
        out->start_interval = 5 * SECOND;
    if (!out->retries)
        out->retries = 3;
    if (service->port.kind != PROBE_NONE) {
        out->port = service->port;
        return;
    }
    if (!test || !test[0] || streq(test[0], "NONE"))
        return;
    if (streq(test[0], "CMD")) {
        out->command = strv_dup(test + 1);
    } else if (streq(test[0], "CMD-SHELL") && test[1]) {
        for (size_t i = 0; image->shell && image->shell[i]; i++)
            strv_push(&out->command, image->shell[i]);
        if (!out->command) {
            strv_push(&out->command, "/bin/sh");
            strv_push(&out->command, "-c");
        }
        strv_push(&out->command, test[1]);
    }
    if (out->command && !out->command[0]) {
        strv_free(out->command);
        out->command = NULL;
    }
}

void health_config_release(struct health_config *c)
{
    strv_free(c->command);
    fd_close_ptr(&c->netns);
    *c = (struct health_config){.netns = -1};
}

struct health {
    uv_loop_t *loop;
    struct health_config config;
    struct health_events events;
    void *arg;
    char *id;
    char *process_file; /* written once, read by every probe */
    char *pid_file;     /* of the probe that runs */
    char **argv;
    struct enter enter; /* without the runtime; program -1: not possible */
    int pidfd;          /* borrowed */

    enum health_status status;
    int failing_streak;
    int64_t started;      /* monotonic, when the container did */
    int64_t next_counted; /* monotonic: failures before this moment do not count */
    int64_t delay;        /* before the next early probe */

    uv_timer_t timer;             /* the next probe */
    struct exec_job *probe;       /* that runs, or NULL */
    struct net_probe *port_probe; /* the same */
    struct strbuf output;
    bool stopped;
};

static void probe_begin(struct health *h);

static void on_timer_closed(uv_handle_t *handle)
{
    struct health *h = handle->data;
    strbuf_release(&h->output);
    health_config_release(&h->config);
    if (h->process_file)
        unlink(h->process_file);
    free(h->process_file);
    free(h->pid_file);
    enter_release(&h->enter);
    free(h->id);
    strv_free(h->argv);
    free(h);
}

/* Docker's rules: a success makes it healthy; `retries` counted failures in a row make it
 * unhealthy. */
static void judge(struct health *h, int code, bool timed_out)
{
    bool ok = !timed_out && code == 0;
    int64_t now = time_monotonic();
    if (timed_out) {
        char d[32];
        strbuf_setlen(&h->output, 0);
        strbuf_addf(&h->output, "Health check exceeded timeout (%s)",
                    duration_format(h->config.timeout, d));
    }
    if (ok) {
        h->failing_streak = 0;
        h->status = HEALTH_HEALTHY;
    } else {
        bool starting = h->status == HEALTH_STARTING;
        bool in_start_period = starting && now - h->started < h->config.start_period;
        bool early = starting && now < h->next_counted;
        if (!in_start_period && !early) {
            h->failing_streak++;
            h->next_counted = now + h->config.interval;
        }
        if (h->failing_streak >= h->config.retries)
            h->status = HEALTH_UNHEALTHY;
    }
    log_trace("health %.12s: exit %d%s -> %s, streak %d", h->id, code,
              timed_out ? " (timeout)" : "", health_status_name(h->status), h->failing_streak);
    h->events.result(h->arg, h->status, h->failing_streak, h->output.buf);
}

static void on_due(uv_timer_t *timer)
{
    probe_begin(timer->data);
}

static void schedule(struct health *h)
{
    int64_t wait = h->config.interval;
    if (h->status == HEALTH_STARTING) {
        bool in_start_period = time_monotonic() - h->started < h->config.start_period;
        int64_t most = in_start_period && h->config.start_interval < h->config.interval
                           ? h->config.start_interval
                           : h->config.interval;
        wait = h->delay < most ? h->delay : most;
        h->delay = wait * 2;
    }
    uv_timer_start(&h->timer, on_due, (uint64_t)((wait + 999999) / 1000000), 0);
}

static void on_output(void *arg, const char *data, size_t n)
{
    struct health *h = arg;
    size_t room = OUTPUT_MAX - h->output.len;
    strbuf_add(&h->output, data, n < room ? n : room);
}

static void on_done(void *arg, int code, bool timed_out)
{
    struct health *h = arg;
    h->probe = NULL;
    if (code == EXEC_NOT_ENTERED) {
        log_line("health %.12s: by the runtime from now on: %s", h->id, h->output.buf);
        enter_release(&h->enter);
        probe_begin(h);
        return;
    }
    judge(h, code, timed_out);
    if (!h->stopped)
        schedule(h);
}

static void on_port_done(void *arg, bool ok, bool timed_out, const char *text)
{
    struct health *h = arg;
    h->port_probe = NULL;
    strbuf_addstr(&h->output, text);
    on_done(h, ok ? 0 : 1, timed_out);
}

static void probe_begin(struct health *h)
{
    static const struct exec_job_events events = {.output = on_output, .done = on_done};
    static const struct net_probe_events port_events = {.done = on_port_done};
    struct err err AUTOERR = ERR_INIT;
    strbuf_setlen(&h->output, 0);
    if (h->config.port.kind != PROBE_NONE) {
        h->port_probe = net_probe_start(h->loop, h->config.netns, &h->config.port,
                                        h->config.timeout, &port_events, h);
        return;
    }
    if (h->enter.program >= 0 && exec_job_enter(h->loop, &h->enter, h->pidfd, h->config.timeout,
                                                &events, h, &h->probe, &err) == 0)
        return;
    err_release(&err);
    if (exec_job_start(h->loop, h->argv, h->pid_file, h->config.timeout, &events, h, &h->probe,
                       &err) == 0)
        return;
    strbuf_addstr(&h->output, err.msg);
    on_done(h, -1, false);
}

static int prepare_command(struct health *h, const struct paths *paths,
                           const struct oci_runtime *runtime, const char *id, pid_t first,
                           struct err *err)
{
    const struct exec_request exec = {.id = id, .command = (const char *const *)h->config.command};
    if (exec_process_write(paths, &exec, &h->process_file, err) < 0)
        return -1;
    char *run AUTOFREE = paths_container_run(paths, id);
    h->pid_file = path_join(run, "health.pid");
    h->argv = oci_exec_argv(runtime, id, h->process_file, h->pid_file);
    struct err why AUTOERR = ERR_INIT;
    if (enter_prepare(paths, runtime, id, first, exec.command, &h->enter, &why) < 0)
        log_line("health %.12s: by the runtime: %s", id, why.msg);
    return 0;
}

struct health *health_start(uv_loop_t *loop, const struct paths *paths,
                            const struct oci_runtime *runtime, const char *id, pid_t first,
                            int pidfd, const struct health_past *past,
                            struct health_config *take_config, const struct health_events *events,
                            void *arg)
{
    struct health *h = xcalloc(1, sizeof(*h));
    struct err err AUTOERR = ERR_INIT;
    h->enter = (struct enter){-1, -1};
    h->pidfd = pidfd;
    h->config = *take_config;
    *take_config = (struct health_config){.netns = -1};
    if (h->config.command && prepare_command(h, paths, runtime, id, first, &err) < 0) {
        log_line("health %.12s: %s", id, err.msg);
        health_config_release(&h->config);
        free(h);
        return NULL;
    }
    h->loop = loop;
    h->events = *events;
    h->arg = arg;
    h->id = xstrdup(id);
    h->status = past->status == HEALTH_NONE ? HEALTH_STARTING : past->status;
    h->failing_streak = past->failing_streak;
    h->started = time_monotonic() - past->age;
    h->next_counted = h->started + h->config.interval;
    h->delay = FIRST_DELAY;
    h->output = (struct strbuf)STRBUF_INIT;
    uv_timer_init(loop, &h->timer);
    h->timer.data = h;
    uv_timer_start(&h->timer, on_due, 0, 0);
    return h;
}

void health_stop(struct health *h)
{
    if (!h || h->stopped)
        return;
    h->stopped = true;
    exec_job_cancel(h->probe);
    net_probe_cancel(h->port_probe);
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}
