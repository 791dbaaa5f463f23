/* Watches folders with all that is below them, by inotify. */
#ifndef CLI_FILE_WATCH_H
#define CLI_FILE_WATCH_H

#include <stdbool.h>

#include "base/err.h"
#include "base/map.h"

struct file_watch {
    int fd;          /* readable when something changed */
    struct map dirs; /* watch descriptor as text -> path, heap */
    /* Folders that need no watching. */
    bool (*skip)(void *ctx, const char *path);
    void *ctx;
};

int file_watch_init(struct file_watch *w, bool (*skip)(void *ctx, const char *path), void *ctx,
                    struct err *err);
/* A file is watched through its folder. A limit of the kernel that is reached is told with the name of
 * its sysctl. */
int file_watch_add(struct file_watch *w, const char *path, struct err *err);
/* Calls changed with each path that was made, written, moved or removed since the last call. */
void file_watch_read(struct file_watch *w, void (*changed)(void *ctx, const char *path), void *ctx);
void file_watch_release(struct file_watch *w);

#endif
