#include "cli/file_watch.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

enum {
    EVENTS = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB,
    DEPTH_MAX = 128,
};

int file_watch_init(struct file_watch *w, bool (*skip)(void *ctx, const char *path), void *ctx,
                    struct err *err)
{
    *w = (struct file_watch){.skip = skip, .ctx = ctx};
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return w->fd < 0 ? err_sys(err, errno, "inotify") : 0;
}

static int add_dir(struct file_watch *w, const char *path, int depth, struct err *err)
{
    char key[16];
    int wd = inotify_add_watch(w->fd, path, EVENTS | IN_ONLYDIR);
    if (wd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0; /* gone again */
    if (wd < 0 && errno == ENOSPC)
        return err_set(err, ERR_UNAVAILABLE,
                       "watch %s: too many folders are watched; raise fs.inotify.max_user_watches",
                       path);
    if (wd < 0)
        return err_sys(err, errno, "watch %s", path);
    snprintf(key, sizeof(key), "%d", wd);
    free(map_set(&w->dirs, key, xstrdup(path)));

    DIR *d = depth < DEPTH_MAX ? opendir(path) : NULL;
    int rc = 0;
    for (struct dirent *e; rc == 0 && d && (e = readdir(d));) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        char *child AUTOFREE = path_join(path, e->d_name);
        struct stat st;
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode) && !w->skip(w->ctx, child))
            rc = add_dir(w, child, depth + 1, err);
    }
    if (d)
        closedir(d);
    return rc;
}

int file_watch_add(struct file_watch *w, const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "watch %s", path);
    if (S_ISDIR(st.st_mode))
        return add_dir(w, path, 0, err);
    char *dir AUTOFREE = path_dir(path);
    return add_dir(w, dir, DEPTH_MAX, err);
}

/* A new folder may have been filled before it was watched: all in it counts as changed. */
static void add_new(struct file_watch *w, const char *path,
                    void (*changed)(void *ctx, const char *path), void *ctx, int depth)
{
    DIR *d = depth < DEPTH_MAX && !w->skip(w->ctx, path) ? opendir(path) : NULL;
    if (!d)
        return;
    add_dir(w, path, DEPTH_MAX, NULL);
    for (struct dirent *e; (e = readdir(d));) {
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        char *child AUTOFREE = path_join(path, e->d_name);
        changed(ctx, child);
        if (fs_is_dir(child))
            add_new(w, child, changed, ctx, depth + 1);
    }
    closedir(d);
}

void file_watch_read(struct file_watch *w, void (*changed)(void *ctx, const char *path), void *ctx)
{
    char buf[16 << 10] __attribute__((aligned(8)));
    ssize_t n;
    while ((n = read(w->fd, buf, sizeof(buf))) > 0) {
        for (char *at = buf; at < buf + n;) {
            struct inotify_event *e = (struct inotify_event *)at;
            char key[16];
            at += sizeof(*e) + e->len;
            snprintf(key, sizeof(key), "%d", e->wd);
            const char *dir = map_get(&w->dirs, key);
            if (e->mask & IN_IGNORED)
                free(map_del(&w->dirs, key));
            if (!dir || !e->len || (e->mask & IN_IGNORED))
                continue;
            char *path AUTOFREE = path_join(dir, e->name);
            changed(ctx, path);
            if ((e->mask & IN_ISDIR) && (e->mask & (IN_CREATE | IN_MOVED_TO)))
                add_new(w, path, changed, ctx, 0);
        }
    }
}

void file_watch_release(struct file_watch *w)
{
    map_foreach (&w->dirs, it) {
        free(it->value);
    }
    map_release(&w->dirs);
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}
