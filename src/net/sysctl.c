#include "net/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

static int open_sysctl(const char *name, int flags)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "/proc/sys/%s", name);
    return open(path, flags | O_CLOEXEC);
}

int sysctl_write(const char *name, const char *value, struct err *err)
{
    int fd AUTOCLOSE = open_sysctl(name, O_WRONLY);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, "this kernel has no setting %s", name);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return err_sys(err, errno, "set %s to %s", name, value);
    return 0;
}

/* The value without its newline; false where it cannot be read. */
static bool sysctl_read(const char *name, char *out, size_t max)
{
    int fd AUTOCLOSE = open_sysctl(name, O_RDONLY);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, max - 1);
    if (n < 0)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}

int sysctl_int(const char *name)
{
    char text[32];
    return sysctl_read(name, text, sizeof(text)) ? atoi(text) : -1;
}
