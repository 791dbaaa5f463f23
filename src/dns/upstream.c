#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "dns/internal.h"
#include "net/netns.h"

enum { DNS_PORT = 53, CHECK_MS = 1000 };

static bool unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_dev == b->st_dev &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool sets_ndots(const struct resolv_conf *rc)
{
    for (char **o = rc->options; o && *o; o++) {
        if (starts_with(*o, "ndots:") && !streq(*o, "ndots:0"))
            return true;
    }
    return false;
}

/* The file is looked at when a query needs it rather than watched: it is often a link into a folder
 * that comes and goes with the network, and an idle supervisor shall not wake up for it. */
void upstreams_refresh(struct dns_server *s)
{
    struct stat st = {0};
    struct resolv_conf rc;
    uint64_t now = uv_now(s->loop);
    if (s->conf_checked && now - s->conf_checked < CHECK_MS)
        return;
    bool first = !s->conf_checked;
    s->conf_checked = now ? now : 1;
    const char *path = s->resolv_conf ? s->resolv_conf : "/etc/resolv.conf";
    if (stat(path, &st) < 0)
        st = (struct stat){0};
    if (!first && unchanged(&st, &s->conf_stat))
        return;
    struct err err AUTOERR = ERR_INIT;
    if (resolv_conf_read(path, &rc, &err) < 0) {
        log_line("dns: %s", err.msg);
        return;
    }
    s->conf_stat = st;
    s->upstreams_n = 0;
    s->host_ndots = sets_ndots(&rc);
    for (size_t i = 0; i < rc.servers_n && s->upstreams_n < UPSTREAMS_MAX; i++)
        s->upstreams[s->upstreams_n++] = (struct upstream){.addr = rc.servers[i].addr,
                                                           .scope = rc.servers[i].scope};
    if (!s->upstreams_n) /* resolv.conf(5): the local machine */
        ip_parse("127.0.0.1", &s->upstreams[s->upstreams_n++].addr);
    resolv_conf_release(&rc);
}

struct upstream *upstreams_of(struct dns_endpoint *e, size_t *n)
{
    if (e->own_n) {
        *n = e->own_n;
        return e->own;
    }
    upstreams_refresh(e->server);
    *n = e->server->upstreams_n;
    return e->server->upstreams;
}

struct opening {
    const struct upstream *upstream;
    int type, fd, errnum;
};

static int open_here(void *arg, struct err *err)
{
    struct opening *o = arg;
    const struct upstream *u = o->upstream;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT), .sin6_scope_id = u->scope};
    const struct sockaddr *addr = (struct sockaddr *)&in;
    socklen_t len = sizeof(in);
    (void)err;
    in.sin_addr = u->addr.v4;
    if (u->addr.family == AF_INET6) {
        in6.sin6_addr = u->addr.v6;
        addr = (struct sockaddr *)&in6;
        len = sizeof(in6);
    }
    /* Connected: the kernel takes a random source port, drops answers of others, and reports at
     * once what ICMP says. */
    o->fd = socket(u->addr.family, o->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (o->fd >= 0 && (connect(o->fd, addr, len) == 0 || errno == EINPROGRESS))
        return 0;
    o->errnum = errno;
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
    return 0;
}

int upstream_socket(struct dns_endpoint *e, const struct upstream *u, int type)
{
    struct opening o = {.upstream = u, .type = type, .fd = -1};
    struct err err AUTOERR = ERR_INIT;
    if (!e->own_n) {
        open_here(&o, &err);
    } else if (netns_run(e->netns_fd, open_here, &o, &err) < 0) {
        log_line("dns: %s", err.msg);
        o.errnum = EIO;
    }
    errno = o.errnum;
    return o.fd;
}
