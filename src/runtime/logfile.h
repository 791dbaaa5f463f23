/* Log files as the monitor writes them: DIR/log, rotated to DIR/log.1 (newest) ... DIR/log.N, or
 * DIR/log.N.gz.
 * One JSON object a line, as Docker's json-file driver: {"log":"text\n","stream":"stdout","time":RFC3339},
 * with "attrs":{...} before the time where the service asks for labels, variables or a tag.
 * A line without its "\n" goes on in the next one of the same stream. */
#ifndef RUNTIME_LOGFILE_H
#define RUNTIME_LOGFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct log_record {
    const char *text; /* not NUL-terminated; may hold any bytes; valid until the next call */
    size_t len;
    bool is_stderr;
    bool partial; /* the line goes on in a further record */
    int64_t time; /* ns since the epoch */
};

struct logfile;

/* Opens a container's log for reading. tail: that many last lines only, -1: all. since: ns since the
 * epoch, 0: all. Both are found without reading the whole log. A missing log is empty. */
int logfile_open(const char *dir, int64_t tail, int64_t since, struct logfile **out,
                 struct err *err);
/* 1: a record; 0: nothing more now (call again after a change); -1: error. Follows rotation. */
int logfile_next(struct logfile *l, struct log_record *out, struct err *err);
/* An inotify descriptor that becomes readable when there may be more; drained by logfile_next. Made
 * by the first call: call logfile_next() once more after that. -1: the user's inotify instances are
 * used up; then look again by a timer. */
int logfile_fd(struct logfile *l);
void logfile_close(struct logfile *l);

#endif
