#include "runtime/logpart.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

enum {
    FILES_MAX = 1000,
    BLOCK = 256 << 10,
    COMMENT_AT = 10, /* RFC 1952, 2.3: the header without optional fields */
    COMMENT_MAX = 24,
};

static char *name_of(const char *dir, int age, bool packed)
{
    const char *end = packed ? ".gz" : "";
    return age ? xasprintf("%s/log.%d%s", dir, age, end) : xasprintf("%s/log%s", dir, end);
}

static int open_named(const char *dir, int age, bool packed)
{
    char *path AUTOFREE = name_of(dir, age, packed);
    return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

static ino_t inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static bool exists(const char *dir, int age)
{
    char *plain AUTOFREE = name_of(dir, age, false), *packed AUTOFREE = name_of(dir, age, true);
    return fs_exists(plain) || fs_exists(packed);
}

int logpart_oldest(const char *dir)
{
    int oldest = -1;
    for (int age = 0; age < FILES_MAX && age <= oldest + 2; age++)
        if (exists(dir, age))
            oldest = age;
    return oldest;
}

struct logpart logpart_open(const char *dir, int age)
{
    struct logpart p = LOGPART_NONE;
    p.fd = open_named(dir, age, false);
    if (p.fd < 0)
        p.fd = p.packed = open_named(dir, age, true);
    p.inode = inode_of(p.fd);
    return p;
}

void logpart_close(struct logpart *p)
{
    if (p->packed != p->fd)
        fd_close_ptr(&p->packed);
    fd_close_ptr(&p->fd);
    *p = LOGPART_NONE;
}

/* On the disk: a file may be large, and memory is not ours alone. */
static int make_nameless(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : memfd_create("log", MFD_CLOEXEC);
}

void logpart_unpack(const char *dir, struct logpart *p)
{
    if (p->fd < 0 || p->packed != p->fd)
        return;
    int copy = dup(p->packed);
    gzFile in = copy >= 0 ? gzdopen(copy, "rb") : NULL;
    char *block AUTOFREE = xmalloc(BLOCK);
    p->fd = make_nameless(dir);
    for (int n; in && p->fd >= 0 && (n = gzread(in, block, BLOCK)) > 0;)
        if (fd_write_all(p->fd, block, (size_t)n) < 0)
            break;
    if (in)
        gzclose(in);
    else if (copy >= 0)
        close(copy);
    if (p->fd < 0)
        logpart_close(p);
}

/* What the gzip file was before: the comment in its header. */
static ino_t origin_of(int fd)
{
    static const char head[] = {'\x1f', '\x8b', '\x08', '\x10'}; /* deflate, with a comment alone */
    char text[COMMENT_AT + COMMENT_MAX + 1] = "";
    if (pread(fd, text, sizeof(text) - 1, 0) <= COMMENT_AT || memcmp(text, head, sizeof(head)) != 0)
        return 0;
    return (ino_t)strtoull(text + COMMENT_AT, NULL, 10);
}

/* Has it that age? -1: no file has. Inode numbers are given anew, but not while we hold the file:
 * the newest that fits is the one. */
static int has_age(const char *dir, const struct logpart *p, int age)
{
    int plain AUTOCLOSE = open_named(dir, age, false);
    if (plain >= 0 && p->packed < 0 && inode_of(plain) == p->inode)
        return true;
    int packed AUTOCLOSE = age ? open_named(dir, age, true) : -1;
    if (packed < 0)
        return plain < 0 ? -1 : false;
    return (p->packed < 0 ? origin_of(packed) : inode_of(packed)) == p->inode;
}

int logpart_age(const char *dir, const struct logpart *p)
{
    for (int age = 0, missing = 0; age < FILES_MAX && missing < 2; age++) {
        int has = has_age(dir, p, age);
        if (has > 0)
            return age;
        missing = has < 0 && age ? missing + 1 : 0;
    }
    return -1;
}
