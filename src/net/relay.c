#include "net/relay.h"

#include "net/relay_internal.h"

#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

socklen_t relay_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *out)
{
    *out = (struct sockaddr_storage){.ss_family = (sa_family_t)a->family};
    if (a->family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
        in6->sin6_port = htons(port);
        in6->sin6_addr = a->v6;
        return sizeof(*in6);
    }
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    in->sin_port = htons(port);
    in->sin_addr = a->v4;
    return sizeof(*in);
}

void relay_handle_closed(uv_handle_t *handle)
{
    struct relay *r = handle->data;
    relay_unref(r);
}

struct relay *relay_new(uv_loop_t *loop, int take_fd, const struct ip_addr *target, uint16_t port)
{
    struct relay *r = xcalloc(1, sizeof(*r));
    r->loop = loop;
    r->fd = take_fd;
    r->target_len = relay_sockaddr(target, port, &r->target);
    r->refs = 1;
    uv_poll_init(loop, &r->poll, take_fd);
    r->poll.data = r;
    return r;
}

void relay_unref(struct relay *r)
{
    if (--r->refs)
        return;
    void (*done)(void *) = r->done;
    void *arg = r->done_arg;
    free(r);
    if (done)
        done(arg);
}

void relay_close(struct relay *r, void (*done)(void *arg), void *arg)
{
    r->done = done;
    r->done_arg = arg;
    r->closing = true;
    if (r->close_all)
        r->close_all(r);
    uv_close((uv_handle_t *)&r->poll, relay_handle_closed);
    close(r->fd);
}
