#include "net/store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"

bool store_name_valid(const char *name)
{
    if (!isalnum((unsigned char)name[0]) || strlen(name) > 200)
        return false;
    for (const char *p = name; *p; p++) {
        if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
            return false;
    }
    return true;
}

char *store_networks_dir(const struct paths *paths)
{
    return path_join(paths->root, "networks");
}

char *network_endpoints_dir(const struct paths *paths, const char *network)
{
    char *dir AUTOFREE = paths_network_run(paths, network);
    return path_join(dir, "endpoints");
}

static char *addresses_dir(const struct paths *paths, const char *network)
{
    char *dir AUTOFREE = paths_network_run(paths, network);
    return path_join(dir, "addresses");
}

char *store_endpoint_path(const struct paths *paths, const char *network, const char *container_id)
{
    char *dir AUTOFREE = network_endpoints_dir(paths, network);
    return xasprintf("%s/%s.json", dir, container_id);
}

/* Addresses as JSON. */

static void set_addr(json_t *o, const char *key, const struct ip_addr *a)
{
    char text[IP_TEXT_MAX];
    if (a->family)
        jset_str(o, key, ip_format(a, text));
}

static void set_net(json_t *o, const char *key, const struct ip_net *n)
{
    char text[IP_TEXT_MAX];
    jset_str(o, key, ip_net_format(n, text));
}

static bool get_addr(const json_t *o, const char *key, struct ip_addr *a)
{
    *a = (struct ip_addr){0};
    const char *text = jstr(o, key, NULL);
    return !text || ip_parse(text, a);
}

static char *get_str(const json_t *o, const char *key)
{
    const char *s = jstr(o, key, NULL);
    return s ? xstrdup(s) : NULL;
}

/* Networks. */

static json_t *subnet_to_json(const struct network_subnet *s)
{
    json_t *o = json_object(), *aux = json_object();
    set_net(o, "subnet", &s->subnet);
    set_net(o, "range", &s->range);
    set_addr(o, "gateway", &s->gateway);
    for (size_t i = 0; i < s->aux_n; i++)
        set_addr(aux, s->aux[i].name, &s->aux[i].addr);
    json_object_set_new(o, "aux", aux);
    return o;
}

static bool subnet_from_json(const json_t *o, struct network_subnet *s)
{
    const char *name;
    json_t *value, *aux = json_object_get(o, "aux");
    if (!ip_net_parse(jstr(o, "subnet", ""), &s->subnet) ||
        !ip_net_parse(jstr(o, "range", ""), &s->range) || !get_addr(o, "gateway", &s->gateway))
        return false;
    s->aux = xcalloc(json_object_size(aux) + 1, sizeof(*s->aux));
    json_object_foreach (aux, name, value) {
        struct network_aux *a = &s->aux[s->aux_n++];
        a->name = xstrdup(name);
        if (!get_addr(aux, name, &a->addr))
            return false;
    }
    return true;
}

static const char *const driver_names[] = {[NETWORK_BRIDGE] = "bridge",
                                           [NETWORK_MACVLAN] = "macvlan",
                                           [NETWORK_HOST] = "host",
                                           [NETWORK_NONE] = "none"};

static json_t *network_to_json(const struct network_state *n)
{
    json_t *o = json_object(), *subnets = json_array();
    jset_str(o, "id", n->id);
    jset_str(o, "name", n->name);
    jset_str(o, "project", n->project);
    jset_str(o, "key", n->key);
    jset_str(o, "driver", driver_names[n->driver]);
    jset_str(o, "bridge", n->bridge);
    jset_str(o, "parent", n->parent);
    jset_str(o, "host_binding", n->host_binding);
    json_object_set_new(o, "internal", json_boolean(n->internal));
    json_object_set_new(o, "attachable", json_boolean(n->attachable));
    json_object_set_new(o, "ipv4", json_boolean(n->ipv4));
    json_object_set_new(o, "ipv6", json_boolean(n->ipv6));
    json_object_set_new(o, "icc", json_boolean(n->icc));
    json_object_set_new(o, "masquerade", json_boolean(n->masquerade));
    json_object_set_new(o, "mtu", json_integer(n->mtu));
    json_object_set_new(o, "created", json_integer(n->created));
    json_object_set(o, "labels", n->labels);
    json_object_set(o, "options", n->options);
    if (n->definition)
        json_object_set(o, "definition", n->definition);
    for (size_t i = 0; i < n->subnets_n; i++)
        json_array_append_new(subnets, subnet_to_json(&n->subnets[i]));
    json_object_set_new(o, "subnets", subnets);
    return o;
}

static json_t *object_or_empty(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    return json_is_object(v) ? json_incref(v) : json_object();
}

static bool network_from_json(const json_t *o, struct network_state *n)
{
    n->id = get_str(o, "id");
    n->name = get_str(o, "name");
    n->project = get_str(o, "project");
    n->key = get_str(o, "key");
    n->bridge = get_str(o, "bridge");
    n->parent = get_str(o, "parent");
    n->host_binding = get_str(o, "host_binding");
    n->internal = jbool(o, "internal", false);
    n->attachable = jbool(o, "attachable", false);
    n->ipv4 = jbool(o, "ipv4", true);
    n->ipv6 = jbool(o, "ipv6", false);
    n->icc = jbool(o, "icc", true);
    n->masquerade = jbool(o, "masquerade", true);
    n->mtu = (int)jint(o, "mtu", 0);
    n->created = jint(o, "created", 0);
    n->labels = object_or_empty(o, "labels");
    n->options = object_or_empty(o, "options");
    n->definition = json_incref(json_object_get(o, "definition"));
    const char *driver = jstr(o, "driver", "bridge");
    for (size_t i = 0; i < ARRAY_SIZE(driver_names); i++) {
        if (streq(driver, driver_names[i]))
            n->driver = (enum network_driver)i;
    }
    const json_t *subnets = json_object_get(o, "subnets");
    n->subnets = xcalloc(json_array_size(subnets) + 1, sizeof(*n->subnets));
    for (size_t i = 0; i < json_array_size(subnets); i++) {
        n->subnets_n++;
        if (!subnet_from_json(json_array_get(subnets, i), &n->subnets[i]))
            return false;
    }
    return n->id && strlen(n->id) == 64 && n->name && (n->bridge || n->driver != NETWORK_BRIDGE) &&
           (n->parent || n->driver != NETWORK_MACVLAN);
}

void network_state_free(struct network_state *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->subnets_n; i++) {
        for (size_t j = 0; j < n->subnets[i].aux_n; j++)
            free(n->subnets[i].aux[j].name);
        free(n->subnets[i].aux);
    }
    free(n->subnets);
    free(n->id);
    free(n->name);
    free(n->project);
    free(n->key);
    free(n->bridge);
    free(n->parent);
    free(n->host_binding);
    free(n->warning);
    json_decref(n->labels);
    json_decref(n->options);
    json_decref(n->definition);
    free(n);
}

int store_network_save(const struct paths *paths, const struct network_state *n, struct err *err)
{
    char *dir AUTOFREE = paths_network(paths, n->name);
    char *file AUTOFREE = path_join(dir, "network.json");
    json_t *o AUTOJSON = network_to_json(n);
    return fs_mkdir_p(dir, 0711, err) < 0 ? -1 : json_write(file, o, true, err);
}

int store_network_load(const struct paths *paths, const char *name, struct network_state **out,
                       struct err *err)
{
    if (!store_name_valid(name))
        return err_set(err, ERR_INVALID,
                       "network name \"%s\": want letters, digits, \"_\", \".\" and \"-\"", name);
    char *dir AUTOFREE = paths_network(paths, name);
    char *file AUTOFREE = path_join(dir, "network.json");
    if (!fs_exists(file))
        return err_set(err, ERR_NOT_FOUND, "network %s not found", name);
    json_t *o AUTOJSON = NULL;
    if (json_read(file, &o, err) < 0)
        return -1;
    struct network_state *n = xcalloc(1, sizeof(*n));
    if (!network_from_json(o, n)) {
        network_state_free(n);
        return err_set(err, ERR_CORRUPT, "%s: not the description of a network", file);
    }
    *out = n;
    return 0;
}

/* Endpoints. */

void endpoint_release(struct endpoint *e)
{
    free(e->container_id);
    free(e->container_name);
    free(e->project);
    free(e->service);
    free(e->network);
    free(e->netns);
    free(e->ifname);
    free(e->veth);
    strv_free(e->names);
    json_decref(e->ports);
    *e = (struct endpoint){0};
}

int store_endpoint_save(const struct paths *paths, const struct endpoint *e, struct err *err)
{
    char *dir AUTOFREE = network_endpoints_dir(paths, e->network);
    char *file AUTOFREE = store_endpoint_path(paths, e->network, e->container_id);
    json_t *o AUTOJSON = json_object();
    jset_str(o, "container", e->container_id);
    jset_str(o, "name", e->container_name);
    jset_str(o, "project", e->project);
    jset_str(o, "service", e->service);
    jset_str(o, "network", e->network);
    jset_str(o, "netns", e->netns);
    json_object_set_new(o, "netns_inode", json_integer((json_int_t)e->netns_inode));
    jset_str(o, "ifname", e->ifname);
    jset_str(o, "veth", e->veth);
    jset_str(o, "mac", e->mac);
    set_addr(o, "ipv4", &e->ipv4);
    set_addr(o, "ipv6", &e->ipv6);
    json_object_set_new(o, "ipv4_prefix", json_integer(e->ipv4_prefix));
    json_object_set_new(o, "ipv6_prefix", json_integer(e->ipv6_prefix));
    set_addr(o, "gateway4", &e->gateway4);
    set_addr(o, "gateway6", &e->gateway6);
    json_object_set_new(o, "names", jarray_from_strv((const char *const *)e->names));
    if (e->ports)
        json_object_set(o, "ports", e->ports);
    return fs_mkdir_p(dir, 0711, err) < 0 ? -1 : json_write(file, o, false, err);
}

static int store_endpoint_load(const char *path, struct endpoint *e, struct err *err)
{
    *e = (struct endpoint){0};
    if (!fs_exists(path))
        return err_set(err, ERR_NOT_FOUND, "%s not found", path);
    json_t *o AUTOJSON = NULL;
    if (json_read(path, &o, err) < 0)
        return -1;
    e->container_id = get_str(o, "container");
    e->container_name = get_str(o, "name");
    e->project = get_str(o, "project");
    e->service = get_str(o, "service");
    e->network = get_str(o, "network");
    e->netns = get_str(o, "netns");
    e->netns_inode = (uint64_t)jint(o, "netns_inode", 0);
    e->ifname = get_str(o, "ifname");
    e->veth = get_str(o, "veth");
    snprintf(e->mac, sizeof(e->mac), "%s", jstr(o, "mac", ""));
    e->ipv4_prefix = (unsigned)jint(o, "ipv4_prefix", 0);
    e->ipv6_prefix = (unsigned)jint(o, "ipv6_prefix", 0);
    e->names = jarray_to_strv(json_object_get(o, "names"));
    e->ports = json_incref(json_object_get(o, "ports"));
    if (e->container_id && e->network && get_addr(o, "ipv4", &e->ipv4) &&
        get_addr(o, "ipv6", &e->ipv6) && get_addr(o, "gateway4", &e->gateway4) &&
        get_addr(o, "gateway6", &e->gateway6))
        return 0;
    endpoint_release(e);
    return err_set(err, ERR_CORRUPT, "%s: not the description of an endpoint", path);
}

int network_endpoint(const struct paths *paths, const char *network, const char *container_id,
                     struct endpoint *e, struct err *err)
{
    char *path AUTOFREE = store_endpoint_path(paths, network, container_id);
    return store_endpoint_load(path, e, err);
}

int network_endpoints(const struct paths *paths, const char *network, struct endpoint **out,
                      size_t *n, struct err *err)
{
    char *path AUTOFREE = network_endpoints_dir(paths, network);
    VEC(struct endpoint) list = {0};
    *out = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir)
        return err_sys(err, errno, "read %s", path);
    for (struct dirent *d; (d = readdir(dir));) {
        if (d->d_name[0] == '.' || !ends_with(d->d_name, ".json"))
            continue;
        char *file AUTOFREE = path_join(path, d->d_name);
        struct endpoint e;
        /* One that just went away, or that a power cut left half-written, is nobody's. */
        if (store_endpoint_load(file, &e, NULL) == 0)
            vec_push(&list, e);
    }
    closedir(dir);
    *out = list.v;
    *n = list.n;
    return 0;
}

/* Addresses. */

enum {
    ADDRESS_TRIES = 1 << 17, /* of an IPv6 range: more containers than a machine holds */
    SWEEP_AFTER_S = 60,
};

static char *address_path(const struct paths *paths, const char *network, const struct ip_addr *a)
{
    char text[IP_TEXT_MAX];
    char *dir AUTOFREE = addresses_dir(paths, network);
    return path_join(dir, ip_format(a, text));
}

/* 1: taken for the container (or its already), 0: somebody else's (holder says whose), -1: error.
 */
static int address_try(const struct paths *paths, const char *network, const struct ip_addr *a,
                       const char *container_id, char holder[256], struct err *err)
{
    char *path AUTOFREE = address_path(paths, network, a);
    for (;;) {
        if (symlink(container_id, path) == 0)
            return 1;
        if (errno == ENOENT) {
            char *dir AUTOFREE = addresses_dir(paths, network);
            if (fs_mkdir_p(dir, 0711, err) < 0)
                return -1;
            continue;
        }
        if (errno != EEXIST)
            return err_sys(err, errno, "take %s", path);
        ssize_t n = readlink(path, holder, 255);
        if (n < 0 && errno == ENOENT)
            continue; /* given back in between */
        if (n < 0)
            return err_sys(err, errno, "read %s", path);
        holder[n] = '\0';
        return streq(holder, container_id);
    }
}

static bool address_usable(const struct network_subnet *s, const struct ip_addr *a)
{
    struct ip_addr last = ip_net_last(&s->subnet);
    /* RFC 3021: a /31 has neither network nor broadcast address. */
    bool point_to_point = s->subnet.prefix + 1 >= ip_size(a) * 8;
    if (!point_to_point && ip_equal(a, &s->subnet.addr))
        return false;
    if (!point_to_point && a->family == AF_INET && ip_equal(a, &last))
        return false;
    if (s->gateway.family && ip_equal(a, &s->gateway))
        return false;
    for (size_t i = 0; i < s->aux_n; i++) {
        if (ip_equal(a, &s->aux[i].addr))
            return false;
    }
    return true;
}

static int address_want(const struct paths *paths, const struct network_state *n,
                        const struct network_subnet *s, const char *container_id,
                        const struct ip_addr *want, struct err *err)
{
    char text[IP_TEXT_MAX], net[IP_TEXT_MAX], holder[256];
    ip_format(want, text);
    if (!ip_net_contains(&s->subnet, want))
        return err_set(err, ERR_INVALID, "address %s is not in the subnet %s of network %s", text,
                       ip_net_format(&s->subnet, net), n->name);
    if (s->gateway.family && ip_equal(want, &s->gateway))
        return err_set(err, ERR_CONFLICT, "address %s is the gateway of network %s", text, n->name);
    if (!address_usable(s, want))
        return err_set(err, ERR_CONFLICT, "address %s of network %s is reserved", text, n->name);
    int r = address_try(paths, n->name, want, container_id, holder, err);
    if (r != 0)
        return r < 0 ? -1 : 0;
    struct endpoint e;
    if (network_endpoint(paths, n->name, holder, &e, NULL) == 0) {
        err_set(err, ERR_CONFLICT, "address %s of network %s is already used by container %s", text,
                n->name, e.container_name ? e.container_name : holder);
        endpoint_release(&e);
        return -1;
    }
    return err_set(err, ERR_CONFLICT, "address %s of network %s is already used by container %.12s",
                   text, n->name, holder);
}

/* The names of the addresses that are taken: one look for all, where trying each would cost the square of
 * the network's size. */
static void addresses_taken(const struct paths *paths, const char *network, struct map *taken)
{
    char *path AUTOFREE = addresses_dir(paths, network);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));)
        map_set(taken, d->d_name, taken);
    if (dir)
        closedir(dir);
}

int store_address_take(const struct paths *paths, const struct network_state *n,
                       const struct network_subnet *subnet, const char *container_id,
                       const struct ip_addr *want, struct ip_addr *out, struct err *err)
{
    if (want) {
        *out = *want;
        return address_want(paths, n, subnet, container_id, want, err);
    }
    struct ip_addr a = subnet->range.addr, last = ip_net_last(&subnet->range);
    char holder[256], net[IP_TEXT_MAX], text[IP_TEXT_MAX];
    struct map taken AUTOMAP = {0};
    addresses_taken(paths, n->name, &taken);
    for (int tries = 0; tries < ADDRESS_TRIES && ip_compare(&a, &last) <= 0; tries++) {
        int r = address_usable(subnet, &a) && !map_get(&taken, ip_format(&a, text))
                    ? address_try(paths, n->name, &a, container_id, holder, err)
                    : 0;
        if (r != 0) {
            *out = a;
            return r < 0 ? -1 : 0;
        }
        if (!ip_add(&a, 1, &a))
            break;
    }
    return err_set(
        err, ERR_UNAVAILABLE,
        "no free address in %s of network %s: give the network a larger subnet (ipam.config)",
        ip_net_format(&subnet->range, net), n->name);
}

void store_address_drop(const struct paths *paths, const char *network, const struct ip_addr *addr,
                        const char *container_id)
{
    if (!addr->family)
        return;
    char *path AUTOFREE = address_path(paths, network, addr);
    char holder[256];
    ssize_t n = readlink(path, holder, sizeof(holder) - 1);
    if (n < 0)
        return;
    holder[n] = '\0';
    if (streq(holder, container_id))
        unlink(path);
}

void store_addresses_sweep(const struct paths *paths, const char *network)
{
    char *path AUTOFREE = addresses_dir(paths, network);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        char holder[256];
        struct stat st;
        ssize_t n = readlinkat(dirfd(dir), d->d_name, holder, sizeof(holder) - 1);
        if (n <= 0 || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        holder[n] = '\0';
        char *file AUTOFREE = store_endpoint_path(paths, network, holder);
        /* A minute: whoever connects a container right now is between the two. */
        if (!fs_exists(file) && time(NULL) - st.st_mtime > SWEEP_AFTER_S)
            unlinkat(dirfd(dir), d->d_name, 0);
    }
    if (dir)
        closedir(dir);
}
