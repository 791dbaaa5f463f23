#include "image/module/tarwrite.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"

enum { XATTR_MAX = 1 << 16, CHUNK = 256 << 10 };

struct tar {
    struct archive *archive;
    const struct tar_output *output;
    const struct stop *stop;
    bool layer;
    bool refused; /* the output said stop */
    dev_t dev;
    struct map inodes; /* "device:inode" of files with several links -> name in the tar, heap */
    char *buffer;      /* CHUNK bytes */
    char *xattr;       /* XATTR_MAX bytes */
};

static la_ssize_t on_write(struct archive *a, void *ctx, const void *data, size_t n)
{
    struct tar *t = ctx;
    if (t->output->write(t->output->ctx, data, n) == 0)
        return (la_ssize_t)n;
    t->refused = true;
    archive_set_error(a, EIO, "stopped");
    return -1;
}

static int archive_failed(struct tar *t, const char *name, struct err *err)
{
    return t->refused ? -1 : err_set(err, ERR_IO, "%s: %s", name, archive_error_string(t->archive));
}

static bool is_overlay(const char *xattr)
{
    return starts_with(xattr, "trusted.overlay.") || starts_with(xattr, "user.overlay.");
}

/* path: reachable, not followed. *opaque: an overlay upper folder that hides what is below. */
static int add_xattrs(struct tar *t, struct archive_entry *e, const char *path, bool *opaque,
                      struct err *err)
{
    char *names AUTOFREE = xmalloc(XATTR_MAX);
    ssize_t n = llistxattr(path, names, XATTR_MAX);
    if (n < 0)
        return errno == ENOTSUP ? 0 : err_sys(err, errno, "list attributes");
    for (char *name = names; name < names + n; name += strlen(name) + 1) {
        ssize_t size = lgetxattr(path, name, t->xattr, XATTR_MAX);
        if (size < 0)
            return err_sys(err, errno, "attribute %s", name);
        if (streq(name, "trusted.overlay.opaque") && size == 1 && *t->xattr == 'y')
            *opaque = true;
        if (!is_overlay(name))
            archive_entry_xattr_add_entry(e, name, t->xattr, (size_t)size);
    }
    return 0;
}

static int put_content(struct tar *t, int dir, const char *name, int64_t size, struct err *err)
{
    int fd AUTOCLOSE = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open");
    while (size > 0) {
        if (stop_now(t->stop))
            return err_set(err, ERR_CANCELLED, "cancelled");
        ssize_t n = read(fd, t->buffer, size < CHUNK ? (size_t)size : CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read");
        if (n == 0) {
            /* It shrank while it was read: its size is written already. */
            memset(t->buffer, 0, CHUNK);
            n = size < CHUNK ? (ssize_t)size : CHUNK;
        }
        if (archive_write_data(t->archive, t->buffer, (size_t)n) < 0)
            return archive_failed(t, name, err);
        size -= n;
    }
    return 0;
}

/* An empty file whose name says it all. */
static int put_mark(struct tar *t, const char *prefix, const char *name, const struct stat *st,
                    struct err *err)
{
    struct archive_entry *e = archive_entry_new();
    char *path AUTOFREE = xasprintf("%s%s%s", prefix, *prefix && !ends_with(prefix, "/") ? "/" : "",
                                    name);
    archive_entry_set_pathname(e, path);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0600);
    archive_entry_set_mtime(e, st->st_mtime, 0);
    archive_entry_set_size(e, 0);
    int rc = archive_write_header(t->archive, e) < ARCHIVE_WARN ? archive_failed(t, path, err) : 0;
    archive_entry_free(e);
    return rc;
}

/* The name under which another link of the file is in the tar already, or NULL. */
static const char *earlier_link(struct tar *t, const struct stat *st, const char *path)
{
    char key[64];
    if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
        return NULL;
    snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
             (unsigned long long)st->st_ino);
    const char *known = map_get(&t->inodes, key);
    if (!known)
        map_set(&t->inodes, key, xstrdup(path));
    return known;
}

static int fill_entry(struct tar *t, struct archive_entry *e, int dir, const char *name,
                      const char *path, const struct stat *st, bool *opaque, struct err *err)
{
    char target[PATH_MAX];
    archive_entry_copy_stat(e, st);
    archive_entry_unset_atime(e);
    archive_entry_unset_ctime(e);
    archive_entry_unset_birthtime(e);
    archive_entry_set_pathname(e, path);
    if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
        if (n < 0)
            return err_sys(err, errno, "read link");
        target[n] = '\0';
        archive_entry_set_symlink(e, target);
    }
    if (!S_ISREG(st->st_mode))
        archive_entry_set_size(e, 0);
    const char *link = earlier_link(t, st, path);
    if (link) {
        archive_entry_set_hardlink(e, link);
        archive_entry_set_size(e, 0);
        return 0;
    }
    char *real AUTOFREE = xasprintf("/proc/self/fd/%d/%s", dir, name);
    return add_xattrs(t, e, real, opaque, err);
}

static int put_folder(struct tar *t, int dir, const char *name, const char *path, struct err *err);

static int put_entry(struct tar *t, int dir, const char *name, const char *prefix, struct err *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "%s%s", prefix, name);
    if (S_ISSOCK(st.st_mode) || (S_ISDIR(st.st_mode) && st.st_dev != t->dev))
        return 0;
    if (t->layer && S_ISCHR(st.st_mode) && st.st_rdev == 0) {
        char *mark AUTOFREE = xasprintf(".wh.%s", name);
        return put_mark(t, prefix, mark, &st, err);
    }
    bool folder = S_ISDIR(st.st_mode), opaque = false;
    char *path AUTOFREE = xasprintf("%s%s%s", prefix, name, folder ? "/" : "");
    struct archive_entry *e = archive_entry_new();
    int rc = fill_entry(t, e, dir, name, path, &st, &opaque, err);
    if (rc == 0 && archive_write_header(t->archive, e) < ARCHIVE_WARN)
        rc = archive_failed(t, path, err);
    bool content = S_ISREG(st.st_mode) && !archive_entry_hardlink(e);
    archive_entry_free(e);
    if (rc == 0 && content)
        rc = put_content(t, dir, name, st.st_size, err);
    if (rc == 0 && t->layer && opaque)
        rc = put_mark(t, path, ".wh..wh..opq", &st, err);
    if (rc < 0)
        return err_wrap(err, "%s", path);
    return folder ? put_folder(t, dir, name, path, err) : 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int put_folder(struct tar *t, int dir, const char *name, const char *path, struct err *err)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(err, saved, "open %s", path);
    }
    VEC(char *) names = {0};
    struct dirent *entry;
    while ((entry = readdir(d)))
        if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
            vec_push(&names, xstrdup(entry->d_name));
    if (names.n)
        qsort(names.v, names.n, sizeof(*names.v), compare_names);
    int rc = 0;
    for (size_t i = 0; i < names.n; i++) {
        if (rc == 0)
            rc = put_entry(t, dirfd(d), names.v[i], path, err);
        free(names.v[i]);
    }
    vec_release(&names);
    closedir(d);
    return rc;
}

static int write_tree(struct tar *t, int root, dev_t dev, const char *dir, struct err *err)
{
    t->dev = dev;
    t->buffer = xmalloc(CHUNK);
    t->xattr = xmalloc(XATTR_MAX);
    t->archive = archive_write_new();
    archive_write_set_format_pax_restricted(t->archive);
    archive_write_set_format_option(t->archive, "pax", "xattrheader", "SCHILY");
    archive_write_set_bytes_per_block(t->archive, 0);
    int rc = archive_write_open(t->archive, t, NULL, on_write, NULL) == ARCHIVE_OK
                 ? 0
                 : archive_failed(t, dir, err);
    if (rc == 0)
        rc = put_folder(t, root, ".", "", err);
    if (rc == 0 && archive_write_close(t->archive) != ARCHIVE_OK)
        rc = archive_failed(t, dir, err);
    if (rc < 0)
        archive_write_fail(t->archive);
    archive_write_free(t->archive);
    map_foreach (&t->inodes, it)
        free(it->value);
    map_release(&t->inodes);
    free(t->buffer);
    free(t->xattr);
    return rc;
}

int tar_write(const char *dir, bool layer, const struct stop *stop, const struct tar_output *output,
              struct err *err)
{
    struct tar t = {.output = output, .stop = stop, .layer = layer};
    /* libarchive writes names as UTF-8 only from a locale that knows it; others become binary. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
    int root AUTOCLOSE = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    int rc = root < 0 || fstat(root, &st) < 0 ? err_sys(err, errno, "open %s", dir) : 0;
    if (rc == 0)
        rc = write_tree(&t, root, st.st_dev, dir, err);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return rc;
}
