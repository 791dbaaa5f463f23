#include "net/plan.h"

#include <ctype.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "model/node_json.h"
#include "net/link.h"
#include "net/pool.h"
#include "net/store.h"

/* What is in use on the machine: routes and addresses, name servers, and networks of this root
 * whose bridges may not be there at the moment. */
struct survey {
    VEC(struct pool_taken) taken;   /* for subnets that we choose */
    VEC(struct pool_taken) refused; /* for subnets that the user chooses: what would really clash */
};

static void survey_release(struct survey *s)
{
    vec_foreach (&s->taken, t)
        free(t->what);
    vec_foreach (&s->refused, t)
        free(t->what);
    vec_release(&s->taken);
    vec_release(&s->refused);
}

static void survey_add(struct survey *s, const struct ip_net *net, const char *what, bool refuse)
{
    vec_push(&s->taken, (struct pool_taken){.net = *net, .what = xstrdup(what)});
    if (refuse)
        vec_push(&s->refused, (struct pool_taken){.net = *net, .what = xstrdup(what)});
}

/* clash: a subnet that the user chooses must be none of them. */
static int survey_routes(struct survey *s, bool clash, struct err *err)
{
    struct netlink nl AUTONETLINK = {0};
    struct host_route *routes = NULL;
    size_t n = 0;
    if (netlink_open(&nl, NETLINK_ROUTE, err) < 0 || link_host_routes(&nl, &routes, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct host_route *r = &routes[i];
        char net[IP_TEXT_MAX], what[IP_TEXT_MAX + 64], dev[IF_NAMESIZE] = "(no interface)";
        /* 0.0.0.0/1 and 128.0.0.0/1 are how VPNs write a default route. */
        if (r->dst.prefix < 8)
            continue;
        if (r->ifindex)
            if_indextoname((unsigned)r->ifindex, dev);
        snprintf(what, sizeof(what), "%s %s on %s", r->local ? "address" : "route",
                 ip_net_format(&r->dst, net), dev);
        survey_add(s, &r->dst, what, clash);
    }
    free(routes);
    return 0;
}

static void survey_nameservers(struct survey *s)
{
    char *text AUTOFREE = NULL;
    if (fs_read("/etc/resolv.conf", 64 * 1024, &text, NULL, NULL) < 0)
        return;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char addr[IP_TEXT_MAX], what[IP_TEXT_MAX + 32];
        struct ip_net net;
        if (sscanf(line, " nameserver %63s", addr) != 1 || !ip_parse(addr, &net.addr))
            continue;
        net.prefix = ip_size(&net.addr) * 8;
        snprintf(what, sizeof(what), "name server %s", addr);
        survey_add(s, &net, what, false);
    }
}

static int survey_networks(const struct paths *paths, struct survey *s, struct err *err)
{
    struct network_state **list = NULL;
    if (network_list(paths, &list, err) < 0)
        return -1;
    for (struct network_state **p = list; *p; p++) {
        for (size_t i = 0; i < (*p)->subnets_n; i++) {
            char net[IP_TEXT_MAX];
            char *what AUTOFREE = xasprintf("network %s (%s)", (*p)->name,
                                            ip_net_format(&(*p)->subnets[i].subnet, net));
            survey_add(s, &(*p)->subnets[i].subnet, what, true);
        }
    }
    network_list_free(list);
    return 0;
}

static int survey_machine(const struct paths *paths, struct survey *s, bool routes_clash,
                          struct err *err)
{
    /* Networks first: of a network and its route, the network's name says more. */
    if (survey_networks(paths, s, err) < 0)
        return -1;
    survey_nameservers(s);
    return survey_routes(s, routes_clash, err);
}

/* A subnet that the user names may lie inside a larger route to elsewhere (a company's 10.0.0.0/8), which
 * it then overrides; not inside a network that the host itself is in. */
static int refuse_conflict(const struct survey *s, const struct ip_net *subnet, struct err *err)
{
    char text[IP_TEXT_MAX];
    for (size_t i = 0; i < s->refused.n; i++) {
        const struct pool_taken *t = &s->refused.v[i];
        bool route = starts_with(t->what, "route ");
        if (!ip_net_overlaps(&t->net, subnet) || (route && t->net.prefix < subnet->prefix))
            continue;
        return err_set(err, ERR_CONFLICT, "subnet %s overlaps %s", ip_net_format(subnet, text),
                       t->what);
    }
    return 0;
}

/* Subnets. */

static int choose_subnet(const struct network_config *config, const struct survey *s, int family,
                         struct ip_net *out, struct err *err)
{
    if (family == AF_INET6)
        return pool_pick_ula(s->taken.v, s->taken.n, out, err);
    const char *env = getenv("COMPOSE_ADDRESS_POOLS");
    char **own AUTOSTRV = !config->address_pools && env && *env ? pool_split(env) : NULL;
    const char *const *pools = config->address_pools ? config->address_pools : pool_defaults;
    if (own && own[0])
        pools = (const char *const *)own;
    return pool_pick(pools, s->taken.v, s->taken.n, out, err);
}

static int take_addr(const char *text, const char *what, const struct ip_net *subnet,
                     struct ip_addr *out, struct err *err)
{
    char net[IP_TEXT_MAX];
    if (!ip_parse(text, out))
        return err_set(err, ERR_INVALID, "%s \"%s\" is not an IP address", what, text);
    if (!ip_net_contains(subnet, out))
        return err_set(err, ERR_INVALID, "%s %s is not in the subnet %s", what, text,
                       ip_net_format(subnet, net));
    return 0;
}

static int take_aux(const struct ipam_pool *pool, struct network_subnet *s, struct err *err)
{
    s->aux = xcalloc(pool->aux_addresses.n + 1, sizeof(*s->aux));
    for (size_t i = 0; i < pool->aux_addresses.n; i++) {
        const struct key_value *kv = &pool->aux_addresses.v[i];
        struct network_aux *a = &s->aux[s->aux_n];
        if (take_addr(kv->value ? kv->value : "", "auxiliary address", &s->subnet, &a->addr, err) <
            0)
            return -1;
        a->name = xstrdup(kv->key);
        s->aux_n++;
    }
    return 0;
}

/* Docker's choice: the first address of the range that is not the subnet's own. */
static int choose_gateway(struct network_subnet *s, struct err *err)
{
    char text[IP_TEXT_MAX];
    bool point_to_point = s->subnet.prefix + 1 >= ip_size(&s->subnet.addr) * 8;
    s->gateway = s->range.addr;
    for (;;) {
        bool free_ = point_to_point || !ip_equal(&s->gateway, &s->subnet.addr);
        for (size_t i = 0; i < s->aux_n; i++)
            free_ &= !ip_equal(&s->gateway, &s->aux[i].addr);
        if (free_)
            return 0;
        if (!ip_add(&s->gateway, 1, &s->gateway) || !ip_net_contains(&s->range, &s->gateway))
            return err_set(err, ERR_INVALID, "subnet %s has no room for a gateway",
                           ip_net_format(&s->subnet, text));
    }
}

static int plan_subnet(const struct ipam_pool *pool, const struct survey *survey,
                       struct network_subnet *s, struct err *err)
{
    struct ip_net given;
    char text[IP_TEXT_MAX];
    if (!ip_net_parse(pool->subnet, &given))
        return err_set(err, ERR_INVALID, "subnet \"%s\": want ADDRESS/PREFIX", pool->subnet);
    s->subnet = ip_net_masked(&given);
    if (refuse_conflict(survey, &s->subnet, err) < 0)
        return -1;
    s->range = s->subnet;
    if (pool->ip_range) {
        if (!ip_net_parse(pool->ip_range, &given))
            return err_set(err, ERR_INVALID, "ip_range \"%s\": want ADDRESS/PREFIX",
                           pool->ip_range);
        s->range = ip_net_masked(&given);
        if (s->range.prefix < s->subnet.prefix || !ip_net_contains(&s->subnet, &s->range.addr))
            return err_set(err, ERR_INVALID, "ip_range %s is not in the subnet %s", pool->ip_range,
                           ip_net_format(&s->subnet, text));
    }
    if (take_aux(pool, s, err) < 0)
        return -1;
    if (pool->gateway)
        return take_addr(pool->gateway, "gateway", &s->subnet, &s->gateway, err);
    return choose_gateway(s, err);
}

static int plan_subnets(const struct network_config *config, struct survey *survey,
                        struct network_state *n, struct err *err)
{
    bool have4 = false, have6 = false;
    n->subnets = xcalloc(config->pools_n + 2, sizeof(*n->subnets));
    for (size_t i = 0; i < config->pools_n; i++) {
        if (!config->pools[i].subnet)
            continue;
        struct network_subnet *s = &n->subnets[n->subnets_n++];
        if (plan_subnet(&config->pools[i], survey, s, err) < 0)
            return -1;
        char *what AUTOFREE = xasprintf("network %s (%s)", n->name, config->pools[i].subnet);
        survey_add(survey, &s->subnet, what, true);
        have4 |= s->subnet.addr.family == AF_INET;
        have6 |= s->subnet.addr.family == AF_INET6;
    }
    if (config->enable_ipv6 == UNSET && have6)
        n->ipv6 = true;
    for (int six = 0; six < 2; six++) {
        if (six ? have6 || !n->ipv6 : have4 || !n->ipv4)
            continue;
        struct network_subnet *s = &n->subnets[n->subnets_n++];
        if (choose_subnet(config, survey, six ? AF_INET6 : AF_INET, &s->subnet, err) < 0)
            return -1;
        s->range = s->subnet;
        if (choose_gateway(s, err) < 0)
            return -1;
    }
    return 0;
}

int plan_next_subnet(const struct paths *paths, struct ip_net *out, struct err *err)
{
    struct network_config config = {.name = "check"};
    struct survey survey = {0};
    int r = survey_machine(paths, &survey, true, err);
    if (r == 0)
        r = choose_subnet(&config, &survey, AF_INET, out, err);
    survey_release(&survey);
    return r;
}

/* Options. */

static bool bridge_name_valid(const char *name)
{
    if (!*name || strlen(name) >= IF_NAMESIZE || streq(name, ".") || streq(name, ".."))
        return false;
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
            return false;
    }
    return true;
}

static int take_option(struct network_state *n, const char *key, const char *value, struct err *err)
{
    bool ok = true;
    if (streq(key, "com.docker.network.bridge.name")) {
        ok = bridge_name_valid(value);
        free(n->bridge);
        n->bridge = xstrdup(value);
    } else if (streq(key, "com.docker.network.bridge.enable_icc")) {
        ok = bool_parse(value, &n->icc);
    } else if (streq(key, "com.docker.network.bridge.enable_ip_masquerade")) {
        ok = bool_parse(value, &n->masquerade);
    } else if (streq(key, "com.docker.network.driver.mtu")) {
        n->mtu = atoi(value);
        ok = n->mtu >= 68 && n->mtu <= 65535;
    } else if (streq(key, "com.docker.network.bridge.host_binding_ipv4")) {
        struct ip_addr a;
        ok = ip_parse(value, &a);
        free(n->host_binding);
        n->host_binding = xstrdup(value);
    }
    if (!ok)
        return err_set(err, ERR_INVALID, "driver option %s: invalid value \"%s\"", key, value);
    return 0;
}

static json_t *to_object(const struct key_values *kv)
{
    json_t *o = json_object();
    for (size_t i = 0; i < kv->n; i++)
        jset_str(o, kv->v[i].key, kv->v[i].value ? kv->v[i].value : "");
    return o;
}

static int choose_driver(const char *driver, enum network_driver *out, struct err *err)
{
    if (!driver || !*driver || streq(driver, "bridge") || streq(driver, "default"))
        *out = NETWORK_BRIDGE;
    else if (streq(driver, "macvlan"))
        *out = NETWORK_MACVLAN;
    else if (streq(driver, "host"))
        *out = NETWORK_HOST;
    else if (streq(driver, "none") || streq(driver, "null"))
        *out = NETWORK_NONE;
    else
        return err_set(err, ERR_INVALID,
                       "driver \"%s\" is not supported: bridge, macvlan, host and none are",
                       driver);
    return 0;
}

/* routes_clash: a subnet of the user's must not be one that the host has a route to. */
static int plan_addresses(const struct paths *paths, const struct network_config *config,
                          bool routes_clash, struct network_state *n, struct err *err)
{
    struct survey survey = {0};
    int r = survey_machine(paths, &survey, routes_clash, err);
    if (r == 0)
        r = plan_subnets(config, &survey, n, err);
    survey_release(&survey);
    return r;
}

static int take_options(const struct network_config *config, struct network_state *n,
                        struct err *err)
{
    for (size_t i = 0; i < config->driver_opts.n; i++) {
        const struct key_value *kv = &config->driver_opts.v[i];
        if (take_option(n, kv->key, kv->value ? kv->value : "", err) < 0)
            return -1;
    }
    return 0;
}

static int plan_bridge(const struct paths *paths, const struct network_config *config,
                       struct network_state *n, struct err *err)
{
    n->bridge = xasprintf("br-%.12s", n->id);
    return take_options(config, n, err) < 0 ? -1 : plan_addresses(paths, config, true, n, err);
}

static const struct {
    const char *name;
    uint32_t mode;
} macvlan_modes[] = {
    {"bridge", MACVLAN_MODE_BRIDGE},
    {"private", MACVLAN_MODE_PRIVATE},
    {"vepa", MACVLAN_MODE_VEPA},
    {"passthru", MACVLAN_MODE_PASSTHRU},
};

static bool find_macvlan_mode(const char *name, uint32_t *mode)
{
    for (size_t i = 0; i < ARRAY_SIZE(macvlan_modes); i++)
        if (streq(name, macvlan_modes[i].name)) {
            *mode = macvlan_modes[i].mode;
            return true;
        }
    return false;
}

uint32_t plan_macvlan_mode(const struct network_state *n)
{
    uint32_t mode = MACVLAN_MODE_BRIDGE;
    find_macvlan_mode(jstr(n->options, "macvlan_mode", ""), &mode);
    return mode;
}

/* Its subnet is that of the network which the parent is in: the host has a route to it. */
static int plan_macvlan(const struct paths *paths, const struct network_config *config,
                        struct network_state *n, struct err *err)
{
    uint32_t mode;
    const char *parent = jstr(n->options, "parent", ""),
               *name = jstr(n->options, "macvlan_mode", "bridge");
    if (take_options(config, n, err) < 0)
        return -1;
    free(n->bridge);
    n->bridge = NULL;
    if (!find_macvlan_mode(name, &mode))
        return err_set(err, ERR_INVALID,
                       "driver option macvlan_mode: \"%s\": want bridge, private, vepa or passthru",
                       name);
    if (!*parent || n->internal)
        return err_set(err, ERR_INVALID,
                       "driver macvlan wants the driver option parent, and leads outside: for an "
                       "internal network use bridge");
    if (streq(parent, "lo") || !link_index(parent))
        return err_set(err, ERR_NOT_FOUND, "driver option parent: no interface \"%s\" for it",
                       parent);
    n->parent = xstrdup(parent);
    return plan_addresses(paths, config, false, n, err);
}

int network_plan(const struct paths *paths, const struct network_config *config,
                 struct network_state **out, struct err *err)
{
    if (!store_name_valid(config->name))
        return err_set(err, ERR_INVALID,
                       "name \"%s\": want letters, digits, \"_\", \".\" and \"-\"", config->name);
    struct network_state *n = xcalloc(1, sizeof(*n));
    n->id = xmalloc(65);
    random_hex(32, n->id);
    n->name = xstrdup(config->name);
    n->project = config->project ? xstrdup(config->project) : NULL;
    n->key = config->key ? xstrdup(config->key) : NULL;
    n->internal = config->internal;
    n->attachable = config->attachable;
    n->ipv4 = config->enable_ipv4 != 0;
    n->ipv6 = config->enable_ipv6 == 1;
    n->icc = n->masquerade = true;
    n->created = time_now();
    n->labels = to_object(&config->labels);
    n->options = to_object(&config->driver_opts);
    n->definition = config->definition ? node_to_json(config->definition) : NULL;
    int r = choose_driver(config->driver, &n->driver, err);
    if (r == 0 && n->driver == NETWORK_BRIDGE)
        r = plan_bridge(paths, config, n, err);
    if (r == 0 && n->driver == NETWORK_MACVLAN)
        r = plan_macvlan(paths, config, n, err);
    if (r < 0) {
        network_state_free(n);
        return -1;
    }
    *out = n;
    return 0;
}
