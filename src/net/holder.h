/* Who holds a port of the host: for the error that says so. */
#ifndef NET_HOLDER_H
#define NET_HOLDER_H

#include <stdint.h>

#include "base/paths.h"
#include "net/addr.h"

/* "container shop-web-1 (project shop)", "nginx (pid 712)" or "another program"; heap. Blocking,
 * and as slow as reading /proc is. */
char *port_holder(const struct paths *paths, const char *protocol, const struct ip_addr *host,
                  uint16_t port);

#endif
