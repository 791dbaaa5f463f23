/* Devices by name ("nvidia.com/gpu=0"), from the descriptions that their vendors install: Container
 * Device Interface 1.0, github.com/cncf-tags/container-device-interface SPEC.md. */
#ifndef RUNTIME_CDI_H
#define RUNTIME_CDI_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"
#include "file/node.h"
#include "model/project.h"
#include "runtime/user.h"

struct cdi_node {
    const char *path;   /* in the container */
    struct stat st;     /* st_mode, st_rdev, st_uid and st_gid of what is to be made */
    const char *access; /* of "rwm" */
};

/* What the descriptions want of a container, in their order; all of it lives in the arena. */
struct cdi_edits {
    struct arena *arena;
    VEC(const char *) env; /* "K=V" */
    VEC(struct cdi_node) nodes;
    VEC(const struct node *) mounts; /* hostPath, containerPath, type, options */
    VEC(const struct node *) hooks;  /* hookName, path, args, env, timeout */
    VEC(gid_t) groups;
};

/* The values of hookName; NULL-terminated. */
extern const char *const cdi_hook_names[];

/* "vendor/class=device", as no path of a device file looks. */
bool cdi_is_name(const char *s);

/* All that the service's devices, gpus and deploy.resources.reservations.devices name. Files in
 * /var/run/cdi go before those in /etc/cdi. A node without an owner belongs to the container's user.
 * ERR_NOT_FOUND: no file describes one of them. cdi_edits_release() in any case. */
int cdi_resolve(const struct service *service, const struct user *user, struct cdi_edits *out,
                struct err *err);
void cdi_edits_release(struct cdi_edits *e);

#endif
