/* Commands in a running container without the OCI runtime, for what runs every second: see
 * monitor/enter.h, whose plans are written here. */
#ifndef RUNTIME_ENTER_H
#define RUNTIME_ENTER_H

#include "base/err.h"
#include "base/paths.h"
#include "runtime/oci.h"

struct enter {
    int plan;    /* sealed */
    int program; /* compose-monitor on a mount of its own, read-only and in no namespace */
};

/* A plan for command as the container's own user. ERR_UNAVAILABLE where only the runtime can do it:
 * one that uses no namespaces, a filter of the user's own, an older kernel. */
int enter_prepare(const struct paths *p, const struct oci_runtime *rt, const char *id, pid_t first,
                  const char *const *command, struct enter *out, struct err *err);
void enter_release(struct enter *e);

#endif
