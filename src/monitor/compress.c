#include "monitor/compress.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "monitor/monitor.h"

enum {
    BLOCK = 64 << 10,
    LEVEL = 3,             /* of logs, 6 makes a tenth less in three times the time */
    GZIP = MAX_WBITS + 16, /* zlib.h, deflateInit2: the largest window, and gzip's header */
    NICE = 10,
};

static const char unfinished[] = "log.tmp";

void compress_open(struct monitor *m)
{
    struct compress *c = &m->compress;
    char name[LOG_NAME_MAX], compressed[LOG_NAME_MAX];
    *c = (struct compress){.source = -1, .seen = m->log.rotations - 1};
    unlinkat(m->dir, unfinished, 0);
    for (int age = 1; m->log.compress && age < m->log.max_file; age++) {
        log_name(name, (unsigned)age, false);
        log_name(compressed, (unsigned)age, true);
        if (faccessat(m->dir, compressed, F_OK, 0) == 0)
            unlinkat(m->dir, name, 0);
    }
}

static int open_newest(const struct monitor *m)
{
    int fd = -1;
    for (int age = 1; fd < 0 && age < m->log.max_file; age++) {
        char name[LOG_NAME_MAX];
        log_name(name, (unsigned)age, false);
        fd = openat(m->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    return fd;
}

/* A client that is told of what was before reads files as they are. */
void compress_tick(struct monitor *m)
{
    static char *const argv[] = {"/proc/self/exe", "compress", NULL};
    struct compress *c = &m->compress;
    if (!m->log.compress || c->pid || c->seen == m->log.rotations || m->phase != PHASE_RUNNING ||
        m->out_held || clients_replaying(m))
        return;
    c->source = open_newest(m);
    int target = c->source < 0
                     ? -1
                     : openat(m->dir, unfinished,
                              O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (target >= 0) {
        c->pid = run_spawn(m, NULL, argv, (int[3]){c->source, target, -1}, false, NULL);
        close(target);
    }
    if (!c->pid)
        compress_ended(m, false);
}

/* The age that the source has by now; 0: it is rotated away. */
static unsigned age_of_source(const struct monitor *m)
{
    struct stat source, st;
    for (int age = 1; fstat(m->compress.source, &source) == 0 && age < m->log.max_file; age++) {
        char name[LOG_NAME_MAX];
        log_name(name, (unsigned)age, false);
        if (fstatat(m->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == source.st_ino)
            return (unsigned)age;
    }
    return 0;
}

void compress_ended(struct monitor *m, bool whole)
{
    struct compress *c = &m->compress;
    char name[LOG_NAME_MAX];
    unsigned age = whole ? age_of_source(m) : 0;
    log_name(name, age, true);
    if (age && renameat(m->dir, unfinished, m->dir, name) == 0) {
        log_name(name, age, false);
        unlinkat(m->dir, name, 0);
    } else {
        unlinkat(m->dir, unfinished, 0);
    }
    if (!whole) /* nothing is left, or it would fail again */
        c->seen = m->log.rotations;
    if (c->source >= 0)
        close(c->source);
    c->source = -1;
    c->pid = 0;
}

void compress_abandon(struct monitor *m)
{
    if (!m->compress.pid)
        return;
    kill(m->compress.pid, SIGKILL);
    compress_ended(m, false);
}

static int write_all(const unsigned char *data, size_t n)
{
    while (n) {
        ssize_t w = write(STDOUT_FILENO, data, n);
        if (w < 0 && errno != EINTR)
            return -1;
        data += w > 0 ? w : 0;
        n -= w > 0 ? (size_t)w : 0;
    }
    return 0;
}

static int deflate_all(z_stream *z)
{
    static unsigned char in[BLOCK], out[BLOCK];
    ssize_t n;
    do {
        n = read(STDIN_FILENO, in, sizeof(in));
        if (n < 0)
            return -1;
        z->next_in = in;
        z->avail_in = (unsigned)n;
        do {
            z->next_out = out;
            z->avail_out = sizeof(out);
            deflate(z, n ? Z_NO_FLUSH : Z_FINISH);
            if (write_all(out, sizeof(out) - z->avail_out) < 0)
                return -1;
        } while (!z->avail_out);
    } while (n);
    return fsync(STDOUT_FILENO);
}

int compress_main(void)
{
    struct stat st;
    z_stream z = {0};
    char inode[32];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpriority(PRIO_PROCESS, 0, NICE);
    if (fstat(STDIN_FILENO, &st) < 0 ||
        deflateInit2(&z, LEVEL, Z_DEFLATED, GZIP, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return 1;
    snprintf(inode, sizeof(inode), "%llu", (unsigned long long)st.st_ino);
    gz_header header = {.comment = (Bytef *)inode, .time = (uLong)st.st_mtime, .os = 3 /* Unix */};
    deflateSetHeader(&z, &header);
    return deflate_all(&z) < 0;
}
