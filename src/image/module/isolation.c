#include "image/module/isolation.h"

#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/fs.h"
#include "base/mem.h"

/* v1 at /sys/fs/cgroup, and a v2 hierarchy beside it that is not empty. */
static bool cgroups_are_hybrid(void)
{
    struct statfs fs;
    char *text AUTOFREE = NULL;
    size_t n = 0;
    if (statfs("/sys/fs/cgroup", &fs) < 0 || fs.f_type == CGROUP2_SUPER_MAGIC)
        return false;
    return fs_read("/sys/fs/cgroup/unified/cgroup.controllers", 4096, &text, &n, NULL) == 0 &&
           n > 1;
}

static bool installed(const char *program)
{
    static const char *const dirs[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                       "/usr/bin",        "/sbin",          "/bin"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        char *path AUTOFREE = path_join(dirs[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

void isolation_arguments(char ***argv, bool devices)
{
    if (getenv("BUILDAH_ISOLATION") || getenv("BUILDAH_RUNTIME"))
        return;
    if (!devices && installed("crun") && !cgroups_are_hybrid())
        return;
    if (!devices && installed("runc")) {
        strv_push(argv, "--runtime");
        strv_push(argv, "runc");
    } else {
        strv_push(argv, "--isolation");
        strv_push(argv, "chroot");
    }
}
