/* The log file: one JSON object a line, rotated by size. See runtime/logfile.h for its shape.
 *
 * Whole records are written, so what a reader finds after the last newline is the trace of a killed
 * writer; logwriter_open() cuts it off. A full disk costs the records that did not fit and nothing else:
 * when there is room again, one record says how much was lost. */
#ifndef MONITOR_LOGWRITER_H
#define MONITOR_LOGWRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/sink.h"

/* A longer line is cut into records of at most this many bytes, as Docker does. */
enum { LOG_LINE_MAX = 16384 };

/* "log", "log.2", "log.2.gz"; out holds LOG_NAME_MAX bytes. */
enum { LOG_NAME_MAX = 32 };
void log_name(char *out, unsigned age, bool compressed);

/* How far a piece of output has got into the file: for who comes after a kill. */
struct log_progress {
    int64_t before; /* size of the file before the write that is under way; -1: none is */
    size_t length;  /* what that write adds to it */
    size_t pending; /* bytes of output in it */
    size_t done;    /* bytes of output before those */
};

struct logwriter {
    int dir, fd; /* fd -1: not open, is tried again */
    bool enabled;
    int64_t size, max_size;
    int max_file;
    bool compress;        /* files that are rotated away may be compressed: monitor/compress.h */
    unsigned rotations;   /* since logwriter_open() */
    int64_t start_offset; /* size at logwriter_open() */
    volatile struct log_progress *progress;
    uint64_t lost; /* bytes of output that could not be written */
    int lost_errno;
    const char *attrs; /* JSON object in each record, NULL: none */
    struct sink *sink; /* every record goes there too; NULL: nowhere */
};

/* dir: descriptor of the container's folder. enabled false: nothing is ever written. */
void logwriter_open(struct logwriter *l, int dir, bool enabled, int64_t max_size, int max_file);
/* Writes the whole lines of data, and with flush the rest too; returns the bytes used. */
size_t logwriter_feed(struct logwriter *l, bool is_stderr, const char *data, size_t n, bool flush);
/* Of output at whose start a killed monitor was: the bytes that are in the file, which logwriter_open() has
 * mended. */
size_t logwriter_done(const struct logwriter *l, const volatile struct log_progress *p,
                      const char *data, size_t n);
/* Gives the buffer's pages back to the kernel. */
void logwriter_idle(struct logwriter *l);

/* The log so far of this run (files in their order), for a client that comes late. */
struct log_replay {
    unsigned rotations; /* of the file at fd, counted as struct logwriter does */
    int fd;
    int64_t offset;
};

void log_replay_start(const struct logwriter *l, struct log_replay *r);
/* Next record's text in buf (at least LOG_LINE_MAX bytes); -1: no more. */
int log_replay_next(const struct logwriter *l, struct log_replay *r, char *buf, bool *is_stderr);
void log_replay_end(struct log_replay *r);

#endif
