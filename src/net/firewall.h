/* Other people's firewalls.
 *
 * A packet must pass every chain at the forward hook, so an accept in our table does not help where
 * another chain drops: Docker sets the policy of iptables' FORWARD chain to DROP. There our
 * networks' interfaces are admitted by rules of our own, behind Docker's jumps (its isolation stays
 * as it is) or at the top, marked with the network's table name as comment. Firewalls that must not
 * be edited behind their back are reported instead; firewalld is asked. */
#ifndef NET_FIREWALL_H
#define NET_FIREWALL_H

#include "base/err.h"
#include "base/strbuf.h"
#include "net/network.h"

/* Lets the network's traffic through the host's other firewalls where that is needed and possible.
 * *warning (heap, NULL: none) says what still drops it. */
int firewall_admit(const struct network_state *n, char **warning, struct err *err);
/* Appends the nft commands that take back what firewall_admit() added (none: nothing). */
void firewall_withdraw(const struct network_state *n, struct strbuf *commands);
/* What drops forwarded traffic on this host and is not admitted by us: heap text, NULL: nothing.
 * For checks; remedy gets what to do about it. */
char *firewall_obstacle(char **remedy);

#endif
