#include "engine/stop.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/units.h"
#include "engine/operation.h"

static const int64_t SECOND = 1000000000, STOP_GRACE = 10 * 1000000000LL;

int stop_signal(struct container *c, int sig)
{
    if (c->pidfd < 0 && c->record.pid)
        c->pidfd = fd_pidfd(c->record.pid);
    if (c->pidfd >= 0)
        return (int)syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
    /* Without a descriptor left the number has to do: its monitor has not told that it was reaped. */
    return c->link && c->record.pid > 1 ? kill(c->record.pid, sig) : -1;
}

static int stop_signal_of(struct container *c)
{
    const char *name = c->service ? c->service->stop_signal : NULL;
    struct image *image = NULL;
    if (!name && image_find(c->engine->images, c->record.image_id, NULL, &image, NULL) == 0)
        name = image->config.stop_signal;
    int sig = name ? signal_by_name(name) : SIGTERM;
    image_free(image);
    return sig > 0 ? sig : SIGTERM;
}

/* After how long whoever waits is told which container still has not stopped; it is at least a second
 * before the end. */
static int64_t late_after(const struct container *c)
{
    int64_t grace = c->stop.grace;
    return grace < 2 * SECOND ? grace : grace < 4 * SECOND ? grace / 2 : 2 * SECOND;
}

static void tell_late(struct container *c)
{
    char comm[16], after[32], until[32];
    const char *name = sigabbrev_np(c->stop.signal);
    char *why AUTOFREE =
        pid_is_deaf(c->record.pid, c->stop.signal, comm)
            ? xasprintf(": its first process, %s, does not catch SIG%s; init: true helps", comm,
                        name ? name : "RT")
            : xstrdup("");
    char *detail AUTOFREE = xasprintf("still running after %s, killed in %s%s",
                                      duration_format(c->stop.waited, after),
                                      duration_format(c->stop.grace - c->stop.waited, until), why);
    for (size_t i = 0; i < c->engine->operations.n; i++)
        if (c->engine->operations.v[i]->begun)
            operation_progress(c->engine->operations.v[i], "Container", c->record.name, "Stopping",
                               "working", detail);
    log_line("%s: %s", c->record.name, detail);
}

/* When to look again. A process that has just been started does not catch signals yet, and the kernel
 * drops them: it gets the signal again as soon as it does. */
static void await_stop(struct container *c)
{
    int64_t due = c->stop.grace, late = late_after(c);
    if (!c->stop.told && late < due)
        due = late;
    int64_t again = c->stop.waited ? 4 * c->stop.waited : SECOND / 10;
    if (c->stop.deaf && again < due)
        due = again;
    container_wake(c, due - c->stop.waited);
    c->stop.waited = due;
}

void stop_step(struct container *c)
{
    char comm[16];
    if (c->stop.waited >= c->stop.grace) {
        c->killed = true;
        stop_signal(c, SIGKILL);
        return;
    }
    if (c->stop.deaf && !pid_is_deaf(c->record.pid, c->stop.signal, comm)) {
        c->stop.deaf = false;
        stop_signal(c, c->stop.signal);
    }
    if (!c->stop.told && c->stop.waited >= late_after(c)) {
        c->stop.told = true;
        tell_late(c);
    }
    await_stop(c);
}

void stop_begin(struct container *c)
{
    int64_t grace = c->stop_timeout;
    if (grace < 0)
        grace = c->service && c->service->stop_grace_period != UNSET ? c->service->stop_grace_period
                                                                     : STOP_GRACE;
    char comm[16];
    c->stop.grace = grace;
    c->stop.waited = 0;
    c->stop.told = false;
    c->stop.signal = grace == 0 ? SIGKILL : stop_signal_of(c);
    stop_signal(c, c->stop.signal);
    /* Looked at afterwards: nobody gets the signal twice. */
    c->stop.deaf = grace && pid_is_deaf(c->record.pid, c->stop.signal, comm);
    c->killed = grace == 0;
    await_stop(c);
}
