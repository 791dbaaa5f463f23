/* IP forwarding on the host.
 *
 * Containers need it; a host that did not forward before must not become a router between its own
 * interfaces by it. So when forwarding is switched on here, a small table drops what would go
 * between the interfaces that existed then, and both are undone with the last network. */
#ifndef NET_FORWARDING_H
#define NET_FORWARDING_H

#include <stdbool.h>

#include "base/err.h"
#include "base/paths.h"

/* Called with ROOT/networks/lock held. *changed: it was off. */
int forwarding_enable(const struct paths *paths, bool ipv6, bool *changed, struct err *err);
/* Undoes forwarding_enable() if this root enabled it; forwarding stays on where other interfaces
 * than those of then (another program's bridges or tunnels) may rely on it. */
void forwarding_restore(const struct paths *paths);

#endif
