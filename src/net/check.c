#include "net/check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"
#include "net/firewall.h"
#include "net/holder.h"
#include "net/link.h"
#include "net/netns.h"
#include "net/nft.h"
#include "net/plan.h"
#include "net/relay_internal.h"
#include "net/sysctl.h"

struct report {
    VEC(struct check_result) list;
};

static void add(struct report *r, const char *name, enum check_level level, char *take_detail,
                char *take_remedy)
{
    vec_push(&r->list,
             (struct check_result){
                 .name = name, .level = level, .detail = take_detail, .remedy = take_remedy});
}

static void add_err(struct report *r, const char *name, struct err *err, const char *remedy)
{
    add(r, name, CHECK_FAIL, xstrdup(err->msg ? err->msg : "unknown error"), xstrdup(remedy));
    err_release(err);
}

/* Kernel features: tried out in a namespace that goes away with the thread. */

static int try_bridge(struct netlink *nl, struct err *err)
{
    static const uint8_t mac[6] = {0x02, 0, 0, 0, 0, 1};
    link_add_bridge(nl, "check0", mac, 0, 0);
    return netlink_commit(nl, err);
}

static int try_veth(struct netlink *nl, struct err *err)
{
    static const uint8_t mac[6] = {0x02, 0, 0, 0, 0, 2};
    int self AUTOCLOSE = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    link_add_veth(nl, "check1", link_index("check0"), "check2", self, mac, 0, 0);
    return netlink_commit(nl, err);
}

static int try_table(struct err *err)
{
    struct network_subnet subnet = {.subnet.prefix = 24, .range.prefix = 24};
    struct network_state n = {.id = "checkcheckcheck",
                              .bridge = "check0",
                              .subnets = &subnet,
                              .subnets_n = 1,
                              .masquerade = true};
    struct nft_port port = {.protocol = "tcp", .published = 80, .target_port = 80};
    ip_parse("192.0.2.0", &subnet.subnet.addr);
    ip_parse("0.0.0.0", &port.host);
    ip_parse("192.0.2.2", &port.target);
    if (nft_network_apply(&n, &port, 1, err) < 0)
        return -1;
    return nft_dns_redirect(1053, 1053, err);
}

static int try_kernel(void *arg, struct err *err)
{
    struct report *r = arg;
    struct netlink nl AUTONETLINK = {0};
    struct err e AUTOERR = ERR_INIT;
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0)
        return -1;
    add(r, "network namespaces", CHECK_OK, xstrdup("can be made"), NULL);
    if (try_bridge(&nl, &e) < 0)
        add_err(r, "bridge", &e, "load the kernel module: modprobe bridge");
    else
        add(r, "bridge", CHECK_OK, xstrdup("works"), NULL);
    if (try_veth(&nl, &e) < 0)
        add_err(r, "veth", &e, "load the kernel module: modprobe veth");
    else
        add(r, "veth", CHECK_OK, xstrdup("works"), NULL);
    if (try_table(&e) < 0)
        add_err(r, "nftables", &e,
                "load the kernel modules: modprobe -a nf_tables nft_chain_nat nft_masq "
                "nft_fib_inet nft_ct");
    else
        add(r, "nftables", CHECK_OK, xstrdup("translation, masquerading and maps work"), NULL);
    return 0;
}

static void check_kernel(struct report *r)
{
    struct err err AUTOERR = ERR_INIT;
    if (netns_try(try_kernel, r, &err) < 0)
        add_err(r, "network namespaces", &err, "run as root on a kernel with CONFIG_NET_NS");
}

/* The host's settings. */

static void check_forwarding(struct report *r)
{
    int on = sysctl_int("net/ipv4/ip_forward");
    if (on == 1)
        add(r, "ip forwarding", CHECK_OK, xstrdup("on"), NULL);
    else if (access("/proc/sys/net/ipv4/ip_forward", W_OK) == 0)
        add(r, "ip forwarding", CHECK_OK, xstrdup("off; switched on while networks exist"), NULL);
    else
        add(r, "ip forwarding", CHECK_FAIL, xstrdup("off, and cannot be changed from here"),
            xstrdup("sysctl -w net.ipv4.ip_forward=1"));
}

static void check_firewall(struct report *r)
{
    char *remedy = NULL;
    char *obstacle = firewall_obstacle(&remedy);
    if (obstacle)
        add(r, "firewall", CHECK_WARN, obstacle, remedy);
    else
        add(r, "firewall", CHECK_OK,
            xstrdup("nothing that containers' traffic is not admitted through"), NULL);
}

static void check_bridge_netfilter(struct report *r)
{
    int on = sysctl_int("net/bridge/bridge-nf-call-iptables");
    add(r, "bridge netfilter", CHECK_OK,
        xstrdup(on == 1 ? "on: traffic within a network passes the firewall too"
                        : "off: traffic within a network does not pass the firewall"),
        NULL);
}

static void check_ipv6(struct report *r)
{
    int off = sysctl_int("net/ipv6/conf/all/disable_ipv6");
    if (off == 0)
        add(r, "ipv6", CHECK_OK, xstrdup("available"), NULL);
    else
        add(r, "ipv6", CHECK_WARN,
            xstrdup("off on this host: networks with enable_ipv6 will not work"),
            xstrdup("sysctl -w net.ipv6.conf.all.disable_ipv6=0 (or boot without ipv6.disable=1)"));
}

static void check_pools(struct report *r, const struct paths *paths)
{
    struct err err AUTOERR = ERR_INIT;
    struct ip_net next;
    char text[IP_TEXT_MAX];
    if (plan_next_subnet(paths, &next, &err) < 0)
        add(r, "address pools", CHECK_FAIL, xstrdup(err.msg),
            xstrdup("set COMPOSE_ADDRESS_POOLS, for instance to 10.200.0.0/16"));
    else
        add(r, "address pools", CHECK_OK,
            xasprintf("the next network gets %s", ip_net_format(&next, text)), NULL);
}

/* DNS. */

static void check_port53(struct report *r, const struct paths *paths)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(53)};
    int fd AUTOCLOSE = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno != EADDRINUSE)) {
        add(r, "port 53", CHECK_OK,
            xstrdup("free, and not needed: DNS lives inside the containers"), NULL);
        return;
    }
    struct ip_addr any = {.family = AF_INET};
    char *who AUTOFREE = port_holder(paths, "udp", &any, 53);
    add(r, "port 53", CHECK_OK,
        xasprintf("held by %s: no conflict, DNS lives inside the containers", who), NULL);
}

/* Asks for the root's name servers: any answer will do. */
static bool answers(const struct ip_addr *server)
{
    static const uint8_t query[] = {0x13, 0x37, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1};
    struct sockaddr_storage addr;
    socklen_t len = relay_sockaddr(server, 53, &addr);
    uint8_t answer[512];
    int fd AUTOCLOSE = socket(server->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, len) < 0 ||
        send(fd, query, sizeof(query), 0) < 0)
        return false;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 1500) == 1 && recv(fd, answer, sizeof(answer), 0) > 2 && answer[0] == 0x13;
}

static void check_upstreams(struct report *r)
{
    char *text AUTOFREE = NULL;
    size_t asked = 0, good = 0;
    if (fs_read("/etc/resolv.conf", 64 * 1024, &text, NULL, NULL) < 0)
        text = xstrdup("");
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line && asked < 3;
         line = strtok_r(NULL, "\n", &save)) {
        char word[IP_TEXT_MAX];
        struct ip_addr server;
        if (sscanf(line, " nameserver %63s", word) != 1 || !ip_parse(word, &server))
            continue;
        asked++;
        good += answers(&server);
    }
    if (asked && good == asked)
        add(r, "dns upstreams", CHECK_OK, xasprintf("%zu of /etc/resolv.conf answer", good), NULL);
    else
        add(r, "dns upstreams", CHECK_WARN,
            asked ? xasprintf("%zu of %zu name servers of /etc/resolv.conf answer", good, asked)
                  : xstrdup("/etc/resolv.conf names no name server"),
            xstrdup("names outside the project resolve slowly or not at all: mend "
                    "/etc/resolv.conf, or give "
                    "services a dns: of their own"));
}

void network_check(const struct paths *paths, struct check_result **out, size_t *n)
{
    struct report r = {0};
    check_kernel(&r);
    check_forwarding(&r);
    check_firewall(&r);
    check_bridge_netfilter(&r);
    check_ipv6(&r);
    check_pools(&r, paths);
    check_port53(&r, paths);
    check_upstreams(&r);
    *out = r.list.v;
    *n = r.list.n;
}

void network_check_free(struct check_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(results[i].detail);
        free(results[i].remedy);
    }
    free(results);
}
