/* compose-crun ARGS...: crun on a host with cgroup v1 and v2 of which the v2 tree holds controllers.
 *
 * crun refuses such a host ("cgroups in hybrid mode not supported, drop all controllers from
 * cgroupv2"): it takes what it finds at /sys/fs/cgroup/unified for a tree that it would have to
 * serve. Docker and runc use v1 alone there. In a mount namespace without that tree so does crun.
 *
 * Only that one mount leaves its peer group: what is mounted elsewhere goes on propagating, as
 * `bind: propagation: rshared` wants. The namespace ends with crun; the container has its own. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define V2 "/sys/fs/cgroup/unified"

static int hide_v2(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, V2, NULL, MS_PRIVATE, NULL) < 0)
        return -1;
    return umount2(V2, MNT_DETACH);
}

int main(int argc, char **argv)
{
    (void)argc;
    /* EINVAL: nothing is mounted there, so there is nothing to hide. */
    if (hide_v2() < 0 && errno != EINVAL && errno != ENOENT) {
        fprintf(stderr, "compose-crun: %s: %s\n", V2, strerror(errno));
        return 1;
    }
    /* runtime/oci.c looks for it in the same folders. */
    char path[4096];
    const char *env = getenv("PATH");
    snprintf(path, sizeof(path), "%s:/usr/local/bin:/usr/bin:/usr/sbin:/sbin", env ? env : "");
    setenv("PATH", path, 1);
    argv[0] = (char *)"crun";
    execvp("crun", argv);
    fprintf(stderr, "compose-crun: crun: %s\n", strerror(errno));
    return 127;
}
