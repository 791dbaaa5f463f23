#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void err_fill(struct err *err, enum err_kind kind, int errnum, char *msg)
{
    free(err->msg);
    err->msg = msg;
    err->kind = kind;
    err->errnum = errnum;
}

int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    err_fill(err, kind, 0, xvasprintf(fmt, ap));
    va_end(ap);
    return -1;
}

static enum err_kind err_kind_of(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EEXIST:
    case EBUSY:
        return ERR_CONFLICT;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_IO;
    }
}

int err_sys(struct err *err, int errnum, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char *what AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    err_fill(err, err_kind_of(errnum), errnum, xasprintf("%s: %s", what, strerror(errnum)));
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    if (!err || !err->msg)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    char *prefix AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    char *msg = xasprintf("%s: %s", prefix, err->msg);
    free(err->msg);
    err->msg = msg;
    return -1;
}

void err_move(struct err *to, struct err *from)
{
    if (to) {
        err_release(to);
        *to = *from;
        *from = (struct err)ERR_INIT;
    } else {
        err_release(from);
    }
}

void err_release(struct err *err)
{
    free(err->msg);
    *err = (struct err)ERR_INIT;
}
