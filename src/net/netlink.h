/* Batched netlink: messages are queued and sent in one system call; each is acknowledged, and the
 * first that fails gives the error, with what it was for and what the kernel says about it. */
#ifndef NET_NETLINK_H
#define NET_NETLINK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { NETLINK_BATCH_MAX = 64, NETLINK_BUFFER = 32 * 1024 };

struct netlink_item {
    char what[96];   /* "add address 172.18.0.2/24": for the error */
    int tolerate[2]; /* errnos that are fine, 0: none */
    uint32_t seq;
};

struct netlink {
    struct mnl_socket *sock;
    uint32_t seq, port;
    char *buf;   /* queued messages */
    size_t used; /* bytes of finished messages */
    struct nlmsghdr *open;
    struct netlink_item items[NETLINK_BATCH_MAX];
    size_t n;
};

/* bus: NETLINK_ROUTE, NETLINK_NETFILTER. The socket belongs to the caller's network namespace. */
int netlink_open(struct netlink *nl, int bus, struct err *err);
void netlink_close(struct netlink *nl);
#define AUTONETLINK __attribute__((cleanup(netlink_close)))

/* Starts the next message of the batch; attributes are put with libmnl until the next call of this
 * module. flags: besides REQUEST and ACK. */
struct nlmsghdr *netlink_message(struct netlink *nl, uint16_t type, uint16_t flags, const char *fmt,
                                 ...) __attribute__((format(printf, 4, 5)));
/* Errnos of the message just started that do not count as failures. */
void netlink_tolerate(struct netlink *nl, int errnum, int other);
/* Sends the batch and waits for all acknowledgements. The kernel works on after a failed message.
 */
int netlink_commit(struct netlink *nl, struct err *err);

/* Sends one dump request (built by netlink_message()) and calls cb for each answer. cb returns
 * MNL_CB_OK or MNL_CB_STOP. */
int netlink_dump(struct netlink *nl, mnl_cb_t cb, void *arg, struct err *err);

#endif
