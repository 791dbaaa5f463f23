#include "net/network.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "net/endpoint.h"
#include "net/firewall.h"
#include "net/forwarding.h"
#include "net/link.h"
#include "net/netns.h"
#include "net/nft.h"
#include "net/plan.h"
#include "net/store.h"
#include "net/sysctl.h"
#include "net/teardown.h"

uint32_t network_group(const struct network_state *n)
{
    char digits[9];
    snprintf(digits, sizeof(digits), "%.8s", n->id);
    return NETWORK_GROUP_FIRST | ((uint32_t)strtoul(digits, NULL, 16) & UINT32_C(0x3fffffff));
}

void network_config_of(const struct network *model, const char *project, struct network_config *c)
{
    *c = (struct network_config){
        .name = model->name,
        .driver = model->driver,
        .project = project,
        .key = model->key,
        .pools = model->pools,
        .pools_n = model->pools_n,
        .driver_opts = model->driver_opts,
        .labels = model->labels,
        .internal = model->internal,
        .attachable = model->attachable,
        .enable_ipv4 = model->enable_ipv4,
        .enable_ipv6 = model->enable_ipv6,
        .definition = model->node,
    };
}

bool network_has_interfaces(const struct network_state *n)
{
    return n->driver == NETWORK_BRIDGE || n->driver == NETWORK_MACVLAN;
}

/* "host" and "none" are on every machine. */
static struct network_state *predefined(const char *name)
{
    if (!streq(name, "host") && !streq(name, "none"))
        return NULL;
    struct network_state *n = xcalloc(1, sizeof(*n));
    n->name = xstrdup(name);
    n->id = xmalloc(65);
    memset(n->id, '0', 64);
    n->id[63] = streq(name, "host") ? '1' : '2';
    n->id[64] = '\0';
    n->driver = streq(name, "host") ? NETWORK_HOST : NETWORK_NONE;
    n->labels = json_object();
    n->options = json_object();
    return n;
}

int network_load(const struct paths *paths, const char *name, struct network_state **out,
                 struct err *err)
{
    *out = predefined(name);
    return *out ? 0 : store_network_load(paths, name, out, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct network_state *const *)a)->name,
                  (*(struct network_state *const *)b)->name);
}

int network_list(const struct paths *paths, struct network_state ***out, struct err *err)
{
    char *path AUTOFREE = store_networks_dir(paths);
    size_t n = 0;
    *out = xcalloc(1, sizeof(**out));
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir) {
        network_list_free(STEAL(*out));
        return err_sys(err, errno, "read %s", path);
    }
    for (struct dirent *d; (d = readdir(dir));) {
        struct network_state *state;
        if (d->d_name[0] == '.' || store_network_load(paths, d->d_name, &state, NULL) < 0)
            continue;
        *out = xrealloc(*out, (n + 2) * sizeof(**out));
        (*out)[n++] = state;
        (*out)[n] = NULL;
    }
    closedir(dir);
    qsort(*out, n, sizeof(**out), by_name);
    return 0;
}

void network_list_free(struct network_state **list)
{
    for (struct network_state **p = list; p && *p; p++)
        network_state_free(*p);
    free(list);
}

/* Making it real: each step finds out what is there already. */

static int make_bridge(const struct network_state *n, struct netlink *nl, bool *made,
                       struct err *err)
{
    *made = !link_index(n->bridge);
    if (*made) {
        uint8_t mac[6];
        if (getrandom(mac, sizeof(mac), 0) != sizeof(mac))
            return err_sys(err, errno, "choose a MAC address");
        mac[0] = (uint8_t)((mac[0] & 0xfe) | 0x02); /* unicast, locally administered */
        link_add_bridge(nl, n->bridge, mac, n->mtu, network_group(n));
        netlink_tolerate(nl, EEXIST, 0);
        if (netlink_commit(nl, err) < 0)
            return -1;
    }
    return 0;
}

static void set_interface(const char *bridge, const char *family, const char *key,
                          const char *value)
{
    char name[128];
    snprintf(name, sizeof(name), "net/%s/conf/%s/%s", family, bridge, key);
    sysctl_write(name, value, NULL);
}

static int configure_bridge(const struct network_state *n, struct netlink *nl, struct err *err)
{
    int index = link_index(n->bridge);
    if (!index)
        return err_set(err, ERR_NOT_FOUND, "interface %s disappeared", n->bridge);
    /* Published ports on 127.0.0.1: see the table's chain "raw". */
    set_interface(n->bridge, "ipv4", "route_localnet", "1");
    set_interface(n->bridge, "ipv6", "disable_ipv6", n->ipv6 ? "0" : "1");
    set_interface(n->bridge, "ipv6", "accept_ra", "0");
    for (size_t i = 0; i < n->subnets_n; i++) {
        const struct network_subnet *s = &n->subnets[i];
        struct ip_net addr = {.addr = s->gateway, .prefix = s->subnet.prefix};
        if (s->gateway.family)
            link_add_address(nl, index, &addr);
    }
    link_set_up(nl, index);
    return netlink_commit(nl, err);
}

static int make_table(const struct paths *paths, const struct network_state *n, struct err *err)
{
    struct endpoint *endpoints = NULL;
    size_t count = 0, ports_n = 0;
    if (nft_network_exists(n))
        return 0;
    if (network_endpoints(paths, n->name, &endpoints, &count, err) < 0)
        return -1;
    struct nft_port *ports = NULL;
    for (size_t i = 0; i < count; i++) {
        endpoint_ports(&endpoints[i], &ports, &ports_n);
        endpoint_release(&endpoints[i]);
    }
    free(endpoints);
    int r = nft_network_apply(n, ports, ports_n, err);
    free(ports);
    return r;
}

/* Puts the interfaces of containers that run already into a bridge that was made anew. */
static int reattach(const struct paths *paths, const struct network_state *n, struct netlink *nl,
                    struct err *err)
{
    struct endpoint *endpoints = NULL;
    size_t count = 0;
    int bridge = link_index(n->bridge), r = 0;
    if (network_endpoints(paths, n->name, &endpoints, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        int veth = endpoints[i].veth ? link_index(endpoints[i].veth) : 0;
        if (veth && r == 0) {
            link_set_master(nl, veth, bridge);
            link_set_port(nl, veth, true, !n->icc);
            r = netlink_commit(nl, err);
        }
        endpoint_release(&endpoints[i]);
    }
    free(endpoints);
    return r;
}

static int realise(const struct paths *paths, struct network_state *n, struct err *err)
{
    struct netlink nl AUTONETLINK = {0};
    bool made = false;
    if (n->driver != NETWORK_BRIDGE)
        return 0;
    if (!n->internal && forwarding_enable(paths, n->ipv6, &n->enabled_forwarding, err) < 0)
        return -1;
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0 || make_bridge(n, &nl, &made, err) < 0 ||
        configure_bridge(n, &nl, err) < 0)
        return -1;
    if (make_table(paths, n, err) < 0)
        return -1;
    if (!n->internal && firewall_admit(n, &n->warning, err) < 0)
        return -1;
    return made && !n->made ? reattach(paths, n, &nl, err) : 0;
}

static int remove_tables(const struct network_state *n, struct err *err)
{
    char table[NFT_TABLE_MAX];
    struct strbuf commands AUTOBUF = STRBUF_INIT;
    /* All in one transaction: the kernel waits for a grace period for each that deletes something. */
    nft_table_name(n, table);
    strbuf_addf(&commands, "add table inet %s\ndelete table inet %s\n", table, table);
    firewall_withdraw(n, &commands);
    if (nft_run(commands.buf, NULL, NULL) == 0)
        return 0;
    /* Somebody changed the other firewall's rules in between: ours go all the same. */
    return nft_network_delete(n, err);
}

/* Takes away what realise() made; what is not there is fine. */
static int unrealise(const struct network_state *n, struct err *err)
{
    if (n->driver != NETWORK_BRIDGE)
        return 0;
    struct teardown *links = teardown_start(network_group(n));
    int r = remove_tables(n, err);
    return teardown_finish(links, n->bridge, r < 0 ? NULL : err) < 0 ? -1 : r;
}

static int forget(const struct paths *paths, const char *name, struct err *err)
{
    char *dir AUTOFREE = paths_network(paths, name);
    char *run AUTOFREE = paths_network_run(paths, name);
    char *file AUTOFREE = path_join(dir, "network.json");
    /* The file first: what is left of a folder without it is no network. */
    if (unlink(file) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove %s", file);
    return fs_remove_all(run, err) < 0 || fs_remove_all(dir, err) < 0 ? -1 : 0;
}

/* Subnets are chosen under this root's lock, and the machine's: other roots see each other's
 * networks only as routes of the host, which are there when the bridge is. */
static int lock_pools(const struct paths *paths, int *root_lock, int *machine_lock, struct err *err)
{
    char *dir AUTOFREE = store_networks_dir(paths);
    char *path AUTOFREE = path_join(dir, "lock");
    if (fs_mkdir_p(dir, 0711, err) < 0 || fs_lock(path, true, root_lock, err) < 0)
        return -1;
    if (fs_lock("/run/compose-network.lock", true, machine_lock, NULL) < 0)
        *machine_lock = -1; /* a read-only /run: what is left is the check of the routes */
    return 0;
}

static int create_new(const struct paths *paths, const struct network_config *config,
                      struct network_state **out, struct err *err)
{
    struct network_state *n = NULL;
    if (network_plan(paths, config, &n, err) < 0)
        return -1;
    n->made = true;
    /* Saved before it is made: whatever happens now, the next up mends it and down removes it. */
    if (store_network_save(paths, n, err) == 0 && realise(paths, n, err) == 0) {
        *out = n;
        return 0;
    }
    if (unrealise(n, NULL) == 0)
        forget(paths, n->name, NULL);
    network_state_free(n);
    return -1;
}

/* Endpoints whose namespace is gone, after a reboot or a kill at a bad moment, give back what they hold. */
static void sweep(const struct paths *paths, const char *name)
{
    struct endpoint *endpoints = NULL;
    size_t n = 0;
    store_addresses_sweep(paths, name);
    if (network_endpoints(paths, name, &endpoints, &n, NULL) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        struct endpoint *e = &endpoints[i];
        /* A pin may also lie in a mount namespace that is not ours: the interface has the last word. */
        if (e->netns && !netns_exists(e->netns) && (!e->veth || !link_index(e->veth)))
            network_disconnect(paths, name, e->container_id, NULL);
        endpoint_release(e);
    }
    free(endpoints);
}

int network_create(const struct paths *paths, const struct network_config *config,
                   struct network_state **out, struct err *err)
{
    int root_lock AUTOCLOSE = -1, machine_lock AUTOCLOSE = -1;
    struct err missing AUTOERR = ERR_INIT;
    struct network_state *n = NULL;
    *out = predefined(config->name);
    if (*out)
        return 0;
    if (lock_pools(paths, &root_lock, &machine_lock, err) < 0)
        return err_wrap(err, "network %s", config->name);
    int r = store_network_load(paths, config->name, &n, &missing);
    if (r < 0 && missing.kind != ERR_NOT_FOUND && missing.kind != ERR_CORRUPT) {
        err_move(err, &missing);
        return -1;
    }
    if (r < 0)
        return create_new(paths, config, out, err) < 0
                   ? err_wrap(err, "create network %s", config->name)
                   : 0;
    sweep(paths, n->name);
    if (realise(paths, n, err) < 0) {
        network_state_free(n);
        return err_wrap(err, "network %s", config->name);
    }
    *out = n;
    return 0;
}

int network_repair(const struct paths *paths, const char *name, struct err *err)
{
    int root_lock AUTOCLOSE = -1, machine_lock AUTOCLOSE = -1;
    struct network_state *n = NULL;
    if (streq(name, "host") || streq(name, "none"))
        return 0;
    if (lock_pools(paths, &root_lock, &machine_lock, err) < 0 ||
        store_network_load(paths, name, &n, err) < 0)
        return -1;
    int r = realise(paths, n, err);
    network_state_free(n);
    return r;
}

/* ERR_CONFLICT with the names of the containers whose namespaces are alive. */
static int refuse_in_use(const struct paths *paths, const char *name, struct err *err)
{
    struct endpoint *endpoints = NULL;
    size_t count = 0, alive = 0;
    struct strbuf who AUTOBUF = STRBUF_INIT;
    if (network_endpoints(paths, name, &endpoints, &count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct endpoint *e = &endpoints[i];
        if (!e->netns || netns_exists(e->netns))
            strbuf_addf(&who, "%s%s", alive++ ? ", " : "",
                        e->container_name ? e->container_name : e->container_id);
        endpoint_release(e);
    }
    free(endpoints);
    if (!alive)
        return 0;
    return err_set(err, ERR_CONFLICT, "network %s is in use by container%s %s", name,
                   alive > 1 ? "s" : "", who.buf);
}

static bool no_networks_left(const struct paths *paths)
{
    struct network_state **list = NULL;
    if (network_list(paths, &list, NULL) < 0)
        return false;
    bool none = !list[0];
    network_list_free(list);
    return none;
}

int network_remove(const struct paths *paths, const char *name, struct err *err)
{
    int root_lock AUTOCLOSE = -1, machine_lock AUTOCLOSE = -1;
    struct network_state *n = NULL;
    if (streq(name, "host") || streq(name, "none"))
        return err_set(err, ERR_CONFLICT, "network %s is part of the machine", name);
    if (lock_pools(paths, &root_lock, &machine_lock, err) < 0)
        return -1;
    if (store_network_load(paths, name, &n, err) < 0)
        return -1;
    int r = refuse_in_use(paths, name, err);
    if (r == 0)
        r = unrealise(n, err);
    if (r == 0)
        r = forget(paths, name, err);
    network_state_free(n);
    if (r == 0 && no_networks_left(paths))
        forwarding_restore(paths);
    return r;
}
