#include "net/watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/netlink.h"

enum { SETTLE_MS = 500, BUFFER = 16 * 1024 };

struct net_watch {
    struct mnl_socket *sock;
    uv_poll_t poll;
    uv_timer_t settle;
    int open_handles;
    void (*changed)(void *arg);
    void *arg;
};

/* A new generation of the ruleset names who made it (Linux 4.14); the rest is its content. */
static int take_event(const struct nlmsghdr *nlh, void *arg)
{
    bool *foreign = arg;
    const struct nlattr *attr;
    uint32_t pid = 0;
    if ((nlh->nlmsg_type & 0xff) != NFT_MSG_NEWGEN)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
    {
        if (mnl_attr_get_type(attr) == NFTA_GEN_PROC_PID)
            pid = ntohl(mnl_attr_get_u32(attr));
    }
    *foreign |= pid != (uint32_t)getpid();
    return MNL_CB_OK;
}

static void on_settled(uv_timer_t *timer)
{
    struct net_watch *w = timer->data;
    w->changed(w->arg);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct net_watch *w = poll->data;
    char buf[BUFFER] __attribute__((aligned(8)));
    bool foreign = false;
    (void)status;
    (void)events;
    for (;;) {
        ssize_t n = recv(mnl_socket_get_fd(w->sock), buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno == ENOBUFS) {
            foreign = true; /* events were lost: whose, nobody knows */
            continue;
        }
        if (n <= 0)
            break;
        mnl_cb_run(buf, (size_t)n, 0, 0, take_event, &foreign);
    }
    if (foreign)
        uv_timer_start(&w->settle, on_settled, SETTLE_MS, 0);
}

int net_watch_new(uv_loop_t *loop, void (*changed)(void *arg), void *arg, struct net_watch **out,
                  struct err *err)
{
    struct mnl_socket *sock = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int group = NFNLGRP_NFTABLES;
    if (!sock)
        return err_sys(err, errno, "watch the firewall");
    if (mnl_socket_bind(sock, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_setsockopt(sock, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
        err_sys(err, errno, "watch the firewall");
        mnl_socket_close(sock);
        return -1;
    }
    struct net_watch *w = xcalloc(1, sizeof(*w));
    w->sock = sock;
    w->changed = changed;
    w->arg = arg;
    w->open_handles = 2;
    uv_poll_init(loop, &w->poll, mnl_socket_get_fd(sock));
    uv_timer_init(loop, &w->settle);
    w->poll.data = w->settle.data = w;
    uv_poll_start(&w->poll, UV_READABLE, on_event);
    uv_unref((uv_handle_t *)&w->poll);
    uv_unref((uv_handle_t *)&w->settle);
    *out = w;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct net_watch *w = handle->data;
    if (--w->open_handles == 0)
        free(w);
}

void net_watch_close(struct net_watch *w)
{
    if (!w)
        return;
    uv_close((uv_handle_t *)&w->poll, handle_closed);
    uv_close((uv_handle_t *)&w->settle, handle_closed);
    mnl_socket_close(w->sock);
    w->sock = NULL;
}
