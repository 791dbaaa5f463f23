#include "net/endpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "net/link.h"
#include "net/netns.h"
#include "net/plan.h"
#include "net/store.h"
#include "net/sysctl.h"

/* Ports in the endpoint's file. */

void endpoint_ports(const struct endpoint *e, struct nft_port **ports, size_t *n)
{
    size_t i;
    json_t *o;
    json_array_foreach (e->ports, i, o) {
        struct nft_port p = {.published = (uint16_t)jint(o, "published", 0),
                             .target_port = (uint16_t)jint(o, "target", 0)};
        snprintf(p.protocol, sizeof(p.protocol), "%s", jstr(o, "protocol", "tcp"));
        if (!ip_parse(jstr(o, "host", ""), &p.host) ||
            !ip_parse(jstr(o, "address", ""), &p.target) || !p.published || !p.target_port ||
            p.host.family != p.target.family)
            continue;
        *ports = xrealloc(*ports, (*n + 1) * sizeof(**ports));
        (*ports)[(*n)++] = p;
    }
}

int endpoint_set_ports(const struct paths *paths, const char *network, const char *container_id,
                       const struct nft_port *ports, size_t n, struct err *err)
{
    struct endpoint e;
    char text[IP_TEXT_MAX];
    if (network_endpoint(paths, network, container_id, &e, err) < 0)
        return -1;
    json_decref(e.ports);
    e.ports = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *o = json_object();
        jset_str(o, "protocol", ports[i].protocol);
        jset_str(o, "host", ip_format(&ports[i].host, text));
        jset_str(o, "address", ip_format(&ports[i].target, text));
        json_object_set_new(o, "published", json_integer(ports[i].published));
        json_object_set_new(o, "target", json_integer(ports[i].target_port));
        json_array_append_new(e.ports, o);
    }
    int r = store_endpoint_save(paths, &e, err);
    endpoint_release(&e);
    return r;
}

/* What an endpoint is: names, MAC address, addresses. */

static void add_name(char ***names, const char *name)
{
    if (!name || !*name)
        return;
    char *lower AUTOFREE = xstrdup(name);
    for (char *p = lower; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    for (char **have = *names; have && *have; have++) {
        if (streq(*have, lower))
            return;
    }
    strv_push(names, lower);
}

static char **names_of(const struct endpoint_config *c)
{
    char **names = NULL;
    char id[13];
    snprintf(id, sizeof(id), "%.12s", c->container_id);
    add_name(&names, c->container_name);
    for (size_t i = 0; i < c->aliases.n; i++)
        add_name(&names, c->aliases.v[i]);
    add_name(&names, id);
    if (c->hostname)
        add_name(&names, c->hostname);
    if (c->service && c->project && !c->no_dns_names) {
        char *qualified AUTOFREE = xasprintf("%s.%s", c->service, c->project);
        add_name(&names, qualified);
    }
    return names;
}

static bool parse_mac(const char *text, uint8_t mac[6])
{
    int end = 0;
    return sscanf(text, "%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%n",
                  &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &end) == 6 &&
           text[end] == '\0' && !(mac[0] & 1);
}

/* From the IPv4 address: an address that is given again has the MAC address that neighbours know.
 */
static int choose_mac(const struct endpoint_config *c, struct endpoint *e, uint8_t mac[6],
                      struct err *err)
{
    if (c->mac_address) {
        if (!parse_mac(c->mac_address, mac))
            return err_set(err, ERR_INVALID, "MAC address \"%s\": want 02:42:ac:11:00:02",
                           c->mac_address);
    } else if (e->ipv4.family) {
        mac[0] = 0x02;
        mac[1] = 0x42;
        memcpy(mac + 2, e->ipv4.bytes, 4);
    } else {
        if (getrandom(mac, 6, 0) != 6)
            return err_sys(err, errno, "choose a MAC address");
        mac[0] = (uint8_t)((mac[0] & 0xfe) | 0x02);
    }
    snprintf(e->mac, sizeof(e->mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
    return 0;
}

static int take_wanted(const char *text, int family, struct ip_addr *want, struct err *err)
{
    if (!ip_parse(text, want) || want->family != family)
        return err_set(err, ERR_INVALID, "\"%s\" is not an %s address", text,
                       family == AF_INET ? "IPv4" : "IPv6");
    return 0;
}

/* The address of one family, out of the first subnet that has it (or the wanted address). */
static int take_address(const struct paths *paths, const struct network_state *n, const char *id,
                        const char *wanted, int family, struct ip_addr *out, unsigned *prefix,
                        struct ip_addr *gateway, struct err *err)
{
    struct ip_addr want = {0};
    const struct network_subnet *subnet = NULL;
    if (wanted && take_wanted(wanted, family, &want, err) < 0)
        return -1;
    for (size_t i = 0; i < n->subnets_n; i++) {
        const struct network_subnet *s = &n->subnets[i];
        if (s->subnet.addr.family != family)
            continue;
        if (!subnet || (wanted && ip_net_contains(&s->subnet, &want)))
            subnet = s;
    }
    if (!subnet && wanted)
        return err_set(err, ERR_INVALID, "network %s has no %s subnet for address %s", n->name,
                       family == AF_INET ? "IPv4" : "IPv6", wanted);
    if (!subnet)
        return 0;
    if (store_address_take(paths, n, subnet, id, wanted ? &want : NULL, out, err) < 0) {
        *out = (struct ip_addr){0};
        return -1;
    }
    *prefix = subnet->subnet.prefix;
    if (!n->internal)
        *gateway = subnet->gateway;
    return 0;
}

/* In the kernel. */

struct wiring {
    const struct network_state *network;
    const struct endpoint_config *config;
    struct endpoint *e;
    struct netlink *host; /* opened in the host's namespace, used from within the container's */
    int netns_fd, link;   /* link: of the bridge or of the parent */
    uint8_t mac[6];
};

/* libnetwork/netlabel */
#define OPTION_IFNAME  "com.docker.network.endpoint.ifname"
#define OPTION_SYSCTLS "com.docker.network.endpoint.sysctls"

static const char *driver_opt(const struct endpoint_config *c, const char *key)
{
    for (size_t i = 0; i < c->driver_opts.n; i++)
        if (streq(c->driver_opts.v[i].key, key))
            return c->driver_opts.v[i].value;
    return NULL;
}

static int choose_ifname(struct wiring *w, struct err *err)
{
    const char *wanted = w->config->interface_name ? w->config->interface_name
                                                   : driver_opt(w->config, OPTION_IFNAME);
    if (wanted) {
        if (!*wanted || strlen(wanted) >= IF_NAMESIZE)
            return err_set(err, ERR_INVALID, "interface name \"%s\": want at most 15 characters",
                           wanted);
        if (link_index(wanted))
            return err_set(err, ERR_CONFLICT, "the container has an interface %s already", wanted);
        w->e->ifname = xstrdup(wanted);
        return 0;
    }
    for (int i = 0;; i++) {
        char name[IF_NAMESIZE];
        snprintf(name, sizeof(name), "eth%d", i);
        if (link_index(name))
            continue;
        w->e->ifname = xstrdup(name);
        return 0;
    }
}

static int add_link_locals(struct wiring *w, struct netlink *nl, int index, struct err *err)
{
    const struct strings *ips = &w->config->link_local_ips;
    for (size_t i = 0; i < ips->n; i++) {
        struct ip_net addr;
        if (!ip_parse(ips->v[i], &addr.addr))
            return err_set(err, ERR_INVALID, "link-local address \"%s\" is not an IP address",
                           ips->v[i]);
        addr.prefix = addr.addr.family == AF_INET ? 16 : 64;
        link_add_address(nl, index, &addr);
    }
    return 0;
}

/* "net.ipv4.conf.IFNAME.log_martians=1": the name of the interface, which may have dots itself, stands for IFNAME. */
static int set_sysctl(char *setting, const char *ifname, struct err *err)
{
    char *at = strstr(setting, ".IFNAME."), *value = strchr(setting, '=');
    if (!at || !value || value < at || strchr(setting, '/') || !starts_with(setting, "net."))
        return err_set(err, ERR_INVALID,
                       "invalid endpoint sysctl \"%s\": want net.PROTOCOL.KIND.IFNAME.NAME=VALUE",
                       setting);
    *value++ = *at = '\0';
    for (char *p = setting; p < value - 1; p++)
        if (*p == '.')
            *p = '/';
    char *name AUTOFREE = xasprintf("%s/%s/%s", setting, ifname, at + strlen(".IFNAME."));
    return sysctl_write(name, value, err);
}

static int set_sysctls(const struct wiring *w, struct err *err)
{
    const char *option = driver_opt(w->config, OPTION_SYSCTLS);
    char *list AUTOFREE = xstrdup(option ? option : ""), *save = NULL;
    for (char *s = strtok_r(list, ",", &save); s; s = strtok_r(NULL, ",", &save))
        if (set_sysctl(s, w->e->ifname, err) < 0)
            return -1;
    return 0;
}

static int configure_inside(struct wiring *w, struct err *err)
{
    struct netlink nl AUTONETLINK = {0};
    struct endpoint *e = w->e;
    int index = link_index(e->ifname);
    char name[128];
    snprintf(name, sizeof(name), "net/ipv6/conf/%s/disable_ipv6", e->ifname);
    sysctl_write(name, e->ipv6.family ? "0" : "1", NULL);
    if (!index)
        return err_set(err, ERR_NOT_FOUND, "interface %s disappeared", e->ifname);
    if (set_sysctls(w, err) < 0)
        return -1;
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0)
        return -1;
    link_set_up(&nl, index);
    struct ip_net v4 = {.addr = e->ipv4, .prefix = e->ipv4_prefix};
    struct ip_net v6 = {.addr = e->ipv6, .prefix = e->ipv6_prefix};
    if (e->ipv4.family)
        link_add_address(&nl, index, &v4);
    if (e->ipv6.family)
        link_add_address(&nl, index, &v6);
    if (add_link_locals(w, &nl, index, err) < 0)
        return -1;
    if (w->config->default4 && e->gateway4.family)
        link_add_default_route(&nl, index, &e->gateway4);
    if (w->config->default6 && e->gateway6.family)
        link_add_default_route(&nl, index, &e->gateway6);
    return netlink_commit(&nl, err);
}

static int wire_inside(void *arg, struct err *err)
{
    struct wiring *w = arg;
    if (choose_ifname(w, err) < 0)
        return -1;
    if (w->e->veth)
        link_add_veth(w->host, w->e->veth, w->link, w->e->ifname, w->netns_fd, w->mac,
                      w->network->mtu, network_group(w->network));
    else
        link_add_macvlan(w->host, w->link, w->e->ifname, w->netns_fd, w->mac, w->network->mtu,
                         plan_macvlan_mode(w->network));
    if (netlink_commit(w->host, err) < 0)
        return -1;
    return configure_inside(w, err);
}

static int wire(struct wiring *w, struct err *err)
{
    struct netlink host AUTONETLINK = {0};
    struct stat st;
    const char *link = w->network->bridge ? w->network->bridge : w->network->parent;
    int netns AUTOCLOSE = open(w->config->netns, O_RDONLY | O_CLOEXEC);
    if (netns < 0)
        return err_sys(err, errno, "open network namespace %s", w->config->netns);
    if (fstat(netns, &st) == 0)
        w->e->netns_inode = st.st_ino;
    w->link = link_index(link);
    if (!w->link)
        return err_set(err, ERR_NOT_FOUND, "its interface %s is missing", link);
    w->netns_fd = netns;
    w->host = &host;
    if (netlink_open(&host, NETLINK_ROUTE, err) < 0)
        return -1;
    if (netns_run(netns, wire_inside, w, err) < 0) {
        if (w->e->veth)
            link_delete(&host, w->e->veth);
        netlink_commit(&host, NULL);
        return -1;
    }
    if (!w->e->veth)
        return 0;
    /* Hairpin: a container reaches a port that it publishes itself by the host's address. */
    link_set_port(&host, link_index(w->e->veth), true, !w->network->icc);
    return netlink_commit(&host, err);
}

/* Connect. */

static void fill(const struct network_state *n, const struct endpoint_config *c, struct endpoint *e)
{
    *e = (struct endpoint){
        .container_id = xstrdup(c->container_id),
        .container_name = xstrdup(c->container_name),
        .project = c->project ? xstrdup(c->project) : NULL,
        .service = c->service ? xstrdup(c->service) : NULL,
        .network = xstrdup(n->name),
        .netns = c->netns ? xstrdup(c->netns) : NULL,
        .names = names_of(c),
    };
    if (n->driver == NETWORK_BRIDGE) {
        char digits[9];
        random_hex(4, digits);
        e->veth = xasprintf("veth%.7s", digits);
    }
}

static int connect_new(const struct paths *paths, const struct network_state *n,
                       const struct endpoint_config *c, struct endpoint *e, struct err *err)
{
    struct wiring w = {.network = n, .config = c, .e = e};
    fill(n, c, e);
    if (take_address(paths, n, c->container_id, c->ipv4_address, AF_INET, &e->ipv4, &e->ipv4_prefix,
                     &e->gateway4, err) < 0 ||
        take_address(paths, n, c->container_id, c->ipv6_address, AF_INET6, &e->ipv6,
                     &e->ipv6_prefix, &e->gateway6, err) < 0 ||
        choose_mac(c, e, w.mac, err) < 0)
        return -1;
    /* Before and after: whoever is killed in between has left word of the interface. */
    if (store_endpoint_save(paths, e, err) < 0 || wire(&w, err) < 0)
        return -1;
    return store_endpoint_save(paths, e, err);
}

/* Half of a start that was killed: the interface may still be there, but it dies with another namespace
 * than the one of now, however alike their names. */
static void remove_earlier(const struct paths *paths, const char *network, const char *container_id)
{
    struct endpoint e;
    struct netlink nl AUTONETLINK = {0};
    if (network_endpoint(paths, network, container_id, &e, NULL) < 0)
        return;
    if (e.veth && link_index(e.veth) && netlink_open(&nl, NETLINK_ROUTE, NULL) == 0) {
        link_delete(&nl, e.veth);
        netlink_commit(&nl, NULL);
    }
    network_disconnect(paths, network, container_id, NULL);
    endpoint_release(&e);
}

int network_connect(const struct paths *paths, const struct network_state *network,
                    const struct endpoint_config *config, struct endpoint *e, struct err *err)
{
    if (!network_has_interfaces(network)) {
        fill(network, config, e);
        return 0;
    }
    *e = (struct endpoint){0};
    remove_earlier(paths, network->name, config->container_id);
    if (connect_new(paths, network, config, e, err) == 0)
        return 0;
    char *file AUTOFREE = store_endpoint_path(paths, network->name, config->container_id);
    unlink(file);
    store_address_drop(paths, network->name, &e->ipv4, config->container_id);
    store_address_drop(paths, network->name, &e->ipv6, config->container_id);
    endpoint_release(e);
    return err_wrap(err, "connect %s to network %s", config->container_name, network->name);
}

static int delete_inside(void *arg, struct err *err)
{
    struct netlink nl AUTONETLINK = {0};
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0)
        return -1;
    link_delete(&nl, arg);
    return netlink_commit(&nl, err);
}

/* The interface dies with its namespace; until then, however short, it must not answer for an
 * address that somebody else may be given now. A macvlan one has no end out here. */
static void silence(const struct endpoint *e)
{
    struct netlink nl AUTONETLINK = {0};
    struct stat st;
    int index = e->veth ? link_index(e->veth) : 0;
    if (!e->veth && e->ifname && e->netns && stat(e->netns, &st) == 0 &&
        st.st_ino == e->netns_inode)
        netns_run_at(e->netns, delete_inside, e->ifname, NULL);
    if (!index || netlink_open(&nl, NETLINK_ROUTE, NULL) < 0)
        return;
    link_disable_port(&nl, index);
    netlink_commit(&nl, NULL);
}

int network_disconnect(const struct paths *paths, const char *network, const char *container_id,
                       struct err *err)
{
    struct endpoint e;
    struct err missing AUTOERR = ERR_INIT;
    char *path AUTOFREE = store_endpoint_path(paths, network, container_id);
    if (network_endpoint(paths, network, container_id, &e, &missing) < 0) {
        if (missing.kind == ERR_CORRUPT)
            unlink(path);
        return 0;
    }
    struct nft_port *ports = NULL;
    size_t ports_n = 0;
    endpoint_ports(&e, &ports, &ports_n);
    struct network_state *n = NULL;
    if (ports_n && store_network_load(paths, network, &n, NULL) == 0)
        nft_ports_remove(n, ports, ports_n, NULL);
    network_state_free(n);
    free(ports);
    silence(&e);
    int r = unlink(path) < 0 && errno != ENOENT ? err_sys(err, errno, "remove %s", path) : 0;
    /* The addresses last: whoever takes them finds nothing of ours. */
    store_address_drop(paths, network, &e.ipv4, container_id);
    store_address_drop(paths, network, &e.ipv6, container_id);
    endpoint_release(&e);
    return r;
}

int network_disconnect_all(const struct paths *paths, const char *container_id, struct err *err)
{
    char *dir AUTOFREE = path_join(paths->run, "networks");
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", dir);
    int r = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        char *path AUTOFREE = store_endpoint_path(paths, entry->d_name, container_id);
        if (entry->d_name[0] != '.' && fs_exists(path) &&
            network_disconnect(paths, entry->d_name, container_id, r < 0 ? NULL : err) < 0)
            r = -1;
    }
    closedir(d);
    return r;
}

static bool is_better_gateway(const struct network_state *a, int64_t a_priority,
                              const struct network_state *b, int64_t b_priority)
{
    bool a_both = a->ipv4 && a->ipv6, b_both = b->ipv4 && b->ipv6;
    if (a_priority != b_priority)
        return a_priority > b_priority;
    return a_both != b_both ? a_both : strcmp(a->name, b->name) < 0;
}

struct network_gateways network_pick_gateways(const struct network_state *const *networks,
                                              const int64_t *gw_priority, size_t n)
{
    struct network_gateways best = {-1, -1};
    for (size_t i = 0; i < n; i++) {
        const struct network_state *s = networks[i];
        if (!network_has_interfaces(s) || s->internal)
            continue;
        if (s->ipv4 && (best.ipv4 < 0 || is_better_gateway(s, gw_priority[i], networks[best.ipv4],
                                                           gw_priority[best.ipv4])))
            best.ipv4 = (int)i;
        if (s->ipv6 && (best.ipv6 < 0 || is_better_gateway(s, gw_priority[i], networks[best.ipv6],
                                                           gw_priority[best.ipv6])))
            best.ipv6 = (int)i;
    }
    return best;
}
