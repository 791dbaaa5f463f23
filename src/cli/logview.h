/* Logs of several containers as one stream of lines: merged by time, with aligned, coloured prefixes.
 * Follows by inotify on a libuv loop, or reads once. */
#ifndef CLI_LOGVIEW_H
#define CLI_LOGVIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "cli/containers.h"

struct logview_options {
    bool color, prefix, timestamps;
    bool split;           /* stderr of containers goes to our stderr */
    int64_t tail;         /* lines a container, -1: all */
    int64_t since, until; /* ns since the epoch, 0: no bound */
};

struct logview;

/* loop NULL: logview_drain() alone reads. */
struct logview *logview_new(struct cli *cli, uv_loop_t *loop, const struct logview_options *o);
/* Makes room in the prefix for a name before its container comes. */
void logview_reserve(struct logview *v, const char *short_name);
/* Adds a container; known already: nothing. since overrides the option unless 0. */
int logview_add(struct logview *v, const struct container_record *c, int64_t since,
                struct err *err);
/* Prints what there is now, oldest first. */
void logview_drain(struct logview *v);
/* Prints what is left of a container's log, an unfinished line too, and forgets it. */
void logview_remove(struct logview *v, const char *id);
/* "web-1 exited with code 0", in the container's colour, below what it wrote. */
void logview_say(struct logview *v, const char *id, const char *short_name, const char *text);
/* A line that a hook of the container has said. */
void logview_hook(struct logview *v, const char *id, const char *short_name, const char *text);
/* Stops following; free it after the loop has run. */
void logview_close(struct logview *v);
void logview_free(struct logview *v);

#endif
