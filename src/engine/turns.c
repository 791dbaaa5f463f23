#include "engine/turns.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"

static const double bounds[] = {0.1, 0.5, 1, 2, 5, 10, 20, 50, 100};

struct turns {
    uv_prepare_t prepare; /* runs before each wait */
    uint64_t at, idle, cpu;
    unsigned long counts[ARRAY_SIZE(bounds) + 1];
    double worst, worst_cpu;
};

/* A turn that was long on the clock but not on the processor has waited: for a disk, or for a busy machine. */
static uint64_t cpu_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_prepare(uv_prepare_t *handle)
{
    struct turns *t = handle->data;
    uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(handle->loop), cpu = cpu_time();
    double ms = (double)((now - t->at) - (idle - t->idle)) / 1e6;
    double cpu_ms = (double)(cpu - t->cpu) / 1e6;
    t->at = now;
    t->idle = idle;
    t->cpu = cpu;
    size_t i = 0;
    while (i < ARRAY_SIZE(bounds) && ms >= bounds[i])
        i++;
    t->counts[i]++;
    t->worst = ms > t->worst ? ms : t->worst;
    t->worst_cpu = cpu_ms > t->worst_cpu ? cpu_ms : t->worst_cpu;
    if (ms >= 5)
        log_trace("a turn of %.1f ms, %.1f of them computing", ms, cpu_ms);
}

static void start_over(struct turns *t)
{
    for (size_t i = 0; i < ARRAY_SIZE(t->counts); i++)
        t->counts[i] = 0;
    t->worst = t->worst_cpu = 0;
}

struct turns *turns_new(uv_loop_t *loop)
{
    struct turns *t = xcalloc(1, sizeof(*t));
    uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    uv_prepare_init(loop, &t->prepare);
    t->prepare.data = t;
    t->at = uv_hrtime();
    t->cpu = cpu_time();
    uv_prepare_start(&t->prepare, on_prepare);
    uv_unref((uv_handle_t *)&t->prepare);
    return t;
}

json_t *turns_take(struct turns *t)
{
    json_t *ms = json_array(), *counts = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(t->counts); i++) {
        if (i < ARRAY_SIZE(bounds))
            json_array_append_new(ms, json_real(bounds[i]));
        json_array_append_new(counts, json_integer((json_int_t)t->counts[i]));
    }
    json_t *o = json_pack("{s:o, s:o, s:f, s:f}", "ms", ms, "turns", counts, "worst", t->worst,
                          "worst_cpu", t->worst_cpu);
    start_over(t);
    return o;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void turns_close(struct turns *t)
{
    uv_close((uv_handle_t *)&t->prepare, on_closed);
}
