#include "net/port_bind.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/holder.h"
#include "net/relay_internal.h"

enum { BACKLOG = 4096, RANDOM_TRIES = 16 };

/* One port under way: which host addresses, which protocol. */
struct attempt {
    const struct port_spec *spec;
    struct ip_addr hosts[2];
    size_t hosts_n;
    bool optional6; /* all addresses: a host without IPv6 publishes on IPv4 alone */
    int type, protocol;
};

static int open_socket(const struct attempt *a, const struct ip_addr *host, uint16_t port)
{
    struct sockaddr_storage addr;
    socklen_t len = relay_sockaddr(host, port, &addr);
    int on = 1, fd = socket(host->family, a->type | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0)
        return -1;
    if (host->family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (a->type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    else if (host->family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
    else
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&addr, len) == 0 &&
        (a->type != SOCK_STREAM || listen(fd, BACKLOG) == 0))
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return 0;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}

static bool skip_ipv6(const struct attempt *a, size_t i)
{
    return a->optional6 && a->hosts[i].family == AF_INET6 &&
           (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL || errno == EPROTONOSUPPORT);
}

/* Binds port (0: any) on all of the attempt's hosts. 0 with *port and fds (-1: left out) set; else
 * an errno and the host that failed. */
static int bind_hosts(const struct attempt *a, uint16_t *port, int fds[2], size_t *failed)
{
    fds[0] = fds[1] = -1;
    for (size_t i = 0; i < a->hosts_n; i++) {
        fds[i] = open_socket(a, &a->hosts[i], *port);
        if (fds[i] >= 0) {
            *port = bound_port(fds[i]);
            continue;
        }
        if (skip_ipv6(a, i))
            continue;
        int e = errno;
        *failed = i;
        if (i == 1 && fds[0] >= 0)
            close(fds[0]);
        return e;
    }
    return 0;
}

static int refuse(const struct paths *paths, const struct attempt *a, uint16_t port, size_t failed,
                  int e, struct err *err)
{
    char host[IP_TEXT_MAX];
    const struct port_spec *s = a->spec;
    ip_format(&a->hosts[failed], host);
    if (e == EADDRNOTAVAIL)
        return err_set(err, ERR_INVALID,
                       "cannot publish port %u/%s on %s: not an address of this host", port,
                       s->protocol, host);
    if (e != EADDRINUSE)
        return err_sys(err, e, "cannot publish port %u/%s on %s", port, s->protocol, host);
    if (s->published_end > s->published)
        return err_set(err, ERR_CONFLICT, "no free port in %u-%u/%s on %s", s->published,
                       s->published_end, s->protocol, host);
    char *who AUTOFREE = port_holder(paths, s->protocol, &a->hosts[failed], port);
    return err_set(err, ERR_CONFLICT, "port %u/%s on %s is already in use by %s", port, s->protocol,
                   host, who);
}

static int bind_attempt(const struct paths *paths, const struct attempt *a, uint16_t *port,
                        int fds[2], struct err *err)
{
    uint16_t first = a->spec->published;
    uint16_t last = a->spec->published_end > first ? a->spec->published_end : first;
    size_t failed = 0;
    int e = 0;
    for (int tries = 0; first == 0 && tries < RANDOM_TRIES; tries++) {
        *port = 0; /* the kernel's choice for IPv4 may be taken for IPv6 */
        e = bind_hosts(a, port, fds, &failed);
        if (e != EADDRINUSE)
            break;
    }
    for (unsigned p = first; first && p <= last; p++) {
        *port = (uint16_t)p;
        e = bind_hosts(a, port, fds, &failed);
        if (e != EADDRINUSE)
            break;
    }
    return e ? refuse(paths, a, *port, failed, e, err) : 0;
}

static void add_rule(struct bound_ports *out, const struct port_spec *s, const struct ip_addr *host,
                     const struct ip_addr *target, uint16_t port)
{
    struct nft_port rule = {
        .host = *host, .target = *target, .published = port, .target_port = s->target};
    snprintf(rule.protocol, sizeof(rule.protocol), "%s", s->protocol);
    out->rules = xrealloc(out->rules, (out->rules_n + 1) * sizeof(*out->rules));
    out->rules[out->rules_n++] = rule;
}

static void add_socket(struct bound_ports *out, int fd, bool udp, const struct ip_addr *target,
                       uint16_t port)
{
    out->sockets = xrealloc(out->sockets, (out->sockets_n + 1) * sizeof(*out->sockets));
    out->sockets[out->sockets_n++] = (struct bound_socket){
        .fd = fd, .udp = udp, .target = *target, .target_port = port};
}

static void add_binding(struct bound_ports *out, const struct port_spec *s,
                        const struct ip_addr *host, uint16_t port)
{
    struct port_binding b = {.host_ip = *host, .published = port, .target = s->target};
    snprintf(b.protocol, sizeof(b.protocol), "%s", s->protocol);
    out->bindings = xrealloc(out->bindings, (out->bindings_n + 1) * sizeof(*out->bindings));
    out->bindings[out->bindings_n++] = b;
}

static void add_udp(struct bound_ports *out, uint16_t port)
{
    out->udp = xrealloc(out->udp, (out->udp_n + 1) * sizeof(*out->udp));
    out->udp[out->udp_n++] = port;
}

/* What a bound port becomes: a rule where the container has an address of the host's family, and
 * the socket, whose relay serves the rest. */
static void record(struct bound_ports *out, const struct attempt *a, const struct endpoint *e,
                   uint16_t port, const int fds[2])
{
    for (size_t i = 0; i < a->hosts_n; i++) {
        const struct ip_addr *host = &a->hosts[i];
        bool six = host->family == AF_INET6;
        const struct ip_addr *same = six ? &e->ipv6 : &e->ipv4;
        const struct ip_addr *target = same->family ? same : six ? &e->ipv4 : &e->ipv6;
        bool holds = a->type != SOCK_SEQPACKET;
        if (holds && fds[i] < 0)
            continue; /* no IPv6 here */
        if (same->family)
            add_rule(out, a->spec, host, same, port);
        if (holds)
            add_socket(out, fds[i], a->type == SOCK_DGRAM, target, a->spec->target);
        if (holds || same->family)
            add_binding(out, a->spec, host, port);
    }
    if (a->type == SOCK_DGRAM)
        add_udp(out, port);
}

static int plan(const struct network_state *n, const struct port_spec *s, struct attempt *a,
                struct err *err)
{
    *a = (struct attempt){.spec = s};
    if (streq(s->protocol, "tcp"))
        a->type = SOCK_STREAM;
    else if (streq(s->protocol, "udp"))
        a->type = SOCK_DGRAM;
    else if (streq(s->protocol, "sctp"))
        a->type = SOCK_SEQPACKET;
    else
        return err_set(err, ERR_INVALID, "port %u: protocol \"%s\": want tcp, udp or sctp",
                       s->target, s->protocol);
    const char *host = s->host_ip && *s->host_ip ? s->host_ip : n->host_binding;
    if (host) {
        if (!ip_parse(host, &a->hosts[0]))
            return err_set(err, ERR_INVALID, "port %u: host address \"%s\" is not an IP address",
                           s->target, host);
        a->hosts_n = 1;
        return 0;
    }
    a->hosts[0].family = AF_INET;
    a->hosts[1].family = AF_INET6;
    a->hosts_n = 2;
    a->optional6 = true;
    return 0;
}

static int bind_one(const struct paths *paths, const struct network_state *n,
                    const struct endpoint *e, const struct port_spec *s, struct bound_ports *out,
                    struct err *err)
{
    struct attempt a;
    uint16_t port = s->published;
    int fds[2] = {-1, -1};
    if (plan(n, s, &a, err) < 0)
        return -1;
    if (a.type == SOCK_SEQPACKET) {
        /* Hosts seldom have SCTP sockets, and the kernel translates it without: rules alone. */
        if (!port)
            return err_set(err, ERR_INVALID, "port %u/sctp: want a fixed host port", s->target);
    } else if (bind_attempt(paths, &a, &port, fds, err) < 0) {
        return -1;
    }
    record(out, &a, e, port, fds);
    return 0;
}

int ports_bind(const struct paths *paths, const struct network_state *n, const struct endpoint *e,
               const struct port_spec *specs, size_t specs_n, struct bound_ports *out,
               struct err *err)
{
    *out = (struct bound_ports){0};
    if (!e->ipv4.family && !e->ipv6.family)
        return err_set(err, ERR_INVALID, "container %s has no address to publish ports of",
                       e->container_name ? e->container_name : e->container_id);
    for (size_t i = 0; i < specs_n; i++) {
        if (bind_one(paths, n, e, &specs[i], out, err) < 0) {
            bound_ports_release(out);
            return -1;
        }
    }
    return 0;
}

void bound_ports_release(struct bound_ports *b)
{
    for (size_t i = 0; i < b->sockets_n; i++) {
        if (b->sockets[i].fd >= 0)
            close(b->sockets[i].fd);
    }
    free(b->sockets);
    free(b->rules);
    free(b->bindings);
    free(b->udp);
    *b = (struct bound_ports){0};
}
