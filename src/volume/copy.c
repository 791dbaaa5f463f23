#include "volume/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"

enum {
    DEPTH_MAX = 1000, /* each level holds two descriptors */
    LIST_MAX = 64 << 10,
    VALUE_MAX = 64 << 10,
    BLOCK = 128 << 10,
};

struct copy {
    int to_root;
    bool resume;
    struct map links; /* "dev:ino" of files with several names -> first path below to_root */
    struct err *err;
};

static int fail(struct copy *c, const char *path)
{
    return err_sys(c->err, errno, "copy %s", *path ? path : "/");
}

/* Overlay's own marks mean nothing outside of it. */
static bool is_foreign_xattr(const char *name)
{
    return starts_with(name, "trusted.overlay.") || starts_with(name, "user.overlay.");
}

/* Attributes are written by /proc/self/fd/N: it works for any kind of file opened O_PATH. */
static int copy_xattrs(const char *from, const char *to)
{
    char *list AUTOFREE = xmalloc(LIST_MAX);
    ssize_t n = listxattr(from, list, LIST_MAX);
    if (n <= 0)
        return n < 0 && errno != ENOTSUP ? -1 : 0;
    char *value AUTOFREE = xmalloc(VALUE_MAX);
    for (char *name = list; name < list + n; name += strlen(name) + 1) {
        if (is_foreign_xattr(name))
            continue;
        ssize_t len = getxattr(from, name, value, VALUE_MAX);
        if (len < 0)
            continue;
        /* A file system without them (tmpfs, NFS) loses them, as with cp -a. */
        if (setxattr(to, name, value, (size_t)len, 0) < 0 && errno != ENOTSUP && errno != EPERM)
            return -1;
    }
    return 0;
}

/* Owner before mode (chown clears set-user-ID), capabilities after owner, times last. */
static int copy_attributes(int from, int to, const struct stat *st)
{
    char a[64], b[64];
    snprintf(a, sizeof(a), "/proc/self/fd/%d", from);
    snprintf(b, sizeof(b), "/proc/self/fd/%d", to);
    struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (fchownat(to, "", st->st_uid, st->st_gid, AT_EMPTY_PATH) < 0 ||
        chmod(b, st->st_mode & 07777) < 0 || copy_xattrs(a, b) < 0)
        return -1;
    return utimensat(AT_FDCWD, b, times, 0);
}

static int copy_range(int from, int to, off_t start, off_t end)
{
    bool in_kernel = true;
    char *block AUTOFREE = NULL;
    while (start < end) {
        ssize_t n = -1;
        if (in_kernel) {
            loff_t in = start, out = start;
            n = copy_file_range(from, &in, to, &out, (size_t)(end - start), 0);
        }
        if (n <= 0) {
            /* Between file systems, or from one that cannot: through our hands. */
            in_kernel = false;
            if (!block)
                block = xmalloc(BLOCK);
            off_t want = end - start < BLOCK ? end - start : BLOCK;
            n = pread(from, block, (size_t)want, start);
            if (n <= 0)
                return n < 0 ? -1 : 0; /* it has become shorter */
            for (ssize_t done = 0; done < n;) {
                ssize_t w = pwrite(to, block + done, (size_t)(n - done), start + done);
                if (w < 0)
                    return -1;
                done += w;
            }
        }
        start += n;
    }
    return 0;
}

/* Shares the blocks where the file system can; else copies what is not a hole. */
static int copy_content(int from, int to, off_t size)
{
    if (size == 0 || ioctl(to, FICLONE, from) == 0)
        return 0;
    if (ftruncate(to, size) < 0)
        return -1;
    for (off_t at = 0; at < size;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break; /* only a hole is left */
        if (data < 0)
            return copy_range(from, to, at, size);
        off_t hole = lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            hole = size;
        if (copy_range(from, to, data, hole) < 0)
            return -1;
        at = hole;
    }
    return 0;
}

static bool is_done(int dir, const char *name, const struct stat *want)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == want->st_size &&
           st.st_mode == want->st_mode && st.st_mtim.tv_sec == want->st_mtim.tv_sec &&
           st.st_mtim.tv_nsec == want->st_mtim.tv_nsec;
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    int from AUTOCLOSE = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int to AUTOCLOSE = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                              0600);
    if (from < 0 || to < 0 || copy_content(from, to, st->st_size) < 0)
        return -1;
    return copy_attributes(from, to, st);
}

static int copy_link(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    char target[4097];
    ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);
    if (n < 0)
        return -1;
    target[n] = '\0';
    struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (symlinkat(target, to_dir, name) < 0 ||
        fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    return utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_special(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    if (mknodat(to_dir, name, st->st_mode & (S_IFMT | 0700), st->st_rdev) < 0)
        return -1;
    int from AUTOCLOSE = openat(from_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int to AUTOCLOSE = openat(to_dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return from < 0 || to < 0 ? -1 : copy_attributes(from, to, st);
}

/* 1: this is a further name of a file that is copied already. */
static int link_known(struct copy *c, int to_dir, const char *name, const char *path,
                      const struct stat *st)
{
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return 0;
    char key[64];
    snprintf(key, sizeof(key), "%llu:%llu", (unsigned long long)st->st_dev,
             (unsigned long long)st->st_ino);
    const char *first = map_get(&c->links, key);
    if (!first) {
        map_set(&c->links, key, xstrdup(path));
        return 0;
    }
    return linkat(c->to_root, first, to_dir, name, 0) < 0 ? -1 : 1;
}

static int copy_folder(struct copy *c, int take_from, int take_to, const char *path, int depth);

static int enter(struct copy *c, int from_dir, int to_dir, const char *name, const char *path,
                 int depth)
{
    if (mkdirat(to_dir, name, 0700) < 0 && errno != EEXIST)
        return fail(c, path);
    int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return copy_folder(c, from, to, path, depth + 1);
}

static int copy_entry(struct copy *c, int from_dir, int to_dir, const char *name, const char *path,
                      int depth)
{
    struct stat st;
    if (fstatat(from_dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(c, path);
    if (S_ISDIR(st.st_mode))
        return enter(c, from_dir, to_dir, name, path, depth);
    if (S_ISSOCK(st.st_mode))
        return 0;
    if (c->resume) {
        if (is_done(to_dir, name, &st) && st.st_nlink < 2)
            return 0;
        unlinkat(to_dir, name, 0);
    }
    int rc = link_known(c, to_dir, name, path, &st);
    if (rc == 0 && S_ISREG(st.st_mode))
        rc = copy_file(from_dir, to_dir, name, &st);
    else if (rc == 0 && S_ISLNK(st.st_mode))
        rc = copy_link(from_dir, to_dir, name, &st);
    else if (rc == 0)
        rc = copy_special(from_dir, to_dir, name, &st);
    return rc < 0 ? fail(c, path) : 0;
}

/* Closes both descriptors. */
static int copy_folder(struct copy *c, int take_from, int take_to, const char *path, int depth)
{
    int to AUTOCLOSE = take_to;
    DIR *d = take_from >= 0 ? fdopendir(take_from) : NULL;
    struct stat st;
    if (!d || to < 0 || depth > DEPTH_MAX || fstat(dirfd(d), &st) < 0) {
        if (depth > DEPTH_MAX)
            errno = ELOOP;
        fail(c, path);
        if (d)
            closedir(d);
        else if (take_from >= 0)
            close(take_from);
        return -1;
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        char *sub AUTOFREE = path_join(path, e->d_name);
        rc = copy_entry(c, dirfd(d), to, e->d_name, sub, depth);
    }
    /* After its content, which has changed the folder's time. */
    if (rc == 0 && copy_attributes(dirfd(d), to, &st) < 0)
        rc = fail(c, path);
    closedir(d);
    return rc;
}

int tree_copy(int from, int to, bool resume, struct err *err)
{
    struct copy c = {.to_root = to, .resume = resume, .err = err};
    int a = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int b = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = copy_folder(&c, a, b, "", 0);
    map_foreach (&c.links, it)
        free(it->value);
    map_release(&c.links);
    return rc;
}
