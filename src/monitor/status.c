/* RUN/containers/ID/state and DIR/status: what happened, for whoever comes later. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "monitor/monitor.h"

/* By rename: a reader sees the old line or the new one. */
static bool write_line(int dir, const char *name, const char *line)
{
    char tmp[32];
    snprintf(tmp, sizeof(tmp), "%s.new", name);
    int fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return false;
    size_t n = strlen(line);
    bool ok = write(fd, line, n) == (ssize_t)n;
    close(fd);
    if (ok && renameat(dir, tmp, dir, name) == 0)
        return true;
    unlinkat(dir, tmp, 0);
    return false;
}

void status_note(struct monitor *m, const char *fmt, ...)
{
    size_t room = sizeof(m->status) - 1;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(m->status, room, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    for (size_t i = 0; i < len; i++)
        if (m->status[i] == '\n' || m->status[i] == '\r')
            m->status[i] = ' ';
    m->status[len] = '\n';
    m->status[len + 1] = '\0';
    write_line(AT_FDCWD, "state", m->status);
}

void status_publish(struct monitor *m)
{
    write_line(m->dir, "status", m->status);
}
