/* LD_PRELOAD: makes system calls of compose fail, and moves its wall clock, as a file says that the test has mapped:
 * where kills do not reach. Only the program `compose` is touched; what it starts is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* As faults.py packs it. */
struct box {
    atomic_int calls;        /* bits: which calls fail */
    atomic_int role;         /* 0: whoever, 1: supervisors, 2: the others */
    atomic_int after, times; /* so many go well first, so many fail then */
    atomic_int error;
    atomic_int hits;
    atomic_llong clock; /* ns that CLOCK_REALTIME is off */
};

enum call {
    WRITE,
    RENAME,
    FSYNC,
    MKDIR,
    OPEN,
    MOUNT,
    UMOUNT,
    SPAWN,
    SOCKET,
    ACCEPT,
    PIPE,
    SETNS,
    SEND,
    UNLINK,
    MKTEMP,
};

static struct box *box;
static int role;

__attribute__((constructor)) static void find_box(void)
{
    char exe[4096] = "", args[4096] = "";
    const char *path = getenv("COMPOSE_TEST_FAULTS");
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    const char *name = n > 0 ? strrchr(exe, '/') : NULL;
    if (!path || !name || strcmp(name, "/compose"))
        return;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    n = read(fd, args, sizeof(args));
    close(fd);
    role = n > 0 && memmem(args, (size_t)n, "\0supervise\0", 11) ? 1 : 2;
    fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED
                       : mmap(NULL, sizeof(*box), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (map != MAP_FAILED)
        box = map;
}

/* True when this call is to fail; errno is set then. */
static int fails(enum call call)
{
    if (!box || !(box->calls >> call & 1) || (box->role && box->role != role))
        return 0;
    if (atomic_fetch_sub(&box->after, 1) > 0 || atomic_fetch_sub(&box->times, 1) <= 0)
        return 0;
    atomic_fetch_add(&box->hits, 1);
    if (box->error < 0) {
        raise(-box->error);
        return 0;
    }
    errno = box->error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(call, failed)                                                                         \
    if (fails(call))                                                                               \
        return failed;

static int is_file(int fd)
{
    struct stat st;
    return box && box->calls && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

ssize_t write(int fd, const void *data, size_t n)
{
    static __typeof__(&write) real;
    if (!real)
        real = REAL(write);
    if (is_file(fd))
        FAIL(WRITE, -1)
    return real(fd, data, n);
}

int rename(const char *from, const char *to)
{
    FAIL(RENAME, -1)
    return REAL(rename)(from, to);
}

int fsync(int fd)
{
    FAIL(FSYNC, -1)
    return REAL(fsync)(fd);
}

int mkdir(const char *path, mode_t mode)
{
    FAIL(MKDIR, -1)
    return REAL(mkdir)(path, mode);
}

static mode_t mode_of(int flags, va_list ap)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    FAIL(OPEN, -1)
    return REAL(open)(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    FAIL(OPEN, -1)
    return REAL(openat)(dir, path, flags, mode);
}

int mkostemp(char *template, int flags)
{
    FAIL(MKTEMP, -1)
    return REAL(mkostemp)(template, flags);
}

int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data)
{
    FAIL(MOUNT, -1)
    return REAL(mount)(source, target, type, flags, data);
}

int umount2(const char *target, int flags)
{
    FAIL(UMOUNT, -1)
    return REAL(umount2)(target, flags);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa,
                const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
    FAIL(SPAWN, errno)
    return REAL(posix_spawn)(pid, path, fa, attr, argv, envp);
}

int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa,
                 const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
    FAIL(SPAWN, errno)
    return REAL(posix_spawnp)(pid, path, fa, attr, argv, envp);
}

pid_t fork(void)
{
    FAIL(SPAWN, -1)
    return REAL(fork)();
}

int socket(int domain, int type, int protocol)
{
    FAIL(SOCKET, -1)
    return REAL(socket)(domain, type, protocol);
}

int accept4(int fd, struct sockaddr *restrict sa, socklen_t *restrict n, int flags)
{
    FAIL(ACCEPT, -1)
    return REAL(accept4)(fd, sa, n, flags);
}

int pipe2(int ends[2], int flags)
{
    FAIL(PIPE, -1)
    return REAL(pipe2)(ends, flags);
}

int setns(int fd, int kind)
{
    FAIL(SETNS, -1)
    return REAL(setns)(fd, kind);
}

ssize_t sendto(int fd, const void *data, size_t n, int flags, const struct sockaddr *sa,
               socklen_t sa_n)
{
    FAIL(SEND, -1)
    return REAL(sendto)(fd, data, n, flags, sa, sa_n);
}

int unlink(const char *path)
{
    FAIL(UNLINK, -1)
    return REAL(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    FAIL(UNLINK, -1)
    return REAL(unlinkat)(dir, path, flags);
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    static __typeof__(&clock_gettime) real;
    if (!real)
        real = REAL(clock_gettime);
    int rc = real(clock, ts);
    if (rc == 0 && clock == CLOCK_REALTIME && box && box->clock) {
        long long ns = (long long)ts->tv_sec * 1000000000 + ts->tv_nsec + box->clock;
        ts->tv_sec = ns / 1000000000;
        ts->tv_nsec = ns % 1000000000;
    }
    return rc;
}

time_t time(time_t *out)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}
