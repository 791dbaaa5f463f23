/* The root file system: an overlay over the image's layers, mounted at RUN/containers/ID/rootfs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "runtime/bundle.h"

/* fsconfig(2) refuses longer strings, mount(2) longer option texts. */
enum { FSCONFIG_MAX = 255, MOUNT_OPTIONS_MAX = 4095, LAYERS_MAX = 500 };

/* Is a file system mounted right here? */
static bool is_mountpoint(const char *path)
{
    struct stat here, above;
    char *parent AUTOFREE = path_dir(path);
    return lstat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

/* upper/ becomes the root of what the container sees: it takes over owner and mode of the image's. */
static int prepare_upper(const char *dir, const char *top_layer, char **upper, char **work,
                         struct err *err)
{
    char *u AUTOFREE = path_join(dir, "upper");
    char *w AUTOFREE = path_join(dir, "work");
    struct stat st;
    bool fresh = !fs_is_dir(u);
    if (fs_mkdir_p(u, 0755, err) < 0 || fs_mkdir_p(w, 0700, err) < 0)
        return -1;
    if (fresh) {
        if (stat(top_layer, &st) < 0)
            return err_sys(err, errno, "layer %s", top_layer);
        if (chown(u, st.st_uid, st.st_gid) < 0 || chmod(u, st.st_mode & 07777) < 0)
            return err_sys(err, errno, "%s", u);
    }
    *upper = STEAL(u);
    *work = STEAL(w);
    return 0;
}

static int set_path(int fs, const char *key, const char *path)
{
    if (strlen(path) > FSCONFIG_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0);
}

/* Since Linux 6.5. Older ones are not asked: each time they would complain in the kernel's log. */
static bool has_lowerdir_append(void)
{
    struct utsname host;
    int major, minor;
    return uname(&host) == 0 && sscanf(host.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 5));
}

/* One layer a call, so there is no limit but overlay's own. -1 with errno, nothing done.
 * upper NULL: read-only. */
static int mount_new_api(char *const *layers, size_t n, const char *upper, const char *work,
                         const char *target)
{
    int fs AUTOCLOSE = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0)
        return -1;
    for (size_t i = n; i-- > 0;)
        if (set_path(fs, "lowerdir+", layers[i]) < 0)
            return -1;
    if (upper && (set_path(fs, "upperdir", upper) < 0 || set_path(fs, "workdir", work) < 0))
        return -1;
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", "overlay", 0) < 0 ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    int mnt AUTOCLOSE = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    if (mnt < 0)
        return -1;
    return move_mount(mnt, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
}

static void add_lower(struct strbuf *opts, const char *path)
{
    for (; *path; path++) {
        if (*path == ':' || *path == '\\' || *path == ',')
            strbuf_addch(opts, '\\');
        strbuf_addch(opts, *path);
    }
}

static int mount_named(char *const *layers, size_t n, const char *upper, const char *work,
                       const char *target)
{
    struct strbuf opts AUTOBUF = STRBUF_INIT;
    strbuf_addstr(&opts, "lowerdir=");
    for (size_t i = n; i-- > 0;) {
        add_lower(&opts, layers[i]);
        if (i)
            strbuf_addch(&opts, ':');
    }
    if (upper)
        strbuf_addf(&opts, ",upperdir=%s,workdir=%s", upper, work);
    if (opts.len > MOUNT_OPTIONS_MAX) {
        errno = E2BIG;
        return -1;
    }
    return mount("overlay", target, "overlay", upper ? 0 : MS_RDONLY, opts.buf);
}

/* Options fill at most a page: where the names do not fit, descriptors of the folders do. */
static int mount_by_descriptor(char *const *layers, size_t n, const char *upper, const char *work,
                               const char *target)
{
    size_t all = upper ? n + 2 : n;
    int *fds = xmalloc(all * sizeof(*fds));
    char **names = xcalloc(all + 1, sizeof(*names));
    int rc = 0;
    for (size_t i = 0; i < all; i++) {
        const char *path = i < n ? layers[i] : i == n ? upper : work;
        fds[i] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        names[i] = xasprintf("/proc/self/fd/%d", fds[i]);
        if (fds[i] < 0)
            rc = -1;
    }
    int saved = errno;
    if (rc == 0) {
        rc = mount_named(names, n, upper ? names[n] : NULL, upper ? names[n + 1] : NULL, target);
        saved = errno;
    }
    for (size_t i = 0; i < all; i++)
        fd_close_ptr(&fds[i]);
    free(fds);
    strv_free(names);
    errno = saved;
    return rc;
}

static int mount_overlay(char *const *layers, const char *upper, const char *work,
                         const char *target)
{
    size_t n = strv_len((const char *const *)layers);
    if (has_lowerdir_append() && mount_new_api(layers, n, upper, work, target) == 0)
        return 0;
    /* Among the reasons: ENOSYS, EPERM, a filter knows only mount(2). */
    if (mount_named(layers, n, upper, work, target) == 0)
        return 0;
    return errno == E2BIG ? mount_by_descriptor(layers, n, upper, work, target) : -1;
}

int bundle_mount_rootfs(const struct bundle_request *r, char **rootfs, struct err *err)
{
    char *run AUTOFREE = paths_container_run(r->paths, r->id);
    char *target AUTOFREE = path_join(run, "rootfs");
    if (fs_mkdir_p(run, 0700, err) < 0 || fs_mkdir_p(target, 0755, err) < 0)
        return -1;
    if (is_mountpoint(target)) {
        *rootfs = STEAL(target);
        return 0;
    }
    char **layers = r->image->layer_dirs;
    size_t n = strv_len((const char *const *)layers);
    if (!n || n > LAYERS_MAX)
        return err_set(err, ERR_INVALID, "image %s: %s", r->image->id,
                       n ? "more layers than overlay can stack" : "its layers are not unpacked");
    char *upper AUTOFREE = NULL, *work AUTOFREE = NULL;
    if (prepare_upper(r->dir, layers[n - 1], &upper, &work, err) < 0)
        return -1;
    if (mount_overlay(layers, upper, work, target) < 0)
        return err_sys(err, errno,
                       "mount the root file system of container %s (overlay, %zu layers)",
                       r->name ? r->name : r->id, n);
    /* On hosts whose / is shared the mount would show in every other mount namespace. */
    mount(NULL, target, NULL, MS_PRIVATE, NULL);
    *rootfs = STEAL(target);
    return 0;
}

int bundle_mount_image(const struct paths *p, const char *id, size_t index,
                       const struct image *image, char **out, struct err *err)
{
    char *run AUTOFREE = paths_container_run(p, id);
    char *target AUTOFREE = xasprintf("%s/image-%zu", run, index);
    char *empty AUTOFREE = path_join(run, "empty");
    if (!image->layer_dirs)
        return err_set(err, ERR_INVALID, "its layers are not unpacked");
    if (fs_mkdir_p(run, 0700, err) < 0 || fs_mkdir_p(target, 0755, err) < 0 ||
        fs_mkdir_p(empty, 0755, err) < 0)
        return -1;
    if (!is_mountpoint(target)) {
        /* Without an upper folder an overlay wants two lower ones at least. */
        char **layers AUTOSTRV = NULL;
        strv_push(&layers, empty);
        for (size_t i = 0; image->layer_dirs[i]; i++)
            strv_push(&layers, image->layer_dirs[i]);
        if (strv_len((const char *const *)layers) > LAYERS_MAX)
            return err_set(err, ERR_INVALID, "more layers than overlay can stack");
        if (mount_overlay(layers, NULL, NULL, target) < 0)
            return err_sys(err, errno, "mount its layers (overlay)");
        mount(NULL, target, NULL, MS_PRIVATE, NULL);
    }
    *out = STEAL(target);
    return 0;
}

/* Unmounts everything stacked on path; true when nothing is left there. */
static bool unmount_all(const char *path)
{
    for (int i = 0; i < 16; i++) {
        if (umount2(path, UMOUNT_NOFOLLOW) == 0)
            continue;
        if (errno == EBUSY && umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH) == 0)
            continue;
        return errno == EINVAL || errno == ENOENT;
    }
    return false;
}

/* What the files directly below dir have mounted on them: rootfs, netns, secrets, shm, ... */
static void unmount_below(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        char *path AUTOFREE = path_join(dir, e->d_name);
        unmount_all(path);
    }
    if (d)
        closedir(d);
}

/* Mount points of this namespace below dir, deepest first, by /proc/self/mountinfo. */
static void unmount_deep(const char *dir)
{
    char *text AUTOFREE = NULL;
    if (fs_read("/proc/self/mountinfo", 64 << 20, &text, NULL, NULL) < 0)
        return;
    size_t n = strlen(dir);
    char **found AUTOSTRV = NULL;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *p = line;
        for (int field = 0; p && field < 4; field++)
            p = strchr(p + 1, ' ');
        if (!p || strncmp(p + 1, dir, n) || p[1 + n] != '/')
            continue;
        p[1 + strcspn(p + 1, " ")] = '\0';
        strv_push(&found, p + 1);
    }
    for (size_t i = strv_len((const char *const *)found); i-- > 0;)
        unmount_all(found[i]);
}

int bundle_release(const struct paths *p, const char *id, struct err *err)
{
    char *run AUTOFREE = paths_container_run(p, id);
    if (!fs_exists(run))
        return 0;
    unmount_below(run);
    if (fs_remove_all(run, NULL) == 0)
        return 0;
    unmount_deep(run);
    if (fs_remove_all(run, err) < 0)
        return err_wrap(err, "container %s", id);
    return 0;
}
