/* Errors: one struct filled exactly once by the function that fails, wrapped by its callers with
 * the noun they know ("service \"web\": ...") and printed only by cli/.
 *
 * A fallible function returns 0, or -1 with *err set, and takes struct err * last. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

enum err_kind {
    ERR_NONE,
    ERR_IO,        /* a system call failed; errnum says how */
    ERR_INVALID,   /* bad input */
    ERR_NOT_FOUND, /* the named object does not exist */
    ERR_CONFLICT,  /* the object exists, is in use or is held by somebody else */
    ERR_DENIED,    /* authentication or permission */
    ERR_TIMEOUT,
    ERR_CANCELLED,
    ERR_CORRUPT,     /* a digest, size or format on disk or on the wire is not what it must be */
    ERR_UNAVAILABLE, /* a peer, registry or kernel feature cannot be reached */
};

struct err {
    char *msg; /* heap, NULL while no error */
    enum err_kind kind;
    int errnum;    /* errno of the failed system call, else 0 */
    int exit_code; /* exit code that the reference gives for this failure, 0: the default, 1 */
};

#define ERR_INIT                                                                                   \
    {                                                                                              \
        0                                                                                          \
    }
#define AUTOERR __attribute__((cleanup(err_release)))

/* Each returns -1, so that "return err_set(...)" reads well. err may be NULL: nothing is kept. */
int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends ": strerror(errnum)". */
int err_sys(struct err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "PREFIX: " before the message. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_move(struct err *to, struct err *from);
void err_release(struct err *err);

#endif
