/* Mends the networks of running containers when another program changes the host's firewall. */
#ifndef ENGINE_GUARD_H
#define ENGINE_GUARD_H

#include "engine/engine.h"

struct guard;

/* NULL where the kernel does not tell of such changes: then the next `up` mends. */
struct guard *guard_new(struct engine *e);
/* NULL is fine. */
void guard_close(struct guard *g);

#endif
