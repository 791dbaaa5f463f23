/* Children of the supervisor that nobody waits for: its monitors, each watched through a pidfd, and
 * what comes to it, a child subreaper, when a parent inside a container's pid namespace is killed: a probe
 * whose runtime died, say. Such a zombie keeps its namespace, and so the container, from ending. */
#ifndef ENGINE_REAPER_H
#define ENGINE_REAPER_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct reaper;

/* known: a container's first process, whose end is somebody's business. */
struct reaper *reaper_new(uv_loop_t *loop, bool (*known)(void *arg, pid_t pid), void *arg);
/* A process that is no child of ours is left alone. */
void reaper_watch(struct reaper *r, pid_t pid);
/* Stops watching; what still runs goes on. */
void reaper_close(struct reaper *r);

#endif
