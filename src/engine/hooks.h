/* post_start and pre_stop: commands that run in a container, one after the other, until one fails.
 * What they say goes to the clients that are attached ("hook" events).
 *
 * A supervisor that takes over kills the hook that was under way. post_start then goes on with that one, so
 * each runs at least once and never two at a time; pre_stop begins anew when the stop is asked for again. */
#ifndef ENGINE_HOOKS_H
#define ENGINE_HOOKS_H

#include "base/err.h"
#include "model/project.h"

struct container;
struct engine;
struct hooks;

/* kind: "post_start", "pre_stop"; list is the service's, and at the first of its n > 0 hooks to run. Which
 * one is under way stands in the record, for whoever takes over. done: once, never within this call; err:
 * NULL, or why one failed. */
struct hooks *hooks_start(struct container *c, const char *kind, const struct hook *list, size_t n,
                          size_t at, void (*done)(struct container *c, struct err *err));
/* Ends the one that runs; no event comes afterwards. NULL is fine. */
void hooks_cancel(struct hooks *h);

/* Writes into the record what is due; NULL: nothing. Saves it where that is new. */
void hooks_note(struct container *c, const char *kind, size_t at);
/* The hook of this kind that the record has; -1: none. */
int hooks_noted(const struct container *c, const char *kind);
/* Kills the hook that a supervisor which is gone has left running. */
void hooks_end_orphan(const struct container *c);

/* What a hook says, line by line to the clients. name: who is shown as saying it. */
struct hook_output;
struct hook_output *hook_output_new(struct engine *e, const char *id, const char *name,
                                    const char *service);
void hook_output_add(struct hook_output *o, const char *data, size_t n);
/* Tells a line that has no end, too. NULL is fine. */
void hook_output_free(struct hook_output *o);

#endif
