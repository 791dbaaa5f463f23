/* Tells when another program changes the host's firewall: Docker that starts and sets a policy of DROP,
 * "nft flush ruleset", a reload of firewalld. Whoever owns networks then calls network_repair(). */
#ifndef NET_WATCH_H
#define NET_WATCH_H

#include <uv.h>

#include "base/err.h"

struct net_watch;

/* changed is called from the loop some time after a change, once for all that came close together;
 * changes by this process do not count. The watch does not keep the loop alive. */
int net_watch_new(uv_loop_t *loop, void (*changed)(void *arg), void *arg, struct net_watch **out,
                  struct err *err);
/* Frees, when its handles are closed. NULL is fine. */
void net_watch_close(struct net_watch *w);

#endif
