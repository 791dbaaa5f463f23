#include "runtime/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3; needed where vm.memfd_noexec is 1 */
#endif

static int make_memory_file(void)
{
    int fd = memfd_create("crun", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("crun", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* A script would look for itself behind a descriptor that is closed by then. */
static bool is_binary(int fd)
{
    char magic[4];
    return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && memcmp(magic, "\177ELF", 4) == 0;
}

static int copy_sealed(int from, off_t size)
{
    int fd AUTOCLOSE = make_memory_file();
    if (fd < 0)
        return -1;
    while (size > 0) {
        ssize_t n = sendfile(fd, from, NULL, (size_t)size);
        if (n <= 0)
            return -1;
        size -= n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -1;
    return STEAL_FD(fd);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

int sealed_program(struct sealed_program *s, const char *path)
{
    struct stat st;
    int from AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) < 0 || !is_binary(from))
        return -1;
    if (s->fd >= 0 && is_same(&s->of, &st))
        return s->fd;
    sealed_program_release(s);
    s->of = st;
    s->fd = copy_sealed(from, st.st_size);
    return s->fd;
}

void sealed_program_release(struct sealed_program *s)
{
    fd_close_ptr(&s->fd);
}
