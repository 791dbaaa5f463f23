/* Deleting a network's interfaces without waiting for more than anybody can see. */
#ifndef NET_TEARDOWN_H
#define NET_TEARDOWN_H

#include <stdint.h>

#include "base/err.h"

struct teardown;

/* Begins to delete all interfaces of the group (net/link.h) in the caller's network namespace. The kernel
 * takes them out of sight within a millisecond or two and then waits, for some 30 ms, until nothing of
 * them is in use any more; a thread of its own sits that out. */
struct teardown *teardown_start(uint32_t group);
/* Waits until interface is out of sight (or the deletion has ended, where it is not of the group), and
 * frees. */
int teardown_finish(struct teardown *take_t, const char *interface, struct err *err);

#endif
