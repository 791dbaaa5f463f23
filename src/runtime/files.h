/* The files that a container gets from outside: hosts, hostname, resolv.conf, secrets, configs. */
#ifndef RUNTIME_FILES_H
#define RUNTIME_FILES_H

#include "runtime/bundle.h"

/* Writes hosts, hostname and resolv.conf into RUN/containers/ID, and the contents of secrets and configs. */
int files_write(const struct bundle_request *r, struct err *err);
/* Where files[i] lies on the host; heap. */
char *files_source(const struct bundle_request *r, size_t i);
/* RUN/containers/ID of the container whose namespace this is ("/proc/PID/ns/..."); heap, NULL: of none. */
char *files_run_of(const struct paths *p, const char *namespace);
/* The host folder behind /dev/shm of the container whose IPC namespace this is ("/proc/PID/ns/ipc");
 * heap, NULL when it does not share it. */
char *files_shm_of(const struct paths *p, const char *ipc_path);

#endif
