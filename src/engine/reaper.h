/* Children of the supervisor that nobody waits for: its monitors. Each is watched through a pidfd
 * and reaped when it ends, so none stays a zombie. */
#ifndef ENGINE_REAPER_H
#define ENGINE_REAPER_H

#include <sys/types.h>
#include <uv.h>

struct reaper;

struct reaper *reaper_new(uv_loop_t *loop);
/* A process that is no child of ours is left alone. */
void reaper_watch(struct reaper *r, pid_t pid);
/* Stops watching; what still runs goes on. */
void reaper_close(struct reaper *r);

#endif
