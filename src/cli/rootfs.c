#include "cli/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "runtime/bundle.h"

/* The overlay of a container that does not run, made as the runtime makes it. */
static int mount_stopped(struct cli *cli, const struct container_record *c, struct rootfs *r,
                         struct err *err)
{
    struct image_store *store;
    struct image *image = NULL;
    char *rootfs AUTOFREE = NULL;
    char *dir AUTOFREE = container_dir(cli, c);
    if (cli_store(cli, &store, err) < 0 || image_find(store, c->image_id, NULL, &image, err) < 0)
        return -1;
    const struct bundle_request request = {
        .paths = &cli->paths,
        .id = c->id,
        .name = c->name,
        .project = c->project,
        .dir = dir,
        .image = image,
    };
    int rc = bundle_mount_rootfs(&request, &rootfs, err);
    image_free(image);
    if (rc < 0)
        return -1;
    r->fd = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (r->fd < 0)
        return err_sys(err, errno, "open %s", rootfs);
    r->mounted = STEAL(rootfs);
    return 0;
}

int rootfs_open(struct cli *cli, const struct container_record *c, struct rootfs *r,
                struct err *err)
{
    char path[48];
    *r = (struct rootfs)ROOTFS_INIT;
    if (c->pid > 0 && (c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED)) {
        snprintf(path, sizeof(path), "/proc/%d/root", (int)c->pid);
        r->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (r->fd >= 0)
            return 0;
    }
    return mount_stopped(cli, c, r, err);
}

void rootfs_close(struct rootfs *r)
{
    fd_close_ptr(&r->fd);
    r->fd = -1;
    /* Somebody may have started the container meanwhile: a mount in use stays. */
    if (r->mounted)
        umount2(r->mounted, 0);
    free(r->mounted);
    r->mounted = NULL;
}

int rootfs_resolve(const struct rootfs *r, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, r->fd, path, &how, sizeof(how));
}
