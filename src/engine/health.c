#include "engine/health.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "runtime/bundle.h"

enum { OUTPUT_MAX = 4096, KILL_GRACE_MS = 2000 };

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
    *c = (struct health_config){0};
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

    enum health_status status;
    int failing_streak;
    int64_t started;      /* monotonic, when the container did */
    int64_t next_counted; /* monotonic: failures before this moment do not count */
    int64_t delay;        /* before the next early probe */

    uv_timer_t timer; /* next probe, or the deadline of the one that runs */
    uv_process_t process;
    uv_pipe_t pipe;
    struct strbuf output;
    bool exited, timed_out;
    int64_t exit_status;
    bool stopped;
    unsigned probe_handles; /* of the probe that runs */
    unsigned handles;       /* all: to be closed before h is freed */
};

static void probe_begin(struct health *h);
static void schedule(struct health *h);
static void on_stuck(uv_timer_t *timer);

static void health_unref(uv_handle_t *handle)
{
    struct health *h = handle->data;
    if (--h->handles)
        return;
    strbuf_release(&h->output);
    health_config_release(&h->config);
    unlink(h->process_file);
    unlink(h->pid_file);
    free(h->process_file);
    free(h->pid_file);
    free(h->id);
    strv_free(h->argv);
    free(h);
}

/* Kills the probe's own process inside the container; the runtime's client sees it end and reaps it.
 * Killing the client alone would leave its child to us, a subreaper, as a zombie that keeps the
 * container's pid namespace alive. */
static void kill_probe(struct health *h)
{
    char *text AUTOFREE = NULL;
    if (fs_read(h->pid_file, 64, &text, NULL, NULL) == 0 && atoi(text) > 1)
        kill((pid_t)atoi(text), SIGKILL);
    uv_timer_start(&h->timer, on_stuck, KILL_GRACE_MS, 0);
}

/* Docker's rules: a success makes it healthy; `retries` counted failures in a row make it
 * unhealthy. */
static void judge(struct health *h)
{
    bool ok = !h->timed_out && h->exit_status == 0;
    int64_t now = time_monotonic();
    if (h->timed_out) {
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
    log_trace("health %.12s: exit %lld%s -> %s, streak %d", h->id, (long long)h->exit_status,
              h->timed_out ? " (timeout)" : "", health_status_name(h->status), h->failing_streak);
    h->events.result(h->arg, h->status, h->failing_streak, h->output.buf);
}

static void probe_done(struct health *h)
{
    if (h->stopped) {
        uv_close((uv_handle_t *)&h->timer, health_unref);
        return;
    }
    uv_timer_stop(&h->timer);
    judge(h);
    if (!h->stopped)
        schedule(h);
}

static void on_probe_closed(uv_handle_t *handle)
{
    struct health *h = handle->data;
    h->handles--;
    if (--h->probe_handles)
        return;
    /* A turn of its own for the last reference, so that a stop from within the event is safe. */
    h->handles++;
    probe_done(h);
    health_unref(handle);
}

static void close_pipe(struct health *h)
{
    if (!uv_is_closing((uv_handle_t *)&h->pipe))
        uv_close((uv_handle_t *)&h->pipe, on_probe_closed);
}

static void keep_output(struct health *h, const char *data, size_t n)
{
    size_t room = OUTPUT_MAX - h->output.len;
    strbuf_add(&h->output, data, n < room ? n : room);
}

/* The probe is complete when its process died and its pipe closed; a grandchild that holds the pipe
 * open is not waited for: what is in it by now is all. */
static void on_probe_exit(uv_process_t *process, int64_t status, int signal)
{
    struct health *h = process->data;
    h->exited = true;
    h->exit_status = signal ? 128 + signal : status;
    uv_os_fd_t fd;
    if (!uv_is_closing((uv_handle_t *)&h->pipe) && uv_fileno((uv_handle_t *)&h->pipe, &fd) == 0) {
        char rest[OUTPUT_MAX];
        ssize_t n;
        while ((n = read(fd, rest, sizeof(rest))) > 0)
            keep_output(h, rest, (size_t)n);
    }
    close_pipe(h);
    uv_close((uv_handle_t *)process, on_probe_closed);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    buf->base = xmalloc(size);
    buf->len = size;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct health *h = stream->data;
    if (n > 0)
        keep_output(h, buf->base, (size_t)n);
    free(buf->base);
    if (n < 0)
        close_pipe(h);
}

/* The client did not end although its child was killed, or it never got so far. */
static void on_stuck(uv_timer_t *timer)
{
    struct health *h = timer->data;
    if (!h->exited)
        uv_process_kill(&h->process, SIGKILL);
}

static void on_timeout(uv_timer_t *timer)
{
    struct health *h = timer->data;
    h->timed_out = true;
    kill_probe(h);
}

static void on_due(uv_timer_t *timer)
{
    probe_begin(timer->data);
}

static void probe_begin(struct health *h)
{
    h->exited = h->timed_out = false;
    h->exit_status = -1;
    strbuf_setlen(&h->output, 0);
    unlink(h->pid_file);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        strbuf_addf(&h->output, "pipe: %s", strerror(errno));
        probe_done(h);
        return;
    }
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
        {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
    };
    uv_process_options_t options = {
        .file = h->argv[0],
        .args = h->argv,
        .exit_cb = on_probe_exit,
        .stdio = stdio,
        .stdio_count = 3,
    };
    uv_pipe_init(h->loop, &h->pipe, 0);
    h->pipe.data = h->process.data = h;
    h->probe_handles = 2;
    h->handles += 2;
    uv_pipe_open(&h->pipe, ends[0]);
    int rc = uv_spawn(h->loop, &h->process, &options);
    close(ends[1]);
    if (rc < 0) {
        h->exited = true;
        strbuf_addf(&h->output, "%s: %s", h->argv[0], uv_strerror(rc));
        close_pipe(h);
        uv_close((uv_handle_t *)&h->process, on_probe_closed);
        return;
    }
    uv_read_start((uv_stream_t *)&h->pipe, on_alloc, on_read);
    uv_timer_start(&h->timer, on_timeout, (uint64_t)(h->config.timeout / 1000000), 0);
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
        h->delay *= 2;
    }
    uv_timer_start(&h->timer, on_due, (uint64_t)((wait + 999999) / 1000000), 0);
}

struct health *health_start(uv_loop_t *loop, const struct paths *paths,
                            const struct oci_runtime *runtime, const char *id,
                            const struct health_past *past, struct health_config *take_config,
                            const struct health_events *events, void *arg)
{
    struct health *h = xcalloc(1, sizeof(*h));
    struct err err AUTOERR = ERR_INIT;
    struct exec_request exec = {.id = id, .command = (const char *const *)take_config->command};
    h->config = *take_config;
    *take_config = (struct health_config){0};
    if (exec_process_write(paths, &exec, &h->process_file, &err) < 0) {
        log_line("health %.12s: %s", id, err.msg);
        health_config_release(&h->config);
        free(h);
        return NULL;
    }
    char *run AUTOFREE = paths_container_run(paths, id);
    h->loop = loop;
    h->events = *events;
    h->arg = arg;
    h->id = xstrdup(id);
    h->pid_file = path_join(run, "health.pid");
    h->argv = oci_exec_argv(runtime, id, h->process_file, h->pid_file);
    h->status = past->status == HEALTH_NONE ? HEALTH_STARTING : past->status;
    h->failing_streak = past->failing_streak;
    h->started = time_monotonic() - past->age;
    h->next_counted = h->started + h->config.interval;
    h->delay = FIRST_DELAY;
    h->output = (struct strbuf)STRBUF_INIT;
    h->handles = 1;
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
    if (h->probe_handles)
        kill_probe(h);
    else
        uv_close((uv_handle_t *)&h->timer, health_unref);
}
