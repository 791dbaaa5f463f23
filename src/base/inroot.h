/* Paths inside a foreign root file system. Links, "..", absolute links and mount tricks in it never
 * lead outside: openat2(2) with RESOLVE_IN_ROOT, Linux 5.6. */
#ifndef BASE_INROOT_H
#define BASE_INROOT_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* The folder itself, O_PATH; errors name it. */
int inroot_dir(const char *root, struct err *err);
/* Like open(2) with root_fd as "/"; O_CLOEXEC is added. -1 with errno. */
int inroot_open(int root_fd, const char *path, int flags, mode_t mode);
/* Reads a regular file of at most max bytes; NULL: there is none (errno ENOENT), or errno says why
 * not. Heap, NUL-terminated. */
char *inroot_read(int root_fd, const char *path, size_t max);
/* mkdir -p of a folder that belongs to uid:gid where it is made; returns it opened O_PATH,
 * or -1 with errno. */
int inroot_mkdir_p(int root_fd, const char *path, mode_t mode, uid_t uid, gid_t gid);

#endif
