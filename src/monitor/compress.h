/* Log files that were rotated away become gzip files: DIR/log.N.gz in the place of DIR/log.N.
 *
 * A child of the monitor, `compose-monitor compress`, writes DIR/log.tmp while the monitor goes
 * on; names are the monitor's alone, which may rotate meanwhile. The child dies with it. What a
 * monitor killed at any moment leaves is log.tmp, or both forms of a file, whose compressed one is
 * complete: the next one removes the other. The comment in the header of a gzip file is the inode
 * number of the file that it was: so a reader that has that one open finds its place
 * (runtime/logfile.c).
 *
 * What is not yet compressed when the container ends is compressed when it starts again. */
#ifndef MONITOR_COMPRESS_H
#define MONITOR_COMPRESS_H

#include <stdbool.h>
#include <sys/types.h>

struct monitor;

struct compress {
    pid_t pid;     /* the child, 0: none */
    int source;    /* what it reads, -1: nothing */
    unsigned seen; /* logwriter.rotations when there was nothing more to do */
};

/* After logwriter_open(). */
void compress_open(struct monitor *m);
/* Begins with the newest file where there is one. */
void compress_tick(struct monitor *m);
/* The child has ended; whole: it has done all. */
void compress_ended(struct monitor *m, bool whole);
/* Another monitor may start now. */
void compress_abandon(struct monitor *m);
/* The child: its standard input becomes its standard output. */
int compress_main(void);

#endif
