/* Tar streams in and out of a folder, through tar(1), which every Debian has. */
#ifndef CLI_TAR_H
#define CLI_TAR_H

#include "base/err.h"

/* Writes name, which is in the folder dir, to fd. */
int tar_create(int dir, const char *name, int fd, struct err *err);
/* Unpacks what fd gives into the folder dir, owners as in the archive. Nothing in dir may be a link to
 * elsewhere: tar would follow it. */
int tar_extract(int fd, int dir, struct err *err);

#endif
