/* The OCI runtime: which one serves here, and its commands.
 *
 * crun is preferred, through compose-crun on hosts whose cgroup v2 tree would make it refuse; runc
 * where crun cannot serve; `runtime:` or COMPOSE_RUNTIME names any other. */
#ifndef RUNTIME_OCI_H
#define RUNTIME_OCI_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct oci_runtime {
    char *name;  /* "crun" */
    char *path;  /* absolute; compose-crun stands for crun */
    char *state; /* its --root folder, RUN/runtime-<name> */
    char *why;   /* one sentence: why this one, for `compose doctor` */
};

/* Chooses without running anything. wanted: NULL: by preference. ERR_NOT_FOUND names the package. */
int oci_runtime_choose(const char *wanted, const char *run_root, struct oci_runtime *out,
                       struct err *err);
void oci_runtime_release(struct oci_runtime *rt);

/* Blocking. A container that is not there is ERR_NOT_FOUND. */
int oci_pause(const struct oci_runtime *rt, const char *id, struct err *err);
int oci_resume(const struct oci_runtime *rt, const char *id, struct err *err);
/* delete --force: kills what is left, removes the cgroup and the runtime's state; missing is fine. */
int oci_delete(const struct oci_runtime *rt, const char *id, struct err *err);

/* argv of `RUNTIME --root STATE exec ...`, heap. process: file from exec_process_write().
 * pid_file may be NULL. */
char **oci_exec_argv(const struct oci_runtime *rt, const char *id, const char *process,
                     const char *pid_file);

/* Signal by name ("SIGTERM", "term", "15"); -1: unknown. */
int signal_by_name(const char *name);

#endif
