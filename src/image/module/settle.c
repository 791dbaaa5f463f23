#include "image/module/settle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/layout.h"

/* Marks of this boot: those of earlier ones say the truth. */
static char **marks(const struct image_store *store)
{
    char **list = NULL;
    char *dir AUTOFREE = path_join(store->dir, "layers");
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        char *mark AUTOFREE = xasprintf("%s/%s/unsynced", dir, e->d_name), *boot AUTOFREE = NULL;
        if (fs_read(mark, 64, &boot, NULL, NULL) == 0 && streq(boot, store->boot))
            strv_push(&list, mark);
    }
    if (d)
        closedir(d);
    return list;
}

/* In a copy of a process with threads: only what is safe in a signal handler. */
static void sync_and_unmark(int store, char **list)
{
    setsid();
    if (dup2(store, 0) < 0)
        return;
    close_range(1, ~0U, 0); /* nobody's pipe is held open by us; Linux 5.9 */
    if (syncfs(0) < 0)
        return;
    for (size_t i = 0; list[i]; i++)
        unlink(list[i]);
    syncfs(0);
}

void settle_layers(struct image_store *store)
{
    char **list AUTOSTRV = marks(store);
    int fd AUTOCLOSE = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!list || fd < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        /* Twice, so that nobody has to wait for the one that syncs. */
        if (fork() == 0)
            sync_and_unmark(fd, list);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
