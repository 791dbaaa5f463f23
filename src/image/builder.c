#include "image/builder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/layout.h"

static const char LOCK[] = "compose.lock", TRASH[] = "trash";

char *builder_root(const struct image_store *store)
{
    return path_join(store->paths.root, "buildah");
}

char *builder_uses(const struct image_store *store)
{
    return path_join(store->paths.run, "buildah/uses");
}

int builder_lock(const struct image_store *store, struct err *err)
{
    char *root AUTOFREE = builder_root(store), *path AUTOFREE = path_join(root, LOCK);
    if (fs_mkdir_p(root, 0700, err) < 0)
        return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(err, errno, "open %s", path) : fd;
}

bool builder_alone(int lock)
{
    return flock(lock, LOCK_EX | LOCK_NB) == 0;
}

int builder_share(int lock, struct err *err)
{
    while (flock(lock, LOCK_SH) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "lock the builder's storage");
    return 0;
}

static char **names_in(const char *folder)
{
    char **names = xcalloc(1, sizeof(*names));
    DIR *d = opendir(folder);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            strv_push(&names, e->d_name);
    if (d)
        closedir(d);
    return names;
}

/* The groups of containers that have ended without their runtime: it names them after the
 * container. */
static void remove_cgroups(char **containers)
{
    char *const top[] = {"/sys/fs/cgroup", NULL};
    FTS *tree = containers[0] ? fts_open(top, FTS_PHYSICAL | FTS_NOSTAT | FTS_NOCHDIR, NULL) : NULL;
    FTSENT *e;
    while (tree && (e = fts_read(tree)))
        for (size_t i = 0; e->fts_info == FTS_DP && containers[i]; i++)
            if (strstr(e->fts_path, containers[i]))
                rmdir(e->fts_path);
    if (tree)
        fts_close(tree);
}

void builder_remove_use(const char *use)
{
    char *runtime AUTOFREE = path_join(use, BUILDER_RUNTIME);
    char **containers AUTOSTRV = names_in(runtime);
    remove_cgroups(containers);
    fs_remove_all(use, NULL);
}

void builder_remove_dead_uses(const struct image_store *store)
{
    char *uses AUTOFREE = builder_uses(store), *tmp AUTOFREE = path_join(store->dir, "tmp");
    char **ids AUTOSTRV = names_in(uses);
    for (size_t i = 0; ids[i]; i++) {
        char *use AUTOFREE = path_join(uses, ids[i]), *work AUTOFREE = path_join(tmp, ids[i]);
        if (!fs_exists(work))
            builder_remove_use(use);
    }
}

/* Bytes on disk; a file with several names counts once. */
static int64_t disk_size(char *folder)
{
    char *const top[] = {folder, NULL};
    FTS *tree = fts_open(top, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    FTSENT *e;
    int64_t sum = 0;
    while (tree && (e = fts_read(tree)))
        if (e->fts_info == FTS_D)
            sum += e->fts_statp->st_blocks * 512;
        else if (e->fts_info != FTS_DP && e->fts_info != FTS_NS)
            sum += e->fts_statp->st_blocks * 512 / (int64_t)e->fts_statp->st_nlink;
    if (tree)
        fts_close(tree);
    return sum;
}

static int empty_trash(char *trash, int64_t *freed, struct err *err)
{
    struct err why AUTOERR = ERR_INIT;
    *freed += disk_size(trash);
    /* The processes of a killed build write on until the last of them is gone: then the next one
     * removes the rest. */
    if (fs_remove_all(trash, &why) == 0 || why.errnum == ENOTEMPTY)
        return 0;
    err_move(err, &why);
    return -1;
}

static int discard(const char *root, const char *name, const char *trash, struct err *err)
{
    char *from AUTOFREE = path_join(root, name), *to AUTOFREE = path_join(trash, name);
    if (rename(from, to) < 0 && errno != ENOENT)
        return err_sys(err, errno, "rename %s", from);
    return 0;
}

/* Lists go before what they name: whoever is killed here leaves folders that nothing mentions, never
 * a list of what is not there. */
static int prune_alone(struct image_store *store, int64_t *freed, struct err *err)
{
    static const char *const lists[] = {"overlay-containers", "overlay-images", "overlay-layers"};
    char *root AUTOFREE = builder_root(store), *trash AUTOFREE = path_join(root, TRASH);
    struct work work AUTOWORK = WORK_INIT;
    if (work_begin(store, &work, err) < 0) /* which sweeps those of the dead */
        return -1;
    builder_remove_dead_uses(store);
    if (empty_trash(trash, freed, err) < 0 || fs_mkdir_p(trash, 0700, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (discard(root, lists[i], trash, err) < 0)
            return -1;
    char **rest AUTOSTRV = names_in(root);
    for (size_t i = 0; rest[i]; i++)
        if (!streq(rest[i], LOCK) && !streq(rest[i], TRASH) &&
            discard(root, rest[i], trash, err) < 0)
            return -1;
    return empty_trash(trash, freed, err);
}

int builder_prune(struct image_store *store, int64_t *freed, struct err *err)
{
    char *root AUTOFREE = builder_root(store);
    *freed = 0;
    if (!fs_exists(root))
        return 0;
    int lock AUTOCLOSE = builder_lock(store, err);
    if (lock < 0)
        return -1;
    if (!builder_alone(lock))
        return err_set(err, ERR_CONFLICT, "a build is running: its cache is kept");
    return prune_alone(store, freed, err);
}
