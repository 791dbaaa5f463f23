/* A container's file system as the container sees it, running or not: cp and export. */
#ifndef CLI_ROOTFS_H
#define CLI_ROOTFS_H

#include "cli/containers.h"

struct rootfs {
    int fd;        /* O_PATH of its root */
    char *mounted; /* a folder that we mounted for the time being, NULL: none */
};

#define ROOTFS_INIT                                                                                \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* Running: through /proc, with its volumes. Stopped: the overlay alone, mounted read-write. */
int rootfs_open(struct cli *cli, const struct container_record *c, struct rootfs *r,
                struct err *err);
void rootfs_close(struct rootfs *r);
/* Opens a path inside as the container would resolve it: links never lead outside. flags as
 * openat2(2); -1 with errno. */
int rootfs_resolve(const struct rootfs *r, const char *path, int flags);

#endif
