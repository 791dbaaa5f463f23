/* A command inside a container, by the OCI runtime's exec, from its start to its end: what probes and
 * hooks are made of. */
#ifndef ENGINE_EXEC_JOB_H
#define ENGINE_EXEC_JOB_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "runtime/enter.h"

struct exec_job;

struct exec_job_events {
    /* Both of its outputs, in their order; may be NULL. */
    void (*output)(void *arg, const char *data, size_t n);
    /* Once, when it has ended and its output is read; code 128+n for a signal. */
    void (*done)(void *arg, int code, bool timed_out);
};

/* argv: from oci_exec_argv() with this pid_file. timeout: ns, after which it is killed; 0: none. */
int exec_job_start(uv_loop_t *loop, char *const *argv, const char *pid_file, int64_t timeout,
                   const struct exec_job_events *events, void *arg, struct exec_job **out,
                   struct err *err);
/* The same without the runtime. pidfd: of the container's first process. EXEC_NOT_ENTERED comes as
 * the code, and the reason as output, when the container could not be entered. */
enum { EXEC_NOT_ENTERED = -2 };
int exec_job_enter(uv_loop_t *loop, const struct enter *way, int pidfd, int64_t timeout,
                   const struct exec_job_events *events, void *arg, struct exec_job **out,
                   struct err *err);
/* Kills it; no event comes afterwards. NULL is fine. */
void exec_job_cancel(struct exec_job *j);

#endif
