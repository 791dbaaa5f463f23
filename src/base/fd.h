/* File descriptors: scope-bound close, whole reads and writes, pidfds. Everything is O_CLOEXEC. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stddef.h>
#include <sys/types.h>

void fd_close_ptr(int *fd);
#define AUTOCLOSE __attribute__((cleanup(fd_close_ptr)))
#define STEAL_FD(fd)                                                                               \
    ({                                                                                             \
        int stolen_ = (fd);                                                                        \
        (fd) = -1;                                                                                 \
        stolen_;                                                                                   \
    })

/* /dev/null for each standard stream that the caller has closed: else the next file or socket that is opened
 * would become it, and be written to. -1 with errno. */
int fd_open_standard(void);
/* Writes all of it, waiting where the descriptor does not; -1 with errno on failure. */
int fd_write_all(int fd, const void *data, size_t n);
/* pidfd_open(2), Linux 5.3; -1 with errno. */
int fd_pidfd(pid_t pid);
/* Start time of a process in clock ticks since boot (proc(5), stat field 22); 0: it has ended.
 * Together with the pid it names a process uniquely. */
unsigned long long pid_start_time(pid_t pid);

#endif
