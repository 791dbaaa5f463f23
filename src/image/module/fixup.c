/* What a layer takes from the layers below: files that it hard-links to, and the attributes of
 * folders that it has no entry for. The layers below are looked at as overlayfs shows them. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/resolve.h"
#include "image/module/unpack.h"

enum { XATTR_MAX = 1 << 16 }; /* the kernel's limit of a value and of a list */

static int copy_xattrs(int from, int to, struct err *err)
{
    char *names AUTOFREE = xmalloc(XATTR_MAX);
    char *value AUTOFREE = xmalloc(XATTR_MAX);
    ssize_t n = flistxattr(from, names, XATTR_MAX);
    if (n < 0)
        return errno == ENOTSUP ? 0 : err_sys(err, errno, "list attributes");
    for (char *name = names; name < names + n; name += strlen(name) + 1) {
        if (starts_with(name, "trusted.overlay.") || starts_with(name, "user.overlay."))
            continue;
        ssize_t size = fgetxattr(from, name, value, XATTR_MAX);
        if (size < 0 || (fsetxattr(to, name, value, (size_t)size, 0) < 0 && errno != ENOTSUP))
            return err_sys(err, errno, "copy attribute %s", name);
    }
    return 0;
}

int copy_attributes(int from, int to, struct err *err)
{
    struct stat st;
    if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
        fchmod(to, st.st_mode & 07777) < 0)
        return err_sys(err, errno, "copy owner and mode");
    if (copy_xattrs(from, to, err) < 0)
        return -1;
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    return futimens(to, times) < 0 ? err_sys(err, errno, "copy times") : 0;
}

static int copy_content(int from, int to, struct err *err)
{
    for (;;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
        /* From an overlay to the file system below it: EXDEV on some kernels. */
        if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP))
            n = sendfile(to, from, NULL, 1 << 30);
        if (n < 0)
            return err_sys(err, errno, "copy");
        if (n == 0)
            return 0;
    }
}

/* The parent folder of a path in the layer; unpack_tar() has made it. */
static int open_parent(int root, const char *path, struct err *err)
{
    char *dir AUTOFREE = path_dir(path);
    int fd = open_beneath(root, dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        err_sys(err, errno, "%s", dir);
    return fd;
}

static int copy_link(int target_dir, const char *target_name, int dir, const char *name,
                     struct err *err)
{
    char link[4096];
    ssize_t n = readlinkat(target_dir, target_name, link, sizeof(link) - 1);
    if (n < 0)
        return err_sys(err, errno, "read link");
    link[n] = '\0';
    struct stat st;
    if (symlinkat(link, dir, name) < 0 ||
        fstatat(target_dir, target_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchownat(dir, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "create");
    return 0;
}

/* Copies the file below to the new name in dir; further links to it are linked to the copy. */
static int take_file(int root, int below, int dir, const struct fixup *f, struct map *copies,
                     struct err *err)
{
    const char *name = path_base(f->path), *copied = map_get(copies, f->target);
    if (copied) {
        int copy_dir AUTOCLOSE = open_parent(root, copied, err);
        if (copy_dir < 0)
            return -1;
        if (linkat(copy_dir, path_base(copied), dir, name, 0) < 0)
            return err_sys(err, errno, "link to %s", copied);
        return 0;
    }
    char *target_path AUTOFREE = path_dir(f->target);
    int target_dir AUTOCLOSE = open_beneath(below, target_path, O_PATH | O_DIRECTORY);
    struct stat st;
    if (target_dir < 0 || fstatat(target_dir, path_base(f->target), &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_set(err, ERR_CORRUPT, "it is a hard link to %s, which no layer below has",
                       f->target);
    map_set(copies, f->target, f->path);
    if (S_ISLNK(st.st_mode))
        return copy_link(target_dir, path_base(f->target), dir, name, err);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "it is a hard link to %s, which is no file", f->target);
    int from AUTOCLOSE = openat(target_dir, path_base(f->target),
                                O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int to AUTOCLOSE = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                              0600);
    if (from < 0 || to < 0)
        return err_sys(err, errno, "copy from %s", f->target);
    return copy_content(from, to, err) < 0 ? -1 : copy_attributes(from, to, err);
}

static int take_link(int root, int below, const struct fixup *f, struct map *copies,
                     struct err *err)
{
    int dir AUTOCLOSE = open_parent(root, f->path, err);
    struct stat st;
    if (dir < 0)
        return -1;
    if (fstat(dir, &st) < 0)
        return err_sys(err, errno, "stat");
    if (take_file(root, below, dir, f, copies, err) < 0)
        return -1;
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    return futimens(dir, times) < 0 ? err_sys(err, errno, "set times") : 0;
}

static int take_folder(int root, int below, const struct fixup *f, struct err *err)
{
    int from AUTOCLOSE = open_beneath(below, f->path, O_RDONLY | O_DIRECTORY);
    if (from < 0)
        return 0; /* nobody below has it either: the defaults stay */
    int to AUTOCLOSE = open_beneath(root, f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (to < 0)
        return 0; /* replaced by a later entry of the layer */
    return copy_attributes(from, to, err);
}

/* Shows the trees below in one at work/view, for this thread's mount namespace only. */
static int mount_below(const char *const *below, const char *work, struct err *err)
{
    char *view AUTOFREE = path_join(work, "view");
    char *empty AUTOFREE = path_join(work, "empty");
    if (unshare(CLONE_NEWNS | CLONE_FS) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_sys(err, errno, "private mounts");
    if (mkdir(view, 0700) < 0 || mkdir(empty, 0700) < 0 || chdir(work) < 0)
        return err_sys(err, errno, "mkdir %s", view);
    /* Short names: mount options have one page. Without an upper folder two lower ones are asked
     * for, so an empty one is always the last. */
    struct strbuf options AUTOBUF = STRBUF_INIT;
    strbuf_addstr(&options, "lowerdir=");
    for (size_t i = strv_len(below); i-- > 0;) {
        char name[32];
        snprintf(name, sizeof(name), "%zu", i);
        if (symlink(below[i], name) < 0)
            return err_sys(err, errno, "link %s", name);
        strbuf_addf(&options, "%s:", name);
    }
    strbuf_addstr(&options, "empty");
    if (mount("overlay", view, "overlay", MS_RDONLY, options.buf) < 0)
        return err_sys(err, errno, "mount the layers below");
    return 0;
}

struct fixup_job {
    const char *dir;
    const struct unpack_result *result;
    const char *const *below;
    const char *work;
    struct err *err;
    int rc;
};

static int run(const struct fixup_job *job, struct err *err)
{
    if (!job->below[0]) {
        vec_foreach (&job->result->fixups, f)
            if (f->target)
                return err_set(err, ERR_CORRUPT,
                               "%.300s: it is a hard link to %s, which is not there", f->path,
                               f->target);
        return 0; /* nobody below says anything of the folders */
    }
    if (mount_below(job->below, job->work, err) < 0)
        return -1;
    int root AUTOCLOSE = open(job->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int below AUTOCLOSE = open("view", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 || below < 0)
        return err_sys(err, errno, "open %s", job->dir);
    struct map copies AUTOMAP = MAP_INIT;
    vec_foreach (&job->result->fixups, f)
        if (f->target && take_link(root, below, f, &copies, err) < 0)
            return err_wrap(err, "%.300s", f->path);
    vec_foreach (&job->result->fixups, f)
        if (!f->target && take_folder(root, below, f, err) < 0)
            return err_wrap(err, "%.300s", f->path);
    return 0;
}

static void *fixup_thread(void *arg)
{
    struct fixup_job *job = arg;
    job->rc = run(job, job->err);
    return NULL; /* the mount goes with the thread's namespace */
}

int unpack_fixups(const char *dir, const struct unpack_result *result, const char *const *below,
                  const char *work, struct err *err)
{
    struct fixup_job job = {dir, result, below, work, err, -1};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, fixup_thread, &job);
    if (rc)
        return err_sys(err, rc, "start a thread");
    pthread_join(thread, NULL);
    return job.rc;
}
