/* post_start and pre_stop: commands that run in a container, one after the other, until one fails.
 * What they say goes to the clients that are attached ("hook" events). */
#ifndef ENGINE_HOOKS_H
#define ENGINE_HOOKS_H

#include "base/err.h"
#include "model/project.h"

struct container;
struct engine;
struct hooks;

/* done: once, never within this call; err: NULL, or why one failed. list is the service's, n > 0. */
struct hooks *hooks_start(struct container *c, const struct hook *list, size_t n,
                          void (*done)(struct container *c, struct err *err));
/* Ends the one that runs; no event comes afterwards. NULL is fine. */
void hooks_cancel(struct hooks *h);

/* What a hook says, line by line to the clients. name: who is shown as saying it. */
struct hook_output;
struct hook_output *hook_output_new(struct engine *e, const char *id, const char *name,
                                    const char *service);
void hook_output_add(struct hook_output *o, const char *data, size_t n);
/* Tells a line that has no end, too. NULL is fine. */
void hook_output_free(struct hook_output *o);

#endif
