/* One file of a container's log: DIR/log, or one that was rotated away, DIR/log.N or DIR/log.N.gz
 * (monitor/compress.h). Files become older, and compressed, while they are read. */
#ifndef RUNTIME_LOGPART_H
#define RUNTIME_LOGPART_H

#include <stdbool.h>
#include <sys/types.h>

struct logpart {
    int fd; /* its text; -1: none */
    int packed; /* the gzip file that it comes from, -1: none; open, so that its inode number stays its own */
    ino_t inode; /* of the file that has a name */
};

#define LOGPART_NONE ((struct logpart){.fd = -1, .packed = -1})

/* Rotations since it was written to; -1: there is no file. One age may be free: of a monitor killed
 * while it rotated. */
int logpart_oldest(const char *dir);
/* Opens the file of that age; fd is -1 when there is none. What is compressed has to be
 * unpacked. */
struct logpart logpart_open(const char *dir, int age);
/* Puts the text of a compressed file into one without a name; as much of it as is whole. */
void logpart_unpack(const char *dir, struct logpart *p);
/* The age that it has by now; -1: it is rotated away. */
int logpart_age(const char *dir, const struct logpart *p);
void logpart_close(struct logpart *p);

#endif
