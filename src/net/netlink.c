#include "net/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "base/mem.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

int netlink_open(struct netlink *nl, int bus, struct err *err)
{
    *nl = (struct netlink){.seq = (uint32_t)time(NULL)};
    nl->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (!nl->sock)
        return err_sys(err, errno, "open netlink socket");
    /* Extended acks (Linux 4.12) carry the kernel's reason; without them the errno has to do. A
     * reply that never comes must not hang a worker for ever. */
    int on = 1;
    mnl_socket_setsockopt(nl->sock, NETLINK_EXT_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(nl->sock, NETLINK_CAP_ACK, &on, sizeof(on));
    struct timeval limit = {.tv_sec = 20};
    setsockopt(mnl_socket_get_fd(nl->sock), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
        int e = errno;
        netlink_close(nl);
        return err_sys(err, e, "bind netlink socket");
    }
    nl->port = mnl_socket_get_portid(nl->sock);
    nl->buf = xmalloc(NETLINK_BUFFER);
    return 0;
}

void netlink_close(struct netlink *nl)
{
    if (nl->sock)
        mnl_socket_close(nl->sock);
    free(nl->buf);
    nl->sock = NULL;
    nl->buf = NULL;
}

static void finish_message(struct netlink *nl)
{
    if (!nl->open)
        return;
    nl->used += MNL_ALIGN(nl->open->nlmsg_len);
    nl->open = NULL;
}

struct nlmsghdr *netlink_message(struct netlink *nl, uint16_t type, uint16_t flags, const char *fmt,
                                 ...)
{
    finish_message(nl);
    /* Messages of this program are some hundred bytes each and batches some dozens of them. */
    if (nl->n == NETLINK_BATCH_MAX || nl->used + 2048 > NETLINK_BUFFER)
        abort();
    struct netlink_item *item = &nl->items[nl->n++];
    *item = (struct netlink_item){.seq = ++nl->seq};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(item->what, sizeof(item->what), fmt, ap);
    va_end(ap);
    nl->open = mnl_nlmsg_put_header(nl->buf + nl->used);
    nl->open->nlmsg_type = type;
    nl->open->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    nl->open->nlmsg_seq = item->seq;
    return nl->open;
}

void netlink_tolerate(struct netlink *nl, int errnum, int other)
{
    struct netlink_item *item = &nl->items[nl->n - 1];
    item->tolerate[0] = errnum;
    item->tolerate[1] = other;
}

static int reason_attr(const struct nlattr *attr, void *arg)
{
    const char **reason = arg;
    if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
        mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
        *reason = mnl_attr_get_str(attr);
    return MNL_CB_OK;
}

/* The text of an extended ack, NULL where the kernel gives none. */
static const char *ack_reason(const struct nlmsghdr *nlh)
{
    if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
        return NULL;
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
    size_t skip = sizeof(*e);
    if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
        skip += e->msg.nlmsg_len - sizeof(e->msg);
    const char *reason = NULL;
    if (mnl_nlmsg_get_payload_len(nlh) > skip)
        mnl_attr_parse(nlh, (unsigned)skip, reason_attr, &reason);
    return reason;
}

static void take_ack(struct netlink *nl, const struct nlmsghdr *nlh, bool *failed, struct err *err)
{
    if (nlh->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nlmsgerr))
        return;
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
    for (size_t i = 0; i < nl->n; i++) {
        struct netlink_item *item = &nl->items[i];
        if (item->seq != nlh->nlmsg_seq)
            continue;
        item->seq = 0; /* answered */
        int errnum = -e->error;
        if (!errnum || errnum == item->tolerate[0] || errnum == item->tolerate[1] || *failed)
            return;
        *failed = true;
        const char *reason = ack_reason(nlh);
        if (reason)
            err_sys(err, errnum, "%s (%s)", item->what, reason);
        else
            err_sys(err, errnum, "%s", item->what);
        return;
    }
}

static size_t unanswered(const struct netlink *nl)
{
    size_t n = 0;
    for (size_t i = 0; i < nl->n; i++)
        n += nl->items[i].seq != 0;
    return n;
}

static void batch_reset(struct netlink *nl)
{
    nl->used = 0;
    nl->n = 0;
    nl->open = NULL;
}

int netlink_commit(struct netlink *nl, struct err *err)
{
    finish_message(nl);
    bool failed = false;
    if (nl->n && mnl_socket_sendto(nl->sock, nl->buf, nl->used) < 0) {
        err_sys(err, errno, "netlink: %s", nl->items[0].what);
        batch_reset(nl);
        return -1;
    }
    char *in AUTOFREE = xmalloc(NETLINK_BUFFER);
    while (unanswered(nl)) {
        ssize_t got = mnl_socket_recvfrom(nl->sock, in, NETLINK_BUFFER);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            if (!failed)
                err_sys(err, errno, "netlink: no answer to: %s", nl->items[0].what);
            failed = true;
            break;
        }
        int left = (int)got;
        for (struct nlmsghdr *nlh = (void *)in; mnl_nlmsg_ok(nlh, left);
             nlh = mnl_nlmsg_next(nlh, &left))
            take_ack(nl, nlh, &failed, err);
    }
    batch_reset(nl);
    return failed ? -1 : 0;
}

int netlink_dump(struct netlink *nl, mnl_cb_t cb, void *arg, struct err *err)
{
    struct nlmsghdr *nlh = nl->open;
    nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    uint32_t seq = nlh->nlmsg_seq;
    finish_message(nl);
    char *in AUTOFREE = xmalloc(NETLINK_BUFFER);
    ssize_t got = mnl_socket_sendto(nl->sock, nl->buf, nl->used);
    while (got >= 0) {
        got = mnl_socket_recvfrom(nl->sock, in, NETLINK_BUFFER);
        if (got < 0 && errno == EINTR) {
            got = 0;
            continue;
        }
        if (got <= 0)
            break;
        int r = mnl_cb_run(in, (size_t)got, seq, nl->port, cb, arg);
        if (r == MNL_CB_STOP) {
            batch_reset(nl);
            return 0;
        }
        if (r < 0)
            break;
    }
    err_sys(err, errno, "%s", nl->items[0].what);
    batch_reset(nl);
    return -1;
}
