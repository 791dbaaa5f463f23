#include "monitor/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_READY = 3 };

/* -1: nobody can say. */
static int wait_code(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The process that the command has left to us, its subreaper; 0: it failed. */
static pid_t start_process(char **command, const char *pid_file)
{
    char text[32] = "";
    pid_t pid;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    fcntl(FD_READY, F_SETFD, FD_CLOEXEC);
    if (posix_spawn(&pid, command[0], NULL, NULL, command, environ) != 0 || wait_code(pid) != 0)
        return 0;
    int fd = open(pid_file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
        pid = atoi(text);
    else
        pid = 0;
    if (fd >= 0)
        close(fd);
    return pid;
}

/* Keeps nothing of whoever started us. */
static void let_go(void)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
        signal(ignored[i], SIG_IGN);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < FD_READY; fd++)
        dup2(null, fd);
    if (null > FD_READY)
        close(null);
    if (chdir("/") < 0)
        return;
}

/* Relative to the folder: its path may be too long for an address. */
static void tell(const char *dir, const char *before, int code, const char *after)
{
    static const struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "control.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || chdir(dir) < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
        return;
    dprintf(fd, "%s%d%s\n", before, code, after);
}

int detach_main(char **args)
{
    pid_t pid = start_process(args + 4, args[3]);
    if (pid <= 0 || write(FD_READY, "", 1) != 1)
        return 1;
    let_go();
    close(FD_READY);
    int code = wait_code(pid);
    if (code >= 0)
        tell(args[0], args[1], code, args[2]);
    return 0;
}
