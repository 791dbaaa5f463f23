#include "cli/tar.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

/* tar works in dir as its current folder, so that no path of ours is resolved again. */
static int run_tar(char *const *argv, int dir, int in, int out, struct err *err)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t defaults;
    pid_t pid;
    int status;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_addfchdir_np(&fa, dir);
    posix_spawn_file_actions_adddup2(&fa, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
    int rc = posix_spawnp(&pid, argv[0], &fa, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    if (rc)
        return err_sys(err, rc, "start tar");
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return err_sys(err, errno, "wait for tar");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_IO, "tar failed");
    return 0;
}

int tar_create(int dir, const char *name, int fd, struct err *err)
{
    char *argv[] = {"tar", "--sparse",   "--xattrs", "--numeric-owner", "-cf", "-",
                    "--",  (char *)name, NULL};
    return run_tar(argv, dir, STDIN_FILENO, fd, err);
}

int tar_extract(int fd, int dir, struct err *err)
{
    char *argv[] = {"tar", "--xattrs", "--numeric-owner", "-p", "-xf", "-", "--same-owner", NULL};
    return run_tar(argv, dir, fd, STDERR_FILENO, err);
}
