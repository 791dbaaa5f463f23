/* Runs a program to its end and keeps what it says: blocking, for worker threads and the CLI. */
#ifndef BASE_SUBPROCESS_H
#define BASE_SUBPROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"

struct subprocess {
    const char *const *argv; /* argv[0] is looked up in PATH */
    const char *const *env;  /* NULL: this process's */
    const char *cwd;         /* NULL: this process's */
    const char *input;       /* written to its stdin, NULL: /dev/null */
    size_t input_len;
    int64_t timeout_ns; /* 0: none; on expiry it is killed and ERR_TIMEOUT returned */
    size_t output_max;  /* bytes kept of each stream, 0: 1 MiB; what is over is read and dropped */
    struct strbuf *out; /* NULL: /dev/null */
    struct strbuf *err; /* NULL: /dev/null; may equal out */
    int status;         /* set: wait status as waitpid(2) */
};

/* Returns 0 when it ran and ended, whatever its status; -1 when it could not run or timed out. */
int subprocess_run(struct subprocess *p, struct err *err);

#endif
