#include "image/module/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/resolve.h"
#include "image/module/unpack.h"

enum { CHUNK = 1 << 18, XATTR_MAX = 1 << 16 };

/* One name in both folders. */
struct pair {
    struct tree_compare *t;
    const char *path; /* of the name */
    const char *name;
    int good_dir, other_dir;
    struct stat good, other;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted; the fd stays open. */
static int read_names(int fd, char ***names, struct err *err)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own < 0 ? NULL : fdopendir(own);
    if (!d)
        return err_sys(err, errno, "open a folder");
    *names = xcalloc(1, sizeof(**names));
    struct dirent *e;
    while ((e = readdir(d)))
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            strv_push(names, e->d_name);
    closedir(d);
    qsort(*names, strv_len((const char *const *)*names), sizeof(char *), compare_names);
    return 0;
}

/* All attributes as one text. */
static char *attributes(int dir, const char *name)
{
    char *path AUTOFREE = xasprintf("/proc/self/fd/%d/%s", dir, name);
    char *list AUTOFREE = xmalloc(XATTR_MAX), *value AUTOFREE = xmalloc(XATTR_MAX);
    ssize_t n = llistxattr(path, list, XATTR_MAX);
    char **names AUTOSTRV = xcalloc(1, sizeof(*names));
    for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1)
        strv_push(&names, p);
    qsort(names, strv_len((const char *const *)names), sizeof(char *), compare_names);
    struct strbuf out AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; names[i]; i++) {
        ssize_t size = lgetxattr(path, names[i], value, XATTR_MAX);
        strbuf_addf(&out, "%s %zd ", names[i], size);
        for (ssize_t k = 0; k < size; k++)
            strbuf_addf(&out, "%02x", (unsigned char)value[k]);
    }
    return strbuf_detach(&out);
}

static bool same_attributes(const struct pair *p)
{
    char *good AUTOFREE = attributes(p->good_dir, p->name);
    char *other AUTOFREE = attributes(p->other_dir, p->name);
    return streq(good, other);
}

static bool same_link(const struct pair *p)
{
    char good[4097], other[4097];
    ssize_t n = readlinkat(p->good_dir, p->name, good, sizeof(good));
    ssize_t m = readlinkat(p->other_dir, p->name, other, sizeof(other));
    return n >= 0 && n == m && memcmp(good, other, (size_t)n) == 0;
}

static ssize_t read_all(int fd, char *buffer)
{
    size_t done = 0;
    while (done < CHUNK) {
        ssize_t n = read(fd, buffer + done, CHUNK - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* A file that cannot be read, as on a disk that fails, is not the same. */
static bool same_content(const struct pair *p)
{
    int good AUTOCLOSE = openat(p->good_dir, p->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int other AUTOCLOSE = openat(p->other_dir, p->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    char *a AUTOFREE = xmalloc(CHUNK), *b AUTOFREE = xmalloc(CHUNK);
    while (good >= 0 && other >= 0) {
        ssize_t n = read_all(good, a), m = read_all(other, b);
        if (n != m || n < 0 || memcmp(a, b, (size_t)n) != 0)
            return false;
        if (n < CHUNK)
            return true;
    }
    return false;
}

/* Files with one inode there must have one here. */
static bool same_names(const struct pair *p)
{
    if (!S_ISREG(p->good.st_mode) || p->good.st_nlink < 2)
        return true;
    vec_foreach (&p->t->links, link) {
        struct stat st;
        if (link->inode != p->good.st_ino)
            continue;
        return fstatat(p->t->other, link->path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               st.st_ino == p->other.st_ino;
    }
    return true;
}

static const char *difference(const struct pair *p)
{
    const struct stat *a = &p->good, *b = &p->other;
    /* The archive has no time for a whiteout, and a folder's changes with what is put into it. */
    bool timed = !S_ISDIR(a->st_mode) && !(S_ISCHR(a->st_mode) && a->st_rdev == 0);
    if ((a->st_mode & S_IFMT) != (b->st_mode & S_IFMT))
        return "is of another type";
    if (a->st_mode != b->st_mode)
        return "has another mode";
    if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
        return "has another owner";
    if (S_ISREG(a->st_mode) && a->st_size != b->st_size)
        return "has another size";
    if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
        return "is another device";
    if (timed &&
        (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec))
        return "has another time";
    if (!same_attributes(p))
        return "has other attributes";
    if (S_ISLNK(a->st_mode) && !same_link(p))
        return "leads elsewhere";
    if (S_ISREG(a->st_mode) && !same_content(p))
        return "has another content";
    return same_names(p) ? NULL : "is a file of its own";
}

static void differs(struct tree_compare *t, const char *path, const char *what,
                    const struct stat *outside)
{
    vec_push(&t->differences, (struct difference){xstrdup(path), what, *outside});
}

static int compare_folder(struct tree_compare *t, const char *path, int good, int other,
                          struct err *err);

static int compare_name(struct tree_compare *t, const char *path, int good, int other,
                        const char *name, const struct stat *outside, struct err *err)
{
    struct pair p = {.t = t, .path = path, .name = name, .good_dir = good, .other_dir = other};
    if (fstatat(good, name, &p.good, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "%s", path);
    bool there = fstatat(other, name, &p.other, AT_SYMLINK_NOFOLLOW) == 0;
    const char *what = there ? difference(&p) : "is missing";
    if (what)
        differs(t, path, what, outside);
    if (S_ISREG(p.good.st_mode) && p.good.st_nlink > 1)
        vec_push(&t->links,
                 (struct file_link){xstrdup(path), p.good.st_ino, *outside, what != NULL});
    if (!there || !S_ISDIR(p.good.st_mode) || !S_ISDIR(p.other.st_mode))
        return 0;
    int good_fd AUTOCLOSE = openat(good, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int other_fd AUTOCLOSE = openat(other, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (good_fd < 0 || other_fd < 0)
        return err_sys(err, errno, "%s", path);
    return compare_folder(t, path, good_fd, other_fd, err);
}

static int compare_folder(struct tree_compare *t, const char *path, int good, int other,
                          struct err *err)
{
    char **want AUTOSTRV = NULL, **have AUTOSTRV = NULL;
    struct stat own;
    if (stop_now(t->stop))
        return err_set(err, ERR_CANCELLED, "cancelled");
    if (fstat(good, &own) < 0)
        return err_sys(err, errno, "%s", path);
    if (read_names(good, &want, err) < 0 || read_names(other, &have, err) < 0)
        return -1;
    for (size_t i = 0, k = 0; want[i] || have[k];) {
        int order = !want[i] ? 1 : !have[k] ? -1 : strcmp(want[i], have[k]);
        const char *name = order > 0 ? have[k] : want[i];
        char *below AUTOFREE = streq(path, ".") ? xstrdup(name) : path_join(path, name);
        if (order > 0)
            differs(t, below, "does not belong there", &own);
        else if (compare_name(t, below, good, other, name, &own, err) < 0)
            return -1;
        i += order <= 0;
        k += order >= 0;
    }
    return 0;
}

/* If one name of a file differs all of them are moved: they stay one file. */
static void spread_to_links(struct tree_compare *t)
{
    vec_foreach (&t->links, bad)
        if (bad->differs)
            vec_foreach (&t->links, link)
                if (link->inode == bad->inode && !link->differs) {
                    link->differs = true;
                    differs(t, link->path, "is a link to what differs", &link->outside);
                }
}

int tree_compare(struct tree_compare *t, struct err *err)
{
    struct pair root = {
        .t = t, .path = ".", .name = ".", .good_dir = t->good, .other_dir = t->other};
    if (fstat(t->good, &root.good) < 0 || fstat(t->other, &root.other) < 0)
        return err_sys(err, errno, "stat");
    const char *what = difference(&root);
    if (what)
        differs(t, ".", what, &root.good);
    if (compare_folder(t, ".", t->good, t->other, err) < 0)
        return -1;
    spread_to_links(t);
    return 0;
}

/* ---- mending */

static int copy_folder(const struct tree_compare *t, const char *path, struct err *err)
{
    int good AUTOCLOSE = open_beneath(t->good, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    int other AUTOCLOSE = open_beneath(t->other, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (good < 0 || other < 0)
        return err_sys(err, errno, "open");
    char *names AUTOFREE = xmalloc(XATTR_MAX);
    ssize_t n = flistxattr(other, names, XATTR_MAX);
    for (char *p = names; n > 0 && p < names + n; p += strlen(p) + 1)
        fremovexattr(other, p);
    if (copy_attributes(good, other, err) < 0)
        return -1;
    char opaque;
    if (fgetxattr(good, "trusted.overlay.opaque", &opaque, 1) == 1 &&
        fsetxattr(other, "trusted.overlay.opaque", &opaque, 1, 0) < 0)
        return err_sys(err, errno, "set attribute trusted.overlay.opaque");
    return 0;
}

static int move(int good, int other, const char *name, struct err *err)
{
    struct stat want, have;
    bool wanted = fstatat(good, name, &want, AT_SYMLINK_NOFOLLOW) == 0;
    bool there = fstatat(other, name, &have, AT_SYMLINK_NOFOLLOW) == 0;
    bool in_the_way = there && (!wanted || S_ISDIR(have.st_mode) || S_ISDIR(want.st_mode));
    char *path AUTOFREE = xasprintf("/proc/self/fd/%d/%s", other, name);
    if (in_the_way && fs_remove_all(path, err) < 0)
        return -1;
    return wanted && renameat(good, name, other, name) < 0 ? err_sys(err, errno, "rename") : 0;
}

static int mend_one(const struct tree_compare *t, const struct difference *d, struct err *err)
{
    char *dir AUTOFREE = path_dir(d->path);
    int good AUTOCLOSE = open_beneath(t->good, dir, O_PATH | O_DIRECTORY);
    int other AUTOCLOSE = open_beneath(t->other, dir, O_RDONLY | O_DIRECTORY);
    if (good < 0 || other < 0)
        return err_sys(err, errno, "open %s", dir);
    const char *name = path_base(d->path);
    struct stat want, have;
    bool folders = fstatat(good, name, &want, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(want.st_mode) &&
                   fstatat(other, name, &have, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(have.st_mode);
    if (folders)
        return copy_folder(t, d->path, err);
    if (move(good, other, name, err) < 0)
        return -1;
    struct timespec times[2] = {d->outside.st_atim, d->outside.st_mtim};
    return futimens(other, times) < 0 ? err_sys(err, errno, "set times") : 0;
}

int tree_mend(struct tree_compare *t, struct err *err)
{
    vec_foreach (&t->differences, d)
        if (mend_one(t, d, err) < 0)
            return err_wrap(err, "%.300s", d->path);
    return 0;
}

void tree_compare_release(struct tree_compare *t)
{
    vec_foreach (&t->differences, d)
        free(d->path);
    vec_foreach (&t->links, l)
        free(l->path);
    vec_release(&t->differences);
    vec_release(&t->links);
}
