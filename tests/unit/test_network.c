/* net/, dns/ in the kernel: bridges, endpoints, ports and the resolver, in a network namespace that plays
 * the host and goes away with its thread. Needs root. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "dns/server.h"
#include "net/check.h"
#include "net/link.h"
#include "net/netns.h"
#include "net/network.h"
#include "net/nft.h"
#include "net/port.h"

struct host {
    struct paths paths;
    char folder[64];
    char *pins[2]; /* of containers a and b */
};

static const char *const ids[] = {
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"};
static const char *const names[] = {"shop-web-1", "shop-db-1"};
static const char *const services[] = {"web", "db"};

/* Bodies run in a thread of their own, out of which cmocka's jumps must not lead: they tell what does not
 * hold as an error. */
#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond))                                                                               \
            return err_set(err, ERR_INVALID, "line %d: not so: %s", __LINE__, #cond);              \
    } while (0)

static int make_host(void **state)
{
    struct host *h = xcalloc(1, sizeof(*h));
    strcpy(h->folder, "/tmp/compose-net-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    h->paths.root = xstrdup(h->folder);
    h->paths.run = xstrdup(h->folder);
    h->pins[0] = path_join(h->folder, "a");
    h->pins[1] = path_join(h->folder, "b");
    *state = h;
    return 0;
}

static int remove_host(void **state)
{
    struct host *h = *state;
    for (size_t i = 0; i < ARRAY_SIZE(h->pins); i++) {
        netns_remove(h->pins[i], NULL);
        free(h->pins[i]);
    }
    fs_remove_all(h->folder, NULL);
    paths_release(&h->paths);
    free(h);
    return 0;
}

static void run_body(void **state, int (*body)(void *arg, struct err *err))
{
    struct err err AUTOERR = ERR_INIT;
    if (netns_try(body, *state, &err) < 0)
        fail_msg("%s", err.msg);
}

static int loopback_up(struct err *err)
{
    struct ifreq req = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd AUTOCLOSE = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return ioctl(fd, SIOCSIFFLAGS, &req) < 0 ? err_sys(err, errno, "lo up") : 0;
}

static int create(struct host *h, const char *name, const char *subnet, struct network_state **out,
                  struct err *err)
{
    struct ipam_pool pool = {.subnet = subnet};
    struct network_config c = {.name = name,
                               .project = "shop",
                               .pools = &pool,
                               .pools_n = subnet ? 1 : 0,
                               .enable_ipv4 = UNSET,
                               .enable_ipv6 = UNSET};
    return network_create(&h->paths, &c, out, err);
}

static int connect_container(struct host *h, const struct network_state *n, int which,
                             const char *address, struct endpoint *e, struct err *err)
{
    const char *aliases[] = {services[which], "Alias", NULL};
    struct endpoint_config c = {.container_id = ids[which],
                                .container_name = names[which],
                                .project = "shop",
                                .service = services[which],
                                .netns = h->pins[which],
                                .ipv4_address = address,
                                .aliases = {aliases, 2},
                                .default4 = true,
                                .default6 = true};
    if (netns_create(h->pins[which], err) < 0)
        return -1;
    return network_connect(&h->paths, n, &c, e, err);
}

static int tables(void)
{
    json_t *list AUTOJSON = NULL;
    if (nft_run("list tables\n", &list, NULL) < 0)
        return -1;
    return (int)json_array_size(json_object_get(list, "nftables")) -
           1; /* one is about nft itself */
}

static int network_life(void *arg, struct err *err)
{
    struct host *h = arg;
    struct network_state *n, *again;
    if (loopback_up(err) < 0 || create(h, "shop_default", NULL, &n, err) < 0)
        return -1;
    char bridge[IF_NAMESIZE];
    snprintf(bridge, sizeof(bridge), "%s", n->bridge);
    EXPECT(n->made && link_index(bridge) && nft_network_exists(n));
    EXPECT(n->subnets_n == 1 && n->subnets[0].subnet.prefix == 22);
    /* What somebody took away comes back. */
    struct netlink nl AUTONETLINK = {0};
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0)
        return -1;
    link_delete(&nl, bridge);
    if (netlink_commit(&nl, err) < 0 || nft_network_delete(n, err) < 0)
        return -1;
    EXPECT(!link_index(bridge));
    if (create(h, "shop_default", NULL, &again, err) < 0)
        return -1;
    EXPECT(!again->made && streq(again->id, n->id) && link_index(bridge) && nft_network_exists(n));
    network_state_free(again);
    if (network_remove(&h->paths, "shop_default", err) < 0)
        return -1;
    EXPECT(!link_index(bridge) && tables() == 0);
    struct err gone AUTOERR = ERR_INIT;
    EXPECT(network_load(&h->paths, "shop_default", &again, &gone) < 0 &&
           gone.kind == ERR_NOT_FOUND);
    network_state_free(n);
    return 0;
}

static void test_a_network_is_made_mended_and_removed(void **state)
{
    run_body(state, network_life);
}

static int conflicts(void *arg, struct err *err)
{
    struct host *h = arg;
    struct network_state *n, *other;
    struct err e AUTOERR = ERR_INIT;
    if (create(h, "one", "10.66.0.0/16", &n, err) < 0)
        return -1;
    EXPECT(create(h, "two", "10.66.7.0/24", &other, &e) < 0);
    EXPECT(e.kind == ERR_CONFLICT && strstr(e.msg, "network one"));
    err_release(&e);
    static const char *const bad[] = {"10.0.0.0", "10.0.0.0/40", "x/8"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        EXPECT(create(h, "two", bad[i], &other, &e) < 0 && e.kind == ERR_INVALID);
        err_release(&e);
    }
    EXPECT(create(h, "../two", NULL, &other, &e) < 0 && e.kind == ERR_INVALID);
    err_release(&e);
    EXPECT(network_remove(&h->paths, "two", &e) < 0 && e.kind == ERR_NOT_FOUND);
    network_state_free(n);
    return network_remove(&h->paths, "one", err);
}

static void test_conflicts_are_named(void **state)
{
    run_body(state, conflicts);
}

static int endpoints(void *arg, struct err *err)
{
    struct host *h = arg;
    struct network_state *n;
    struct endpoint a, b, again;
    struct err e AUTOERR = ERR_INIT;
    char text[IP_TEXT_MAX];
    if (create(h, "net", "10.66.0.0/24", &n, err) < 0 ||
        connect_container(h, n, 0, NULL, &a, err) < 0)
        return -1;
    EXPECT(streq(ip_format(&a.ipv4, text), "10.66.0.2") && streq(a.ifname, "eth0"));
    EXPECT(streq(a.mac, "02:42:0a:42:00:02"));
    EXPECT(streq(a.names[0], "shop-web-1") && streq(a.names[1], "web") &&
           streq(a.names[2], "alias"));
    EXPECT(streq(a.names[3], "aaaaaaaaaaaa") && streq(a.names[4], "web.shop") && !a.names[5]);
    EXPECT(connect_container(h, n, 1, "10.66.0.2", &b, &e) < 0);
    EXPECT(e.kind == ERR_CONFLICT && strstr(e.msg, "shop-web-1"));
    err_release(&e);
    EXPECT(connect_container(h, n, 1, "10.67.0.2", &b, &e) < 0 && e.kind == ERR_INVALID);
    err_release(&e);
    if (connect_container(h, n, 1, "10.66.0.77", &b, err) < 0)
        return -1;
    EXPECT(streq(ip_format(&b.ipv4, text), "10.66.0.77"));
    /* A second time: the same address, and one interface. */
    if (connect_container(h, n, 0, NULL, &again, err) < 0)
        return -1;
    EXPECT(!link_index(a.veth) && link_index(again.veth) && ip_equal(&again.ipv4, &a.ipv4));
    endpoint_release(&again);
    EXPECT(network_remove(&h->paths, "net", &e) < 0 && e.kind == ERR_CONFLICT);
    EXPECT(strstr(e.msg, "shop-web-1") && strstr(e.msg, "shop-db-1"));
    /* The lowest free address is given again. */
    if (network_disconnect(&h->paths, "net", ids[0], err) < 0 ||
        netns_remove(h->pins[0], err) < 0 || connect_container(h, n, 0, NULL, &again, err) < 0)
        return -1;
    EXPECT(ip_equal(&again.ipv4, &a.ipv4));
    if (network_disconnect(&h->paths, "net", ids[0], err) < 0 ||
        network_disconnect(&h->paths, "net", ids[0], err) < 0)
        return -1;
    /* One whose namespace is gone is in nobody's way. */
    if (netns_remove(h->pins[1], err) < 0 || network_remove(&h->paths, "net", err) < 0)
        return -1;
    EXPECT(!link_index(again.veth) && !link_index(b.veth));
    endpoint_release(&a);
    endpoint_release(&b);
    endpoint_release(&again);
    network_state_free(n);
    return 0;
}

static void test_endpoints_take_and_give_back_addresses(void **state)
{
    run_body(state, endpoints);
}

/* Ports and names, on one loop: libuv's workers stay in the namespace where they first ran. */

struct waiting {
    bool done;
    char *failure;
    uint16_t port;
};

static void on_published(void *arg, const struct port_binding *b, size_t n, struct err *err)
{
    struct waiting *w = arg;
    w->done = true;
    w->failure = err ? xstrdup(err->msg) : NULL;
    w->port = n ? b[0].published : 0;
}

static void on_opened(void *arg, struct err *err)
{
    on_published(arg, NULL, 0, err);
}

static void on_done(void *arg)
{
    ((struct waiting *)arg)->done = true;
}

static bool wait_for(uv_loop_t *loop, struct waiting *w)
{
    for (int64_t end = time_monotonic() + INT64_C(10000000000); !w->done && time_monotonic() < end;)
        uv_run(loop, UV_RUN_ONCE);
    return w->done;
}

struct opening {
    int type;
    const char *address;
    uint16_t port;
    bool listen;
    int fd;
};

static int open_socket(void *arg, struct err *err)
{
    struct opening *o = arg;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(o->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(o->port)};
    bool six = strchr(o->address, ':') != NULL;
    if (inet_pton(six ? AF_INET6 : AF_INET, o->address,
                  six ? (void *)&in6.sin6_addr : (void *)&in.sin_addr) != 1)
        return err_set(err, ERR_INVALID, "address");
    const struct sockaddr *addr = six ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
    socklen_t len = six ? sizeof(in6) : sizeof(in);
    o->fd = socket(addr->sa_family, o->type | SOCK_CLOEXEC, 0);
    if (o->fd < 0 || (o->listen ? bind(o->fd, addr, len) : connect(o->fd, addr, len)) < 0 ||
        (o->listen && (o->type & SOCK_STREAM) && listen(o->fd, 8) < 0))
        return err_sys(err, errno, "%s %s:%u", o->listen ? "bind" : "connect to", o->address,
                       o->port);
    struct timeval limit = {.tv_sec = 5};
    setsockopt(o->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return 0;
}

/* From the host to the port, and back out of the container's server. */
static int reaches(uv_loop_t *loop, int server, const char *address, uint16_t port, struct err *err)
{
    struct opening o = {.type = SOCK_STREAM, .address = address, .port = port};
    char buf[8] = "";
    if (open_socket(&o, err) < 0)
        return -1;
    int client AUTOCLOSE = o.fd;
    EXPECT(send(client, "hello", 5, 0) == 5);
    int got AUTOCLOSE = -1;
    for (int i = 0; i < 500 && got < 0; i++) {
        uv_run(loop, UV_RUN_NOWAIT);
        got = accept4(server, NULL, NULL, SOCK_CLOEXEC);
        usleep(2000);
    }
    EXPECT(got >= 0);
    for (int i = 0; i < 500 && !buf[0]; i++) {
        uv_run(loop, UV_RUN_NOWAIT);
        recv(got, buf, 5, MSG_DONTWAIT);
        usleep(2000);
    }
    EXPECT(streq(buf, "hello"));
    return 0;
}

static int publish(struct port_publisher *p, uv_loop_t *loop, int which, uint16_t port,
                   struct waiting *w)
{
    struct port_spec spec = {.published = port, .target = 80, .protocol = "tcp"};
    struct port_request r = {
        .network = "net", .container_id = ids[which], .ports = &spec, .ports_n = 1};
    *w = (struct waiting){0};
    port_publish(p, &r, on_published, w);
    return wait_for(loop, w) ? 0 : -1;
}

static int check_ports(struct host *h, uv_loop_t *loop, struct err *err)
{
    struct port_publisher *p = port_publisher_new(loop, &h->paths);
    struct waiting w;
    struct opening server = {
        .type = SOCK_STREAM | SOCK_NONBLOCK, .address = "0.0.0.0", .port = 80, .listen = true};
    if (netns_run_at(h->pins[0], open_socket, &server, err) < 0)
        return -1;
    EXPECT(publish(p, loop, 0, 0, &w) == 0 && !w.failure && w.port);
    uint16_t port = w.port;
    if (reaches(loop, server.fd, "127.0.0.1", port, err) < 0 || /* by the kernel */
        reaches(loop, server.fd, "10.66.0.1", port, err) < 0 ||
        reaches(loop, server.fd, "::1", port, err) < 0) /* by the relay */
        return -1;
    /* A second one clashes and is told with whom. */
    EXPECT(publish(p, loop, 1, port, &w) == 0 && w.failure);
    EXPECT(strstr(w.failure, "shop-web-1"));
    free(w.failure);
    /* Another publisher, as after a restart, takes over what it finds. */
    w.done = false;
    port_publisher_close(p, on_done, &w);
    EXPECT(wait_for(loop, &w));
    if (reaches(loop, server.fd, "127.0.0.1", port, err) < 0)
        return -1;
    p = port_publisher_new(loop, &h->paths);
    EXPECT(publish(p, loop, 0, port, &w) == 0 && !w.failure && w.port == port);
    if (reaches(loop, server.fd, "::1", port, err) < 0)
        return -1;
    w.done = false;
    port_unpublish(p, ids[0], on_done, &w);
    EXPECT(wait_for(loop, &w));
    struct opening client = {.type = SOCK_STREAM, .address = "127.0.0.1", .port = port};
    struct err refused AUTOERR = ERR_INIT;
    EXPECT(open_socket(&client, &refused) < 0 && refused.errnum == ECONNREFUSED);
    close(client.fd);
    close(server.fd);
    w.done = false;
    port_publisher_close(p, on_done, &w);
    EXPECT(wait_for(loop, &w));
    return 0;
}

/* Asks at 127.0.0.11 from within container a; the answer's length, -1: none. */
static ssize_t ask(struct host *h, uv_loop_t *loop, const char *label, uint8_t type,
                   uint8_t *answer, size_t size)
{
    uint8_t query[64] = {0x12, 0x34, 1, 0, 0, 1};
    size_t len = strlen(label), n = 12;
    query[n++] = (uint8_t)len;
    memcpy(query + n, label, len);
    n += len;
    const uint8_t tail[] = {0, 0, type, 0, 1};
    memcpy(query + n, tail, sizeof(tail));
    n += sizeof(tail);
    struct opening o = {.type = SOCK_DGRAM, .address = "127.0.0.11", .port = 53};
    if (netns_run_at(h->pins[0], open_socket, &o, NULL) < 0)
        return -1;
    int fd AUTOCLOSE = o.fd;
    if (send(fd, query, n, 0) < 0)
        return -1;
    for (int i = 0; i < 2500; i++) {
        uv_run(loop, UV_RUN_NOWAIT);
        ssize_t got = recv(fd, answer, size, MSG_DONTWAIT);
        if (got > 0)
            return got;
        usleep(2000);
    }
    return -1;
}

static int check_names(struct host *h, uv_loop_t *loop, const struct endpoint *b, struct err *err)
{
    char *resolv AUTOFREE = path_join(h->folder, "resolv.conf");
    static const char conf[] = "nameserver 127.0.0.9\n"; /* nobody there: refused at once */
    if (fs_write_atomic(resolv, conf, strlen(conf), 0644, false, err) < 0)
        return -1;
    struct dns_options options = {.resolv_conf = resolv};
    struct dns_server *s = dns_server_new(loop, &options);
    struct dns_zone *z = dns_zone(s, "net");
    const char *networks[] = {"net", NULL};
    struct dns_link link = {"Database", "db"};
    struct dns_view view = {.networks = networks, .links = &link, .links_n = 1};
    struct waiting w = {0};
    struct dns_endpoint *e;
    uint8_t answer[512];
    dns_zone_add_endpoint(z, b);
    dns_endpoint_open(s, ids[0], h->pins[0], &view, on_opened, &w, &e);
    EXPECT(wait_for(loop, &w) && !w.failure);
    ssize_t n = ask(h, loop, "DB", 1, answer, sizeof(answer));
    EXPECT(n > 16 && answer[7] == 1 && memcmp(answer + n - 4, b->ipv4.bytes, 4) == 0);
    n = ask(h, loop, "database", 1, answer, sizeof(answer));
    EXPECT(n > 16 && answer[7] == 1 && memcmp(answer + n - 4, b->ipv4.bytes, 4) == 0);
    n = ask(h, loop, "db", 28, answer, sizeof(answer));
    EXPECT(n > 12 && answer[7] == 0 && (answer[3] & 15) == 0); /* NODATA */
    n = ask(h, loop, "elsewhere", 1, answer, sizeof(answer));
    EXPECT(n > 12 && (answer[3] & 15) == 2); /* SERVFAIL */
    dns_zone_remove(z, ids[1]);
    n = ask(h, loop, "db", 1, answer, sizeof(answer));
    EXPECT(n > 12 && (answer[3] & 15) == 2);
    /* Files of endpoints are names too, also those that come later. */
    char *dir AUTOFREE = network_endpoints_dir(&h->paths, "net");
    if (dns_zone_watch(z, dir, err) < 0)
        return -1;
    n = ask(h, loop, "db", 1, answer, sizeof(answer));
    EXPECT(n > 16 && answer[7] == 1);
    w.done = false;
    dns_server_close(s, on_done, &w);
    EXPECT(wait_for(loop, &w));
    return 0;
}

static int ports_and_names(void *arg, struct err *err)
{
    struct host *h = arg;
    struct network_state *n;
    struct endpoint a, b;
    uv_loop_t loop;
    uv_loop_init(&loop);
    if (loopback_up(err) < 0 || create(h, "net", "10.66.0.0/24", &n, err) < 0 ||
        connect_container(h, n, 0, NULL, &a, err) < 0 ||
        connect_container(h, n, 1, NULL, &b, err) < 0 || check_ports(h, &loop, err) < 0 ||
        check_names(h, &loop, &b, err) < 0)
        return -1;
    EXPECT(uv_loop_close(&loop) == 0);
    endpoint_release(&a);
    endpoint_release(&b);
    network_state_free(n);
    if (network_disconnect(&h->paths, "net", ids[0], err) < 0 ||
        network_disconnect(&h->paths, "net", ids[1], err) < 0 ||
        network_remove(&h->paths, "net", err) < 0)
        return -1;
    EXPECT(tables() == 0);
    return 0;
}

static void test_ports_are_published_and_names_resolve(void **state)
{
    run_body(state, ports_and_names);
}

static void test_the_kernel_has_what_it_takes(void **state)
{
    struct host *h = *state;
    struct check_result *results;
    size_t n;
    network_check(&h->paths, &results, &n);
    assert_true(n >= 8);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(results[i].detail);
        assert_true(results[i].level == CHECK_OK || results[i].remedy);
        if (i < 4 && results[i].level != CHECK_OK)
            fail_msg("%s: %s", results[i].name, results[i].detail);
    }
    network_check_free(results, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_network_is_made_mended_and_removed, make_host,
                                        remove_host),
        cmocka_unit_test_setup_teardown(test_conflicts_are_named, make_host, remove_host),
        cmocka_unit_test_setup_teardown(test_endpoints_take_and_give_back_addresses, make_host,
                                        remove_host),
        cmocka_unit_test_setup_teardown(test_ports_are_published_and_names_resolve, make_host,
                                        remove_host),
        cmocka_unit_test_setup_teardown(test_the_kernel_has_what_it_takes, make_host, remove_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
