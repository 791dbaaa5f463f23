/* Children of the supervisor that nobody waits for: its monitors. Each is watched through a pidfd
 * and reaped when it ends, so none stays a zombie. */
#ifndef ENGINE_REAPER_H
#define ENGINE_REAPER_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct reaper;

struct reaper *reaper_new(uv_loop_t *loop);
/* A process that is no child of ours is left alone. */
void reaper_watch(struct reaper *r, pid_t pid);
/* Reaps children that came to us, a subreaper, when their parent was killed: those that have ended, are
 * not watched, and of which known() says false. */
void reaper_sweep(struct reaper *r, bool (*known)(void *arg, pid_t pid), void *arg);
/* Stops watching; what still runs goes on. */
void reaper_close(struct reaper *r);

#endif
