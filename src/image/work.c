#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "image/layout.h"

enum { PINS_MAX = 16 << 20 };

static int collect_pins(const char *dir, struct map *live, struct err *err)
{
    char *path AUTOFREE = path_join(dir, "pins");
    char *text AUTOFREE = NULL;
    if (fs_read(path, PINS_MAX, &text, NULL, err) < 0)
        return -1;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        map_set(live, line, live);
    return 0;
}

/* One work folder: the dead are removed, of the living the pins are taken. */
static int visit(const char *dir, struct map *live, struct err *err)
{
    char *lock_path AUTOFREE = path_join(dir, "lock");
    int lock AUTOCLOSE = open(lock_path, O_RDWR | O_CLOEXEC);
    if (lock < 0 && errno != ENOENT)
        return err_sys(err, errno, "open %s", lock_path);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
        return live ? collect_pins(dir, live, err) : 0;
    struct err why AUTOERR = ERR_INIT;
    if (fs_remove_all(dir, &why) == 0)
        return 0;
    /* The processes of a killed build write on until the last of them is gone: the next one removes the rest. */
    if (why.errnum == ENOTEMPTY)
        return 0;
    err_move(err, &why);
    return -1;
}

/* Locks of digests that nobody holds any more, and half-written indexes: writers of the index hold
 * the store's lock, as we do now. */
static void sweep_leftovers(const struct image_store *store)
{
    char *locks AUTOFREE = path_join(store->dir, "locks");
    DIR *d = opendir(locks);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        int fd AUTOCLOSE = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    d = opendir(store->dir);
    while (d && (e = readdir(d)))
        if (starts_with(e->d_name, "index.json."))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

int work_collect(struct image_store *store, struct map *live, struct err *err)
{
    sweep_leftovers(store);
    char *tmp AUTOFREE = path_join(store->dir, "tmp");
    DIR *d = opendir(tmp);
    if (!d)
        return err_sys(err, errno, "open %s", tmp);
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        char *dir AUTOFREE = path_join(tmp, e->d_name);
        rc = visit(dir, live, err);
    }
    closedir(d);
    return rc;
}

static int make_folder(struct image_store *store, struct work *work, struct err *err)
{
    char id[17];
    random_hex(8, id);
    work->dir = xasprintf("%s/tmp/%s", store->dir, id);
    if (mkdir(work->dir, 0700) < 0)
        return err_sys(err, errno, "mkdir %s", work->dir);
    fs_spread(work->dir); /* layers grow in it */
    char *lock AUTOFREE = path_join(work->dir, "lock");
    char *pins AUTOFREE = path_join(work->dir, "pins");
    if (fs_lock(lock, true, &work->lock, err) < 0)
        return -1;
    work->pins = open(pins, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return work->pins < 0 ? err_sys(err, errno, "create %s", pins) : 0;
}

int work_begin(struct image_store *store, struct work *work, struct err *err)
{
    *work = (struct work)WORK_INIT;
    work->store = store;
    /* Under the store's lock no sweeper sees the folder before its lock is held. */
    int lock AUTOCLOSE = -1;
    if (layout_lock(store, false, &lock, err) < 0)
        return -1;
    if (work_collect(store, NULL, err) < 0 || make_folder(store, work, err) < 0) {
        work_end(work);
        return err_wrap(err, "image store");
    }
    return 0;
}

void work_end(struct work *work)
{
    if (!work->dir)
        return;
    /* What cannot be removed now is swept by the next command. */
    fs_remove_all(work->dir, NULL);
    fd_close_ptr(&work->lock);
    fd_close_ptr(&work->pins);
    free(work->dir);
    *work = (struct work)WORK_INIT;
}

int work_pin(struct work *work, const char *const *digests, struct err *err)
{
    struct strbuf text AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; digests[i]; i++)
        strbuf_addf(&text, "%s\n", digests[i]);
    int lock AUTOCLOSE = -1;
    if (layout_lock(work->store, true, &lock, err) < 0)
        return -1;
    if (fd_write_all(work->pins, text.buf, text.len) < 0)
        return err_sys(err, errno, "image store: write %s/pins", work->dir);
    return 0;
}

char *work_path(struct work *work, const char *what)
{
    char id[17];
    random_hex(8, id);
    return xasprintf("%s/%s-%s", work->dir, what, id);
}
