#include "base/inroot.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

int inroot_dir(const char *root, struct err *err)
{
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", root) : fd;
}

int inroot_open(int root_fd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC,
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    long fd;
    /* EAGAIN: something was renamed meanwhile, and the kernel cannot tell whether we escaped. */
    do
        fd = syscall(SYS_openat2, root_fd, *path ? path : "/", &how, sizeof(how));
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return (int)fd;
}

char *inroot_read(int root_fd, const char *path, size_t max)
{
    int fd AUTOCLOSE = inroot_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return NULL;
    }
    struct err failure AUTOERR = ERR_INIT;
    char *text = NULL;
    if (fs_read_fd(fd, max, &text, NULL, &failure) < 0) {
        errno = failure.errnum ? failure.errnum : EFBIG;
        return NULL;
    }
    return text;
}

int inroot_mkdir_p(int root_fd, const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    int whole = inroot_open(root_fd, path, O_PATH | O_DIRECTORY, 0);
    if (whole >= 0 || errno != ENOENT)
        return whole;
    char *prefix AUTOFREE = path_clean(path);
    char *slash = strrchr(prefix, '/');
    const char *name = slash ? slash + 1 : prefix;
    if (!*name || streq(name, ".") || streq(name, "..")) {
        errno = EINVAL;
        return -1;
    }
    char *parent_path AUTOFREE = slash ? xstrndup(prefix, (size_t)(slash - prefix)) : xstrdup("/");
    int parent AUTOCLOSE = inroot_mkdir_p(root_fd, parent_path, mode, uid, gid);
    if (parent < 0)
        return -1;
    if (mkdirat(parent, name, mode) == 0) {
        int made AUTOCLOSE = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (made < 0 || fchown(made, uid, gid) < 0 || fchmod(made, mode) < 0)
            return -1;
    } else if (errno != EEXIST) {
        return -1;
    }
    /* EEXIST: a link to nowhere; opening it says so. */
    return inroot_open(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}
