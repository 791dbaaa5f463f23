#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/strbuf.h"

enum { PIPE_WAIT_MS = 10000 };

/* wait_ms: the longest time without a byte, of an fd that does not block; -1: for ever. */
static int read_all(int fd, size_t max, int wait_ms, char **data, size_t *len, struct err *err)
{
    struct strbuf sb AUTOBUF = STRBUF_INIT;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size > 0 && (size_t)st.st_size <= max)
        strbuf_grow(&sb, (size_t)st.st_size + 4096); /* no more is needed to see its end */
    for (;;) {
        if (sb.cap - sb.len < 4096)
            strbuf_grow(&sb, 4096);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (wait_ms >= 0 && poll(&p, 1, wait_ms) == 0)
            return err_set(err, ERR_TIMEOUT, "nothing was written into this pipe for %d s",
                           wait_ms / 1000);
        ssize_t n = read(fd, sb.buf + sb.len, sb.cap - sb.len - 1);
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && wait_ms >= 0)))
            continue;
        if (n < 0)
            return err_sys(err, errno, "read");
        if (n == 0)
            break;
        sb.len += (size_t)n;
        if (sb.len > max)
            return err_set(err, ERR_INVALID, "larger than %zu bytes", max);
    }
    sb.buf[sb.len] = '\0';
    if (len)
        *len = sb.len;
    *data = strbuf_detach(&sb);
    return 0;
}

int fs_read_fd(int fd, size_t max, char **data, size_t *len, struct err *err)
{
    return read_all(fd, max, -1, data, len, err);
}

int fs_read(const char *path, size_t max, char **data, size_t *len, struct err *err)
{
    /* O_NONBLOCK: opening a FIFO or a tape must not hang before we know what it is. */
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, errno, "stat %s", path);
    if (S_ISDIR(st.st_mode))
        return err_sys(err, EISDIR, "read %s", path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return err_set(err, ERR_INVALID, "read %s: not a regular file", path);
    if (S_ISREG(st.st_mode) && (uintmax_t)st.st_size > max)
        return err_set(err, ERR_INVALID, "%s: larger than %zu bytes", path, max);
    if (read_all(fd, max, S_ISFIFO(st.st_mode) ? PIPE_WAIT_MS : -1, data, len, err) < 0)
        return err_wrap(err, "%s", path);
    return 0;
}

int fs_write_atomic(const char *path, const void *data, size_t n, mode_t mode, bool durable,
                    struct err *err)
{
    char *tmp AUTOFREE = xasprintf("%s.XXXXXX", path);
    int fd AUTOCLOSE = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "create %s", tmp);
    if (fchmod(fd, mode) < 0 || fd_write_all(fd, data, n) < 0 || (durable && fsync(fd) < 0) ||
        rename(tmp, path) < 0) {
        int saved = errno;
        unlink(tmp);
        return err_sys(err, saved, "write %s", path);
    }
    return 0;
}

int fs_mkdir_p(const char *path, mode_t mode, struct err *err)
{
    if (mkdir(path, mode) == 0 || (errno == EEXIST && fs_is_dir(path)))
        return 0;
    if (errno != ENOENT)
        return err_sys(err, errno, "mkdir %s", path);
    char *parent AUTOFREE = path_dir(path);
    if (streq(parent, path))
        return err_sys(err, ENOENT, "mkdir %s", path);
    if (fs_mkdir_p(parent, mode, err) < 0)
        return -1;
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_sys(err, errno, "mkdir %s", path);
    return 0;
}

void fs_spread(const char *dir)
{
    int fd AUTOCLOSE = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int flags = 0;
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        return;
    flags |= FS_TOPDIR_FL;
    ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* Empties the folder behind fd (which it closes); -1 with errno. Somebody else may be removing the
 * same tree: what is gone is gone. */
static int remove_below(int fd, dev_t dev)
{
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return -1;
    }
    int rc = 0, saved = 0;
    struct dirent *e;
    while ((e = readdir(d))) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM) {
            rc = -1;
            saved = errno;
            continue;
        }
        int sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;
        if (sub < 0 && errno == ENOENT)
            continue;
        if (sub < 0 || fstat(sub, &st) < 0 || st.st_dev != dev) {
            rc = -1;
            saved = sub < 0 ? errno : EBUSY;
            if (sub >= 0)
                close(sub);
            continue;
        }
        if (remove_below(sub, dev) < 0 ||
            (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)) {
            rc = -1;
            saved = errno;
        }
    }
    closedir(d);
    errno = saved;
    return rc;
}

int fs_remove_all(const char *path, struct err *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_sys(err, errno, "remove %s", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "remove %s", path);
    if (fstat(fd, &st) < 0) {
        int saved = errno;
        close(fd);
        return err_sys(err, saved, "remove %s", path);
    }
    if (remove_below(fd, st.st_dev) < 0 || (rmdir(path) < 0 && errno != ENOENT))
        return err_sys(err, errno, "remove %s", path);
    return 0;
}

bool fs_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool fs_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *path_join(const char *dir, const char *name)
{
    if (name[0] == '/' || !dir[0])
        return xstrdup(name);
    return xasprintf("%s%s%s", dir, ends_with(dir, "/") ? "" : "/", name);
}

char *path_clean(const char *path)
{
    bool rooted = path[0] == '/';
    struct strbuf out = STRBUF_INIT;
    if (rooted)
        strbuf_addch(&out, '/');
    size_t floor = out.len; /* ".." may not cut below this */
    for (const char *p = path; *p;) {
        const char *end = strchrnul(p, '/');
        size_t n = (size_t)(end - p);
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (out.len > floor) {
                size_t cut = out.len;
                while (cut > floor && out.buf[cut - 1] != '/')
                    cut--;
                strbuf_setlen(&out, cut > floor ? cut - 1 : cut);
            } else if (!rooted) {
                strbuf_addstr(&out, out.len ? "/.." : "..");
                floor = out.len;
            }
        } else if (n && !(n == 1 && p[0] == '.')) {
            if (out.len && out.buf[out.len - 1] != '/')
                strbuf_addch(&out, '/');
            strbuf_add(&out, p, n);
        }
        p = *end ? end + 1 : end;
    }
    if (!out.len)
        strbuf_addch(&out, '.');
    return strbuf_detach(&out);
}

char *path_abs(const char *base, const char *path)
{
    if (path[0] == '/')
        return path_clean(path);
    char *cwd AUTOFREE = base && base[0] == '/' ? xstrdup(base) : getcwd(NULL, 0);
    if (!cwd)
        cwd = xstrdup("/");
    char *from AUTOFREE = base && base[0] != '/' ? path_join(cwd, base) : xstrdup(cwd);
    char *joined AUTOFREE = path_join(from, path);
    return path_clean(joined);
}

char *path_dir(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? xstrndup(path, n) : xstrdup(".");
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int fs_lock(const char *path, bool wait, int *fd, struct err *err)
{
    int lock AUTOCLOSE = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return err_sys(err, errno, "open %s", path);
    while (flock(lock, LOCK_EX | (wait ? 0 : LOCK_NB)) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_CONFLICT, "%s is held by another process", path);
        return err_sys(err, errno, "lock %s", path);
    }
    *fd = STEAL_FD(lock);
    return 0;
}
