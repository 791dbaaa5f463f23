#include "net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "net/sysctl.h"

struct job {
    int netns_fd; /* -1: a new namespace */
    int (*fn)(void *arg, struct err *err);
    void *arg;
    struct err *err;
    int result;
};

static void *job_main(void *p)
{
    struct job *job = p;
    int r = job->netns_fd >= 0 ? setns(job->netns_fd, CLONE_NEWNET) : unshare(CLONE_NEWNET);
    if (r < 0)
        job->result = err_sys(job->err, errno, "%s network namespace",
                              job->netns_fd >= 0 ? "enter" : "make");
    else
        job->result = job->fn(job->arg, job->err);
    return NULL;
}

static int run_thread(struct job *job)
{
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    /* Jobs are netlink and nftables calls: libnftables' parser is what needs the most stack. */
    pthread_attr_setstacksize(&attr, 1024 * 1024);
    int e = pthread_create(&thread, &attr, job_main, job);
    pthread_attr_destroy(&attr);
    if (e)
        return err_sys(job->err, e, "start thread");
    pthread_join(thread, NULL);
    return job->result;
}

int netns_run(int netns_fd, int (*fn)(void *arg, struct err *err), void *arg, struct err *err)
{
    struct job job = {.netns_fd = netns_fd, .fn = fn, .arg = arg, .err = err};
    return run_thread(&job);
}

int netns_try(int (*fn)(void *arg, struct err *err), void *arg, struct err *err)
{
    struct job job = {.netns_fd = -1, .fn = fn, .arg = arg, .err = err};
    return run_thread(&job);
}

int netns_run_at(const char *path, int (*fn)(void *arg, struct err *err), void *arg,
                 struct err *err)
{
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open network namespace %s", path);
    return netns_run(fd, fn, arg, err);
}

static int loopback_up(struct err *err)
{
    int fd AUTOCLOSE = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK};
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &req) < 0)
        return err_sys(err, errno, "set loopback up");
    return 0;
}

static int set_up_namespace(void *arg, struct err *err)
{
    const char *path = arg;
    if (loopback_up(err) < 0)
        return -1;
    /* Docker's defaults for containers; a kernel without one of them runs containers all the same.
     */
    sysctl_write("net/ipv4/ip_unprivileged_port_start", "0", NULL);
    sysctl_write("net/ipv4/ping_group_range", "0 2147483647", NULL);
    if (mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0)
        return err_sys(err, errno, "pin network namespace at %s", path);
    return 0;
}

int netns_create(const char *path, struct err *err)
{
    if (netns_exists(path))
        return 0;
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "make %s", path);
    struct job job = {.netns_fd = -1, .fn = set_up_namespace, .arg = (void *)path, .err = err};
    if (run_thread(&job) < 0) {
        unlink(path);
        return -1;
    }
    return 0;
}

int netns_remove(const char *path, struct err *err)
{
    if (netns_exists(path) && umount2(path, MNT_DETACH) < 0 && errno != EINVAL)
        return err_sys(err, errno, "unpin network namespace %s", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove %s", path);
    return 0;
}

bool netns_exists(const char *path)
{
    struct statfs st;
    return statfs(path, &st) == 0 && st.f_type == NSFS_MAGIC;
}
