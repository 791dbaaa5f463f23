/* Files and folders: whole reads with a maximum, atomic writes, recursive make and remove, paths.
 */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads a whole regular file (or pipe) of at most max bytes; the result is NUL-terminated, heap.
 * A device, folder or socket is refused (ERR_INVALID), a larger file too, and a pipe into which
 * nothing is written for 10 s (ERR_TIMEOUT). len may be NULL. */
int fs_read(const char *path, size_t max, char **data, size_t *len, struct err *err);
/* Like fs_read, without checks of what the fd is. */
int fs_read_fd(int fd, size_t max, char **data, size_t *len, struct err *err);
/* Writes to a temporary name beside path and renames, so a reader sees the old or the new file.
 * durable: fsync first, so that the file also survives a power cut. */
int fs_write_atomic(const char *path, const void *data, size_t n, mode_t mode, bool durable,
                    struct err *err);
/* mkdir -p; folders that exist keep their mode. */
int fs_mkdir_p(const char *path, mode_t mode, struct err *err);
/* What is made in this folder has nothing to do with each other (chattr +T): ext4 then puts each of its folders into
 * a block group of its own. In one group, each file that is made passes by the inodes of all that were deleted there
 * within five minutes (find_inode_bit() in fs/ext4/ialloc.c, without a journal). Other file systems: nothing. */
void fs_spread(const char *dir);
/* rm -rf that never follows symbolic links nor leaves the file system; a missing path is fine. */
int fs_remove_all(const char *path, struct err *err);
bool fs_exists(const char *path);
bool fs_is_dir(const char *path);

/* "a/b", heap; an absolute name is returned as it is. */
char *path_join(const char *dir, const char *name);
/* Lexical clean-up as Go's filepath.Clean: no "//", ".", resolvable ".."; heap. */
char *path_clean(const char *path);
/* Absolute (against base, NULL: the current folder) and clean; heap. */
char *path_abs(const char *base, const char *path);
/* Parent folder as dirname(1); heap. */
char *path_dir(const char *path);
/* Points behind the last slash. */
const char *path_base(const char *path);

/* Exclusive lock on a file that is made when missing; the fd is the lock. wait: block for it;
 * otherwise a held lock is ERR_CONFLICT. */
int fs_lock(const char *path, bool wait, int *fd, struct err *err);

#endif
