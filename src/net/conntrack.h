/* The kernel's connection tracking table. */
#ifndef NET_CONNTRACK_H
#define NET_CONNTRACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Forgets UDP flows to these ports of the host, of both families. A flow that was first seen under
 * other rules (before the port was published, or to a container that is gone) is treated as it was
 * then for as long as it lasts: a client that sends every second would never reach the new
 * container. */
int conntrack_forget_udp(const uint16_t *ports, size_t n, struct err *err);

#endif
