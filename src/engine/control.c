#include "engine/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

/* Fills a socket address; a path too long for sun_path goes through its folder's descriptor. */
static int socket_address(const char *dir, int dir_fd, struct sockaddr_un *sa, struct err *err)
{
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(sa->sun_path, sizeof(sa->sun_path), "%s/control.sock", dir);
    if ((size_t)n >= sizeof(sa->sun_path))
        n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/control.sock", dir_fd);
    if ((size_t)n >= sizeof(sa->sun_path))
        return err_set(err, ERR_INVALID, "%s: path too long for a socket", dir);
    return 0;
}

static int try_connect(const char *dir, int *fd, struct err *err)
{
    int dir_fd AUTOCLOSE = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct sockaddr_un sa;
    if (dir_fd < 0)
        return err_sys(err, errno, "open %s", dir);
    if (socket_address(dir, dir_fd, &sa, err) < 0)
        return -1;
    int sock AUTOCLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return err_sys(err, errno, "socket");
    if (connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        if (errno == ECONNREFUSED || errno == ENOENT)
            return err_set(err, ERR_NOT_FOUND, "no supervisor runs");
        return err_sys(err, errno, "connect to %s", sa.sun_path);
    }
    *fd = STEAL_FD(sock);
    return 0;
}

/* Takes the supervisor's lock and binds its socket; the caller holds spawn.lock. wait: whoever holds the
 * lock does not answer any more, so the kernel is about to release it. */
static int claim(const char *dir, bool wait, struct control_listener *out, struct err *err)
{
    char *lock_path AUTOFREE = path_join(dir, "lock");
    int lock AUTOCLOSE = -1;
    if (fs_lock(lock_path, wait, &lock, err) < 0)
        return -1;
    int dir_fd AUTOCLOSE = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct sockaddr_un sa;
    if (dir_fd < 0)
        return err_sys(err, errno, "open %s", dir);
    if (socket_address(dir, dir_fd, &sa, err) < 0)
        return -1;
    int sock AUTOCLOSE = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return err_sys(err, errno, "socket");
    unlinkat(dir_fd, "control.sock", 0);
    unlinkat(dir_fd, "control.sock.retiring", 0);
    mode_t mask = umask(0177);
    int rc = bind(sock, (struct sockaddr *)&sa, sizeof(sa));
    umask(mask);
    if (rc < 0 || listen(sock, 128) < 0)
        return err_sys(err, errno, "listen on %s", sa.sun_path);
    *out = (struct control_listener){.listen_fd = STEAL_FD(sock), .lock_fd = STEAL_FD(lock)};
    return 0;
}

char **control_supervisor_argv(const struct paths *p, const char *project)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = '\0';
    /* A binary that was replaced while it ran: the newer one takes over. */
    static const char deleted[] = " (deleted)";
    if (ends_with(self, deleted))
        self[strlen(self) - strlen(deleted)] = '\0';
    char **argv = NULL;
    strv_push(&argv, self);
    strv_push(&argv, "--root");
    strv_push(&argv, p->root);
    strv_push(&argv, "supervise");
    strv_push(&argv, "--run");
    strv_push(&argv, p->run);
    strv_push(&argv, project);
    return argv;
}

/* Starts the supervisor with the descriptors of l at 3 and 4, in a session of its own. Its words go
 * to supervisor.log in its folder. */
static int spawn_supervisor(const struct paths *p, const char *dir, const char *project,
                            const struct control_listener *l, struct err *err)
{
    char **argv AUTOSTRV = control_supervisor_argv(p, project);
    char *name = STEAL(argv[strv_len((const char *const *)argv) - 1]);
    strv_push(&argv, "--listen-fd=3");
    strv_push(&argv, "--lock-fd=4");
    strv_push(&argv, name);
    free(name);
    char *log_path AUTOFREE = path_join(dir, "supervisor.log");

    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&attr);
    /* Out of the way first: either number may be 3 or 4 already. */
    int high_listen AUTOCLOSE = fcntl(l->listen_fd, F_DUPFD_CLOEXEC, 10);
    int high_lock AUTOCLOSE = fcntl(l->lock_fd, F_DUPFD_CLOEXEC, 10);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 2, log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&fa, high_listen, 3);
    posix_spawn_file_actions_adddup2(&fa, high_lock, 4);
    posix_spawn_file_actions_addchdir_np(&fa, "/");
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    pid_t pid;
    int rc = posix_spawn(&pid, argv[0], &fa, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&attr);
    return rc ? err_sys(err, rc, "start the supervisor: %s", argv[0]) : 0;
}

static void listener_close(struct control_listener *l)
{
    fd_close_ptr(&l->listen_fd);
    fd_close_ptr(&l->lock_fd);
}

int control_connect(const struct paths *p, const char *project, bool start, int *fd,
                    struct err *err)
{
    char *dir AUTOFREE = paths_project_run(p, project);
    struct err first AUTOERR = ERR_INIT;
    if (try_connect(dir, fd, &first) == 0)
        return 0;
    if (!start || first.kind != ERR_NOT_FOUND) {
        err_move(err, &first);
        return -1;
    }
    char *spawn_lock AUTOFREE = path_join(dir, "spawn.lock");
    int held AUTOCLOSE = -1;
    if (fs_mkdir_p(dir, 0700, err) < 0 || fs_lock(spawn_lock, true, &held, err) < 0)
        return -1;
    err_release(&first);
    if (try_connect(dir, fd, &first) == 0)
        return 0;
    struct control_listener l;
    if (claim(dir, true, &l, err) < 0)
        return err_wrap(err, "start the supervisor of project \"%s\"", project);
    /* Before it begins, so that it knows of somebody who is about to ask. */
    int sock AUTOCLOSE = -1;
    int rc = try_connect(dir, &sock, err);
    if (rc == 0)
        rc = spawn_supervisor(p, dir, project, &l, err);
    listener_close(&l);
    if (rc == 0)
        *fd = STEAL_FD(sock);
    return rc;
}

int control_listen(const struct paths *p, const char *project, struct control_listener *out,
                   struct err *err)
{
    char *dir AUTOFREE = paths_project_run(p, project);
    char *spawn_lock AUTOFREE = path_join(dir, "spawn.lock");
    int held AUTOCLOSE = -1;
    if (fs_mkdir_p(dir, 0700, err) < 0 || fs_lock(spawn_lock, true, &held, err) < 0)
        return -1;
    return claim(dir, false, out, err);
}

bool control_retire(const struct paths *p, const char *project, struct control_listener *l)
{
    char *dir AUTOFREE = paths_project_run(p, project);
    char *spawn_lock AUTOFREE = path_join(dir, "spawn.lock");
    char *sock AUTOFREE = path_join(dir, "control.sock");
    int held AUTOCLOSE = -1;
    /* Nobody holds it for longer than a spawn takes, nor waits for us meanwhile. */
    if (fs_lock(spawn_lock, true, &held, NULL) < 0)
        return true;
    /* Out of reach first; whoever came before that waits in the queue and is served. */
    char *away AUTOFREE = path_join(dir, "control.sock.retiring");
    if (rename(sock, away) < 0)
        return true;
    struct pollfd pending = {.fd = l->listen_fd, .events = POLLIN};
    if (poll(&pending, 1, 0) > 0) {
        rename(away, sock);
        return false;
    }
    unlink(away);
    fd_close_ptr(&l->lock_fd);
    l->lock_fd = -1;
    return true;
}
