#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "dns/internal.h"

enum { ROUNDS = 4 }; /* batches a turn of the loop, so that one container cannot hold it */

struct udp_batch {
    struct mmsghdr rx[UDP_BATCH], tx[UDP_BATCH];
    struct iovec rx_iov[UDP_BATCH], tx_iov[UDP_BATCH];
    struct sockaddr_in from[UDP_BATCH];
    uint8_t in[UDP_BATCH][UDP_PACKET];
    uint8_t out[UDP_BATCH][DNS_UDP_MAX];
};

struct udp_batch *udp_batch_new(void)
{
    struct udp_batch *b = xcalloc(1, sizeof(*b));
    for (int i = 0; i < UDP_BATCH; i++) {
        b->rx_iov[i] = (struct iovec){.iov_base = b->in[i], .iov_len = UDP_PACKET};
        b->rx[i].msg_hdr.msg_iov = &b->rx_iov[i];
        b->rx[i].msg_hdr.msg_iovlen = 1;
        b->rx[i].msg_hdr.msg_name = &b->from[i];
        b->tx[i].msg_hdr.msg_iov = &b->tx_iov[i];
        b->tx[i].msg_hdr.msg_iovlen = 1;
    }
    return b;
}

static int receive(struct udp_batch *b, int fd)
{
    for (int i = 0; i < UDP_BATCH; i++)
        b->rx[i].msg_hdr.msg_namelen = sizeof(b->from[i]);
    return recvmmsg(fd, b->rx, UDP_BATCH, MSG_DONTWAIT, NULL);
}

static void answer(struct udp_batch *b, struct dns_endpoint *e, int received)
{
    int n = 0;
    for (int i = 0; i < received; i++) {
        struct reply_to to = {.from = b->from[i]};
        if (b->rx[i].msg_hdr.msg_flags & MSG_TRUNC)
            continue;
        size_t len = dns_take(e, b->in[i], b->rx[i].msg_len, &to, b->out[n], sizeof(b->out[n]));
        if (!len)
            continue;
        b->tx_iov[n] = (struct iovec){.iov_base = b->out[n], .iov_len = len};
        b->tx[n].msg_hdr.msg_name = &b->from[i];
        b->tx[n].msg_hdr.msg_namelen = sizeof(b->from[i]);
        n++;
    }
    for (int sent = 0; sent < n;) {
        int r = sendmmsg(e->udp_fd, b->tx + sent, (unsigned)(n - sent),
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r < 0 && errno == EAGAIN)
            return; /* the asker's buffer is full; it will ask again */
        sent += r > 0 ? r : 1;
    }
}

void udp_on_readable(uv_poll_t *poll, int status, int events)
{
    struct dns_endpoint *e = poll->data;
    (void)status;
    (void)events;
    for (int round = 0; round < ROUNDS && e->state == ENDPOINT_OPEN; round++) {
        int n = receive(e->server->batch, e->udp_fd);
        if (n <= 0)
            return;
        answer(e->server->batch, e, n);
        if (n < UDP_BATCH)
            return;
    }
}
