#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/units.h"

/* The one thing a process has one of; set before any thread starts. */
static struct {
    char who[64];
    int fd;
    bool tracing;
} sink = {.fd = -1};

void log_open(const char *who, int fd)
{
    snprintf(sink.who, sizeof(sink.who), "%s", who);
    sink.fd = fd;
    const char *trace = getenv("COMPOSE_TRACE");
    sink.tracing = trace && *trace && !streq(trace, "0");
}

bool log_tracing(void)
{
    return sink.tracing && sink.fd >= 0;
}

void log_line(const char *fmt, ...)
{
    if (sink.fd < 0)
        return;
    va_list ap;
    va_start(ap, fmt);
    char *text AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    char stamp[40];
    char *line AUTOFREE = xasprintf("%s %s[%d]: %s\n", time_format(time_now(), stamp), sink.who,
                                    (int)getpid(), text);
    /* Nothing to do about a log that cannot be written. */
    if (fd_write_all(sink.fd, line, strlen(line)) < 0)
        return;
}
