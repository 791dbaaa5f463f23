#include "cli/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

enum { DEPTH_MAX = 512, XATTR_MAX = 64 << 10 };

struct copy {
    const struct copy_options *o;
    int depth;
};

static int copy_any(struct copy *c, int from, int to, const char *name, struct err *err);

/* O_PATH descriptors have no data; this one has, and follows nothing. */
static int reopen(int fd, int flags)
{
    char path[48];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

static void copy_xattrs(int from, int to)
{
    char names[XATTR_MAX], value[XATTR_MAX];
    ssize_t n = flistxattr(from, names, sizeof(names));
    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(names + i) + 1) {
        ssize_t len = fgetxattr(from, names + i, value, sizeof(value));
        /* Overlayfs's own are not the file's; some belong to the system. */
        if (len >= 0 && !starts_with(names + i, "trusted.overlay."))
            (void)!fsetxattr(to, names + i, value, (size_t)len, 0);
    }
}

/* Owner before mode: chown clears the set-user-ID bit. */
static void copy_metadata(const struct copy *c, int to, const struct stat *st)
{
    const struct timespec times[] = {st->st_atim, st->st_mtim};
    (void)!fchown(to, c->o->owners ? st->st_uid : c->o->uid, c->o->owners ? st->st_gid : c->o->gid);
    (void)!fchmod(to, st->st_mode & 07777);
    futimens(to, times);
}

static int copy_range(int in, int out, off_t begin, off_t end)
{
    while (begin < end) {
        loff_t from = begin, to = begin;
        ssize_t n = copy_file_range(in, &from, out, &to, (size_t)(end - begin), 0);
        if (n < 0 &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
            char buf[64 << 10];
            size_t want = (size_t)(end - begin) < sizeof(buf) ? (size_t)(end - begin) : sizeof(buf);
            n = pread(in, buf, want, begin);
            if (n > 0)
                n = pwrite(out, buf, (size_t)n, begin);
        }
        if (n < 0)
            return -1;
        if (n == 0)
            break; /* it became shorter meanwhile */
        begin += n;
    }
    return 0;
}

/* Holes stay holes. */
static int copy_content(int in, int out, off_t size)
{
    off_t data = 0;
    if (ftruncate(out, size) < 0)
        return -1;
    while (data < size) {
        off_t begin = lseek(in, data, SEEK_DATA);
        if (begin < 0 && errno == ENXIO)
            return 0;
        if (begin < 0)
            begin = data;
        off_t end = lseek(in, begin, SEEK_HOLE);
        if (end < 0 || end <= begin)
            end = size;
        if (copy_range(in, out, begin, end) < 0)
            return -1;
        data = end;
    }
    return 0;
}

static int copy_file(struct copy *c, int from, int to, const char *name, const struct stat *st,
                     struct err *err)
{
    int in AUTOCLOSE = reopen(from, O_RDONLY);
    if (in < 0)
        return err_sys(err, errno, "open %s", name);
    unlinkat(to, name, 0);
    int out AUTOCLOSE = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                               0600);
    if (out < 0)
        return err_sys(err, errno, "create %s", name);
    if (copy_content(in, out, st->st_size) < 0)
        return err_sys(err, errno, "copy %s", name);
    copy_xattrs(in, out);
    copy_metadata(c, out, st);
    return 0;
}

static int copy_link(struct copy *c, int from, int to, const char *name, const struct stat *st,
                     struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, "", target, sizeof(target) - 1);
    if (n < 0)
        return err_sys(err, errno, "read the link %s", name);
    target[n] = '\0';
    unlinkat(to, name, 0);
    if (symlinkat(target, to, name) < 0)
        return err_sys(err, errno, "link %s", name);
    (void)!fchownat(to, name, c->o->owners ? st->st_uid : c->o->uid,
                    c->o->owners ? st->st_gid : c->o->gid, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int copy_special(struct copy *c, int to, const char *name, const struct stat *st,
                        struct err *err)
{
    if (S_ISSOCK(st->st_mode))
        return 0; /* as tar does */
    unlinkat(to, name, 0);
    if (mknodat(to, name, st->st_mode, st->st_rdev) < 0)
        return err_sys(err, errno, "make the device %s", name);
    (void)!fchownat(to, name, c->o->owners ? st->st_uid : c->o->uid,
                    c->o->owners ? st->st_gid : c->o->gid, AT_SYMLINK_NOFOLLOW);
    return 0;
}

static int copy_children(struct copy *c, int in, int out, struct err *err)
{
    DIR *d = fdopendir(dup(in));
    int rc = 0;
    if (!d)
        return err_sys(err, errno, "read a folder");
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        int child AUTOCLOSE = openat(in, e->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (child < 0)
            rc = errno == ENOENT ? 0 : err_sys(err, errno, "open %s", e->d_name);
        else
            rc = copy_any(c, child, out, e->d_name, err);
    }
    closedir(d);
    return rc;
}

static int copy_folder(struct copy *c, int from, int to, const char *name, const struct stat *st,
                       struct err *err)
{
    int in AUTOCLOSE = reopen(from, O_RDONLY | O_DIRECTORY);
    if (in < 0)
        return err_sys(err, errno, "open %s", name);
    bool made = mkdirat(to, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return err_sys(err, errno, "make the folder %s", name);
    int out AUTOCLOSE = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out < 0)
        return err_set(err, ERR_CONFLICT, "%s: a folder would replace what is no folder", name);
    if (++c->depth > DEPTH_MAX)
        return err_set(err, ERR_INVALID, "%s: nested more than %d folders deep", name, DEPTH_MAX);
    int rc = copy_children(c, in, out, err);
    c->depth--;
    if (rc == 0 && made) {
        copy_xattrs(in, out);
        copy_metadata(c, out, st);
    }
    return rc;
}

static int copy_any(struct copy *c, int from, int to, const char *name, struct err *err)
{
    struct stat st, old;
    if (fstat(from, &st) < 0)
        return err_sys(err, errno, "%s", name);
    if (S_ISDIR(st.st_mode))
        return copy_folder(c, from, to, name, &st, err);
    if (fstatat(to, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(old.st_mode))
        return err_set(err, ERR_CONFLICT, "%s: a file would replace a folder", name);
    if (S_ISREG(st.st_mode))
        return copy_file(c, from, to, name, &st, err);
    if (S_ISLNK(st.st_mode))
        return copy_link(c, from, to, name, &st, err);
    return copy_special(c, to, name, &st, err);
}

int copy_tree(int from, int to, const char *name, const struct copy_options *o, struct err *err)
{
    struct copy c = {.o = o};
    return copy_any(&c, from, to, name, err);
}

int copy_content_of(int from, int to, const struct copy_options *o, struct err *err)
{
    struct copy c = {.o = o};
    int in AUTOCLOSE = reopen(from, O_RDONLY | O_DIRECTORY);
    return in < 0 ? err_sys(err, errno, "open a folder") : copy_children(&c, in, to, err);
}
