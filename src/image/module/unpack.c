#include "image/module/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/resolve.h"

/* More than any real layer has; a bound against archives that only cost inodes. */
enum { ENTRIES_MAX = 5000000 };
/* As the kernel's own limit of links in a path. */
enum { LINKS_MAX = 40 };

struct folder_time {
    char *path;
    struct timespec times[2];
};

struct unpack {
    struct ring *in;
    size_t handed; /* bytes of the ring that libarchive holds */
    struct archive *archive;
    int root;
    char *parent_path; /* the folder that parent is, relative to root */
    int parent;
    VEC(struct folder_time) folders; /* their times are set last: entries below change them */
    struct unpack_result *result;
};

static la_ssize_t tar_read(struct archive *a, void *ctx, const void **buffer)
{
    struct unpack *u = ctx;
    size_t n;
    ring_consume(u->in, u->handed);
    u->handed = 0;
    const unsigned char *data = ring_bytes(u->in, &n);
    if (!data && n) {
        archive_set_error(a, EIO, "the stream broke off");
        return -1;
    }
    *buffer = data;
    u->handed = n;
    return (la_ssize_t)n;
}

static void forget_parent(struct unpack *u)
{
    if (u->parent >= 0)
        close(u->parent);
    u->parent = -1;
    free(u->parent_path);
    u->parent_path = NULL;
}

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static int set_opaque(int parent, const char *name, struct err *err)
{
    char *path AUTOFREE = xasprintf("/proc/self/fd/%d/%s", parent, name);
    if (lsetxattr(path, "trusted.overlay.opaque", "y", 1, 0) < 0)
        return err_sys(err, errno, "set attribute trusted.overlay.opaque");
    return 0;
}

static int make_folders(struct unpack *u, const char *path, int depth, int *fd, struct err *err);

/* What a link in a path means, as a path below the root. */
static char *link_path(int parent, const char *dir, const char *name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(parent, name, target, sizeof(target) - 1);
    if (n < 0)
        return NULL;
    target[n] = '\0';
    char *joined AUTOFREE = target[0] == '/' ? xstrdup(target) : xasprintf("/%s/%s", dir, target);
    char *clean AUTOFREE = path_clean(joined);
    return xstrdup(clean[1] ? clean + 1 : ".");
}

/* Makes the folder name in parent, which has no entry of its own; a link is followed, anything else
 * in the way gives way. */
static int make_implied(struct unpack *u, int parent, const char *path, const char *name, int depth,
                        int *fd, struct err *err)
{
    struct stat st;
    bool there = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISLNK(st.st_mode)) {
        char *dir AUTOFREE = path_dir(path);
        char *target AUTOFREE = link_path(parent, dir, name);
        if (!target || depth == 0)
            return err_sys(err, ELOOP, "%s", path);
        return make_folders(u, target, depth - 1, fd, err);
    }
    if (there && unlinkat(parent, name, 0) < 0)
        return err_sys(err, errno, "%s", path);
    if (mkdirat(parent, name, 0755) < 0)
        return err_sys(err, errno, "mkdir %s", path);
    if (there && is_whiteout(&st)) {
        if (set_opaque(parent, name, err) < 0)
            return -1;
    } else {
        vec_push(&u->result->fixups, (struct fixup){xstrdup(path), NULL});
    }
    *fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return *fd < 0 ? err_sys(err, errno, "%s", path) : 0;
}

/* Opens the folder, made with its parents where it is missing. depth: links that may follow. */
static int make_folders(struct unpack *u, const char *path, int depth, int *fd, struct err *err)
{
    *fd = open_beneath(u->root, path, O_PATH | O_DIRECTORY);
    if (*fd >= 0)
        return 0;
    if (errno != ENOENT && errno != ENOTDIR)
        return err_sys(err, errno, "%s", path);
    char *dir AUTOFREE = path_dir(path);
    int parent AUTOCLOSE = -1;
    if (make_folders(u, dir, depth, &parent, err) < 0)
        return -1;
    return make_implied(u, parent, path, path_base(path), depth, fd, err);
}

/* Opens the folder of a clean relative path ("" is the root), and points name at the last part. */
static int enter_parent(struct unpack *u, const char *path, const char **name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (u->parent_path && strlen(u->parent_path) == n && !memcmp(u->parent_path, path, n))
        return 0;
    forget_parent(u);
    char *dir AUTOFREE = n ? xstrndup(path, n) : xstrdup(".");
    if (make_folders(u, dir, LINKS_MAX, &u->parent, err) < 0)
        return -1;
    u->parent_path = n ? STEAL(dir) : xstrdup("");
    return 0;
}

static int remove_existing(struct unpack *u, const char *name, struct err *err)
{
    if (unlinkat(u->parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    char *path AUTOFREE = xasprintf("/proc/self/fd/%d/%s", u->parent, name);
    return fs_remove_all(path, err);
}

static void entry_times(struct archive_entry *e, struct timespec times[2])
{
    times[1] = (struct timespec){archive_entry_mtime(e), archive_entry_mtime_nsec(e)};
    times[0] = archive_entry_atime_is_set(e)
                   ? (struct timespec){archive_entry_atime(e), archive_entry_atime_nsec(e)}
                   : times[1];
}

/* trusted.overlay.* would let a layer speak to overlayfs itself (redirects, opaque folders). */
static bool xattr_allowed(const char *name)
{
    return !starts_with(name, "trusted.overlay.") && !starts_with(name, "user.overlay.");
}

/* fd -1: by name in the parent, not following a link. A file system that cannot hold an attribute
 * does not stop an image (Docker does the same); for capabilities it would change what runs. */
static int set_xattrs(struct unpack *u, struct archive_entry *e, int fd, const char *name,
                      struct err *err)
{
    const char *key;
    const void *value;
    size_t n;
    if (archive_entry_xattr_reset(e) == 0)
        return 0;
    char *path AUTOFREE = fd < 0 ? xasprintf("/proc/self/fd/%d/%s", u->parent, name) : NULL;
    while (archive_entry_xattr_next(e, &key, &value, &n) == ARCHIVE_OK) {
        if (!xattr_allowed(key))
            continue;
        int rc = fd < 0 ? lsetxattr(path, key, value, n, 0) : fsetxattr(fd, key, value, n, 0);
        if (rc < 0 && ((errno != ENOTSUP && errno != EPERM) || streq(key, "security.capability")))
            return err_sys(err, errno, "set attribute %s", key);
    }
    return 0;
}

/* Owner, mode, xattrs and times of what has no content: by name, never following a link. */
static int set_attributes(struct unpack *u, struct archive_entry *e, const char *name,
                          struct err *err)
{
    struct timespec times[2];
    entry_times(e, times);
    if (fchownat(u->parent, name, (uid_t)archive_entry_uid(e), (gid_t)archive_entry_gid(e),
                 AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "chown");
    if (archive_entry_filetype(e) != AE_IFLNK &&
        fchmodat(u->parent, name, archive_entry_perm(e), 0) < 0)
        return err_sys(err, errno, "chmod");
    if (set_xattrs(u, e, -1, name, err) < 0)
        return -1;
    if (utimensat(u->parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "set times");
    return 0;
}

static int write_data(struct unpack *u, int fd, int64_t size, struct err *err)
{
    const void *data;
    size_t n;
    la_int64_t offset;
    int64_t at = 0;
    int rc;
    while ((rc = archive_read_data_block(u->archive, &data, &n, &offset)) == ARCHIVE_OK) {
        /* Holes of a sparse file are jumped over. */
        if (offset != at && lseek(fd, offset, SEEK_SET) < 0)
            return err_sys(err, errno, "seek");
        if (fd_write_all(fd, data, n) < 0)
            return err_sys(err, errno, "write");
        at = offset + (int64_t)n;
        u->result->size += (int64_t)n;
    }
    if (rc != ARCHIVE_EOF)
        return err_set(err, ERR_CORRUPT, "%s", archive_error_string(u->archive));
    if (at < size && ftruncate(fd, size) < 0)
        return err_sys(err, errno, "truncate");
    return 0;
}

static int make_file(struct unpack *u, struct archive_entry *e, const char *name, struct err *err)
{
    mode_t mode = (mode_t)archive_entry_perm(e);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd AUTOCLOSE = openat(u->parent, name, flags, mode & 0777);
    if (fd < 0 && errno == EEXIST) {
        if (remove_existing(u, name, err) < 0)
            return -1;
        fd = openat(u->parent, name, flags, mode & 0777);
    }
    if (fd < 0)
        return err_sys(err, errno, "create");
    if (write_data(u, fd, archive_entry_size(e), err) < 0)
        return -1;
    struct timespec times[2];
    entry_times(e, times);
    uid_t uid = (uid_t)archive_entry_uid(e);
    gid_t gid = (gid_t)archive_entry_gid(e);
    /* chown clears set-id bits and capabilities: mode and xattrs come after it. */
    if ((uid || gid) && fchown(fd, uid, gid) < 0)
        return err_sys(err, errno, "chown");
    if (mode & 07000 && fchmod(fd, mode) < 0)
        return err_sys(err, errno, "chmod");
    if (set_xattrs(u, e, fd, name, err) < 0)
        return -1;
    return futimens(fd, times) < 0 ? err_sys(err, errno, "set times") : 0;
}

static int make_folder(struct unpack *u, struct archive_entry *e, const char *path,
                       const char *name, struct err *err)
{
    struct folder_time ft = {.path = NULL};
    entry_times(e, ft.times);
    if (!*path) {
        if (fchownat(u->root, "", (uid_t)archive_entry_uid(e), (gid_t)archive_entry_gid(e),
                     AT_EMPTY_PATH) < 0 ||
            fchmod(u->root, archive_entry_perm(e)) < 0)
            return err_sys(err, errno, "chown");
        if (set_xattrs(u, e, u->root, name, err) < 0)
            return -1;
    } else {
        struct stat st;
        bool there = fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (there && !S_ISDIR(st.st_mode) && remove_existing(u, name, err) < 0)
            return -1;
        if (!(there && S_ISDIR(st.st_mode)) && mkdirat(u->parent, name, 0700) < 0)
            return err_sys(err, errno, "mkdir");
        /* A whiteout beside an entry of the same name hides what lies below it only. */
        if (there && is_whiteout(&st) && set_opaque(u->parent, name, err) < 0)
            return -1;
        if (set_attributes(u, e, name, err) < 0)
            return -1;
    }
    /* An entry after all: the folders below have no say in it. */
    for (size_t i = 0; i < u->result->fixups.n; i++) {
        struct fixup *f = &u->result->fixups.v[i];
        if (f->target || !streq(f->path, path))
            continue;
        free(f->path);
        vec_remove(&u->result->fixups, i);
        break;
    }
    ft.path = xstrdup(path);
    vec_push(&u->folders, ft);
    return 0;
}

static int make_other(struct unpack *u, struct archive_entry *e, const char *name, struct err *err)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int rc;
        switch (archive_entry_filetype(e)) {
        case AE_IFLNK:
            rc = symlinkat(archive_entry_symlink(e) ? archive_entry_symlink(e) : "", u->parent,
                           name);
            break;
        case AE_IFCHR:
        case AE_IFBLK:
        case AE_IFIFO:
            rc = mknodat(u->parent, name, archive_entry_filetype(e) | 0600,
                         makedev(archive_entry_rdevmajor(e), archive_entry_rdevminor(e)));
            break;
        default:
            return err_set(err, ERR_INVALID, "entries of type 0%o are not supported",
                           (unsigned)archive_entry_filetype(e));
        }
        if (rc == 0)
            return set_attributes(u, e, name, err);
        if (errno != EEXIST || attempt)
            return err_sys(err, errno, "create");
        if (remove_existing(u, name, err) < 0)
            return -1;
    }
    return 0;
}

/* A hard link whose file lies in a layer below is made when those are there. */
static int make_link(struct unpack *u, const char *path, const char *name, const char *target,
                     struct err *err)
{
    char *clean AUTOFREE = clean_entry_path(target);
    if (!clean || !*clean)
        return err_set(err, ERR_INVALID, "it is a hard link to \"%.200s\", outside of the layer",
                       target);
    if (streq(clean, path))
        return 0;
    const char *slash = strrchr(clean, '/');
    char *dir AUTOFREE = slash ? xstrndup(clean, (size_t)(slash - clean)) : xstrdup(".");
    const char *target_name = slash ? slash + 1 : clean;
    int target_dir AUTOCLOSE = open_beneath(u->root, dir, O_PATH | O_DIRECTORY);
    struct stat st;
    if (target_dir < 0 || fstatat(target_dir, target_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        is_whiteout(&st)) {
        if (unlinkat(u->parent, name, 0) < 0 && errno != ENOENT)
            return err_sys(err, errno, "remove");
        vec_push(&u->result->fixups, (struct fixup){xstrdup(path), STEAL(clean)});
        return 0;
    }
    if (linkat(target_dir, target_name, u->parent, name, 0) == 0)
        return 0;
    if (errno != EEXIST)
        return err_sys(err, errno, "link to %s", clean);
    if (remove_existing(u, name, err) < 0)
        return -1;
    if (linkat(target_dir, target_name, u->parent, name, 0) < 0)
        return err_sys(err, errno, "link to %s", clean);
    return 0;
}

/* name: ".wh." and what it hides, in the parent that was entered. */
static int make_whiteout(struct unpack *u, const char *path, const char *name, struct err *err)
{
    if (streq(name, ".wh..wh..opq")) {
        if (!strchr(path, '/')) {
            u->result->opaque_root = true;
            return 0;
        }
        return set_opaque(u->parent, ".", err);
    }
    if (starts_with(name, ".wh..wh."))
        return 0; /* what aufs kept for itself */
    const char *hidden = name + 4;
    if (!*hidden || streq(hidden, ".") || streq(hidden, ".."))
        return err_set(err, ERR_INVALID, "a whiteout of \"%s\"", hidden);
    if (mknodat(u->parent, hidden, S_IFCHR, makedev(0, 0)) == 0)
        return 0;
    if (errno != EEXIST)
        return err_sys(err, errno, "create a whiteout");
    /* The layer has an entry of that name: it hides a file below by itself. */
    struct stat st;
    if (fstatat(u->parent, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return set_opaque(u->parent, hidden, err);
    return 0;
}

static int unpack_entry(struct unpack *u, struct archive_entry *e, struct err *err)
{
    const char *raw = archive_entry_pathname(e);
    if (!raw)
        return err_set(err, ERR_INVALID, "an entry has no name");
    char *path AUTOFREE = clean_entry_path(raw);
    if (!path)
        return err_set(err, ERR_INVALID, "entry \"%.200s\" leads outside of the layer", raw);
    const char *name = "", *link = archive_entry_hardlink(e);
    int rc = *path ? enter_parent(u, path, &name, err) : 0;
    if (rc == 0 && starts_with(name, ".wh."))
        rc = make_whiteout(u, path, name, err);
    else if (rc == 0 && !*path && (link || archive_entry_filetype(e) != AE_IFDIR))
        rc = err_set(err, ERR_INVALID, "the root is not a folder");
    else if (rc == 0 && link)
        rc = make_link(u, path, name, link, err);
    else if (rc == 0 && archive_entry_filetype(e) == AE_IFREG)
        rc = make_file(u, e, name, err);
    else if (rc == 0 && archive_entry_filetype(e) == AE_IFDIR)
        rc = make_folder(u, e, path, name, err);
    else if (rc == 0)
        rc = make_other(u, e, name, err);
    return rc < 0 ? err_wrap(err, "%.300s", *path ? path : "/") : 0;
}

static int unpack_entries(struct unpack *u, struct err *err)
{
    struct archive_entry *e;
    int rc;
    while ((rc = archive_read_next_header(u->archive, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        if (++u->result->entries > ENTRIES_MAX)
            return err_set(err, ERR_INVALID, "more than %d entries: refused as a bomb",
                           ENTRIES_MAX);
        if (unpack_entry(u, e, err) < 0)
            return -1;
    }
    if (rc != ARCHIVE_EOF)
        return err_set(err, ERR_CORRUPT, "the tar is damaged: %s",
                       archive_error_string(u->archive));
    return 0;
}

/* Children first: a parent's time is touched by nothing that follows. */
static int set_folder_times(struct unpack *u, struct err *err)
{
    for (size_t i = u->folders.n; i-- > 0;) {
        const char *path = u->folders.v[i].path;
        int fd AUTOCLOSE = open_beneath(u->root, *path ? path : ".",
                                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
            continue; /* replaced by a later entry */
        if (fd < 0 || futimens(fd, u->folders.v[i].times) < 0)
            return err_sys(err, errno, "%s: set times", path);
    }
    return 0;
}

/* The digest is of the whole stream, which may go on behind the end mark of the tar. */
static int drain(struct unpack *u, struct err *err)
{
    ring_consume(u->in, u->handed);
    u->handed = 0;
    for (;;) {
        size_t n;
        if (!ring_bytes(u->in, &n))
            return n ? err_set(err, ERR_CANCELLED, "the stream broke off") : 0;
        ring_consume(u->in, n);
    }
}

static int open_tar(struct unpack *u, struct err *err)
{
    u->archive = archive_read_new();
    archive_read_support_format_tar(u->archive);
    archive_read_support_format_empty(u->archive);
    /* Names are bytes: no conversion to the locale's character set. */
    archive_read_set_format_option(u->archive, "tar", "hdrcharset", "BINARY");
    if (archive_read_open(u->archive, u, NULL, tar_read, NULL) != ARCHIVE_OK)
        return err_set(err, ERR_CORRUPT, "it is not a tar: %s", archive_error_string(u->archive));
    return 0;
}

int unpack_tar(struct ring *in, const char *dir, struct unpack_result *result, struct err *err)
{
    struct unpack u = {.in = in, .parent = -1, .result = result};
    *result = (struct unpack_result){0};
    if (unshare(CLONE_FS) < 0)
        return err_sys(err, errno, "unshare");
    umask(0);
    u.root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u.root < 0)
        return err_sys(err, errno, "open %s", dir);
    int rc = open_tar(&u, err);
    if (rc == 0)
        rc = unpack_entries(&u, err);
    if (rc == 0)
        rc = set_folder_times(&u, err);
    if (rc == 0)
        rc = drain(&u, err);
    forget_parent(&u);
    close(u.root);
    archive_read_free(u.archive);
    vec_foreach (&u.folders, f)
        free(f->path);
    vec_release(&u.folders);
    return rc;
}

void unpack_result_release(struct unpack_result *result)
{
    vec_foreach (&result->fixups, f) {
        free(f->path);
        free(f->target);
    }
    vec_release(&result->fixups);
}
