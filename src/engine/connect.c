#include "engine/connect.h"

#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/container.h"
#include "engine/mounts.h"
#include "net/network.h"

/* One that is being started fails by it; one that runs already gets what is missing as soon as that can be had. */
static void take_fault(struct container *c, struct err *err, bool *missing)
{
    if (c->state != C_CONNECTING) {
        log_line("%s: %s", c->record.name, err->msg);
        *missing = true;
        engine_retry_later(c->engine);
    } else if (!c->fault.msg) {
        err_move(&c->fault, err);
    }
}

static void on_dns_open(void *arg, struct err *err)
{
    struct container *c = arg;
    if (err)
        take_fault(c, err, &c->names_missing);
    c->dns_pending = false;
    container_step(c);
}

static void keep_ports(struct container *c, const struct port_binding *bindings, size_t n)
{
    struct container_record *r = &c->record;
    for (size_t i = 0; i < r->ports_n; i++) {
        free(r->ports[i].host_ip);
        free(r->ports[i].protocol);
    }
    free(r->ports);
    r->ports = xcalloc(n, sizeof(*r->ports));
    r->ports_n = n;
    for (size_t i = 0; i < n; i++) {
        char text[IP_TEXT_MAX];
        r->ports[i] = (struct container_port){
            .host_ip = xstrdup(ip_format(&bindings[i].host_ip, text)),
            .published = bindings[i].published,
            .target = bindings[i].target,
            .protocol = xstrdup(bindings[i].protocol),
        };
    }
}

static void on_published(void *arg, const struct port_binding *bindings, size_t n, struct err *err)
{
    struct container *c = arg;
    if (err)
        take_fault(c, err, &c->ports_missing);
    else
        keep_ports(c, bindings, n);
    c->ports_pending = false;
    container_step(c);
}

/* "80", "80/udp" or "80-90/tcp" of expose: and of the image, one entry a port. */
static void expose(struct container *c, const char *text)
{
    unsigned long first, last;
    char *rest;
    first = last = strtoul(text, &rest, 10);
    if (*rest == '-')
        last = strtoul(rest + 1, &rest, 10);
    const char *protocol = *rest == '/' ? rest + 1 : "tcp";
    for (unsigned long port = first; port && port <= last && port <= UINT16_MAX; port++) {
        char *entry AUTOFREE = xasprintf("%lu/%s", port, protocol);
        bool known = false;
        for (char **e = c->record.exposed; e && *e && !known; e++)
            known = streq(*e, entry);
        if (!known)
            strv_push(&c->record.exposed, entry);
    }
}

static void keep_exposed(struct container *c, const struct image *image)
{
    for (char **port = image ? image->config.exposed_ports : NULL; port && *port; port++)
        expose(c, *port);
    for (size_t i = 0; i < c->service->expose.n; i++)
        expose(c, c->service->expose.v[i]);
}

/* "SERVICE[:ALIAS]" -> a name that resolves to the service for this container alone. */
static size_t links_of(const struct service *s, struct dns_link **out, char ***storage)
{
    size_t n = 0;
    const struct strings *lists[] = {&s->links, &s->external_links};
    *out = xcalloc(s->links.n + s->external_links.n, sizeof(**out));
    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        for (size_t i = 0; i < lists[k]->n; i++) {
            const char *colon = strchr(lists[k]->v[i], ':');
            if (!colon)
                continue;
            char *name = xstrndup(lists[k]->v[i], (size_t)(colon - lists[k]->v[i]));
            strv_push(storage, name);
            free(name);
            (*out)[n++].alias = colon + 1;
        }
    for (size_t i = 0; i < n; i++)
        (*out)[i].name = (*storage)[i];
    return n;
}

static void open_dns(struct container *c)
{
    const struct service *s = c->service;
    struct dns_link *links AUTOFREE = NULL;
    char **names AUTOSTRV = NULL;
    struct dns_view view = {
        .networks = (const char *const *)c->zones,
        .links_n = links_of(s, &links, &names),
        .upstreams = s->dns.n ? s->dns.v : NULL,
        .no_forward = c->internal_only,
    };
    view.links = links;
    for (size_t i = 0; i < s->dns_opt.n; i++)
        view.ndots_set |= starts_with(s->dns_opt.v[i], "ndots:");
    char *run AUTOFREE = paths_container_run(c->engine->paths, c->record.id);
    char *netns AUTOFREE = path_join(run, "netns");
    c->dns_pending = true;
    dns_endpoint_open(c->engine->dns, c->record.id, netns, &view, on_dns_open, c, &c->dns);
}

static void publish(struct container *c, const char *network, const struct port_spec *ports,
                    size_t n)
{
    struct port_request request = {
        .network = network, .container_id = c->record.id, .ports = ports, .ports_n = n};
    c->ports_pending = true;
    port_publish(c->engine->ports, &request, on_published, c);
}

static void enter_zones(struct container *c, const struct endpoint *endpoints, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dns_zone *zone = dns_zone(c->engine->dns, endpoints[i].network);
        char *dir AUTOFREE = network_endpoints_dir(c->engine->paths, endpoints[i].network);
        struct err err AUTOERR = ERR_INIT;
        if (dns_zone_watch(zone, dir, &err) < 0)
            log_line("network %s: %s", endpoints[i].network, err.msg);
        dns_zone_add_endpoint(zone, &endpoints[i]);
        strv_push(&c->zones, endpoints[i].network);
    }
}

static void leave_zones(struct container *c)
{
    for (size_t i = 0; c->zones && c->zones[i]; i++)
        dns_zone_remove(dns_zone(c->engine->dns, c->zones[i]), c->record.id);
    strv_free(c->zones);
    c->zones = NULL;
}

static void keep_endpoints(struct container *c, const struct endpoint *endpoints, size_t n)
{
    struct container_record *r = &c->record;
    container_record_clear_endpoints(r);
    r->networks = xcalloc(n, sizeof(*r->networks));
    for (size_t i = 0; i < n; i++) {
        char text[IP_TEXT_MAX];
        const struct endpoint *e = &endpoints[i];
        r->networks[r->networks_n++] = (struct container_network){
            .network = xstrdup(e->network),
            .ifname = e->ifname ? xstrdup(e->ifname) : NULL,
            .ipv4 = e->ipv4.family ? xstrdup(ip_format(&e->ipv4, text)) : NULL,
            .ipv6 = e->ipv6.family ? xstrdup(ip_format(&e->ipv6, text)) : NULL,
            .mac = xstrdup(e->mac),
            .aliases = strv_dup((const char *const *)e->names),
        };
    }
}

void connect_begin(struct container *c)
{
    struct prepare_job *j = c->job;
    container_mounts_free(c->record.mounts, c->record.mounts_n);
    c->record.mounts = STEAL(j->mounts);
    c->record.mounts_n = j->mounts_n;
    j->mounts_n = 0;
    free(c->record.command);
    c->record.command = STEAL(j->command);
    strv_free(c->record.log_sink);
    c->record.log_sink = STEAL(j->log_sink);
    free(c->record.runtime);
    c->record.runtime = xstrdup(j->runtime.name);
    keep_endpoints(c, j->endpoints, j->endpoints_n);
    keep_exposed(c, j->image);
    enter_zones(c, j->endpoints, j->endpoints_n);
    c->internal_only = j->internal_only;
    if (j->endpoints_n)
        open_dns(c);
    if (j->gateway_network && c->service->ports_n) {
        const struct service *s = c->service;
        struct port_spec *ports AUTOFREE = xcalloc(s->ports_n, sizeof(*ports));
        for (size_t i = 0; i < s->ports_n; i++)
            ports[i] = (struct port_spec){
                .host_ip = s->ports[i].host_ip,
                .published = s->ports[i].published,
                .published_end = s->ports[i].published_end,
                .target = s->ports[i].target,
                .protocol = s->ports[i].protocol,
            };
        publish(c, j->gateway_network, ports, s->ports_n);
    }
}

typedef VEC(struct endpoint) endpoint_list;

/* The endpoints that it has. Returns the network that its ports are published in, borrowed from its record, or
 * NULL. */
static const char *find_endpoints(struct container *c, endpoint_list *out)
{
    const char *gateway = NULL;
    c->internal_only = true;
    for (size_t i = 0; i < c->record.networks_n; i++) {
        struct endpoint ep;
        struct err err AUTOERR = ERR_INIT;
        if (network_endpoint(c->engine->paths, c->record.networks[i].network, c->record.id, &ep,
                             &err) < 0) {
            if (err.kind == ERR_NOT_FOUND) {
                log_line("%s: %s", c->record.name, err.msg);
                continue;
            }
            take_fault(c, &err, &c->names_missing);
            c->ports_missing |= c->record.ports_n > 0;
            continue;
        }
        if (ep.gateway4.family || ep.gateway6.family) {
            c->internal_only = false;
            if (json_array_size(ep.ports) || !gateway)
                gateway = c->record.networks[i].network;
        }
        vec_push(out, ep);
    }
    return gateway;
}

static void endpoints_release(endpoint_list *list)
{
    vec_foreach (list, ep)
        endpoint_release(ep);
    vec_release(list);
}

static void open_names(struct container *c, const endpoint_list *endpoints)
{
    enter_zones(c, endpoints->v, endpoints->n);
    if (endpoints->n)
        open_dns(c);
}

/* The ports that were chosen when it started. */
static void publish_again(struct container *c, const char *gateway)
{
    size_t n = c->record.ports_n;
    if (!n || !gateway)
        return;
    struct port_spec *ports AUTOFREE = xcalloc(n, sizeof(*ports));
    for (size_t i = 0; i < n; i++)
        ports[i] = (struct port_spec){.host_ip = c->record.ports[i].host_ip,
                                      .published = c->record.ports[i].published,
                                      .target = c->record.ports[i].target,
                                      .protocol = c->record.ports[i].protocol};
    publish(c, gateway, ports, n);
}

void connect_again(struct container *c)
{
    endpoint_list endpoints = {0};
    const char *gateway = find_endpoints(c, &endpoints);
    open_names(c, &endpoints);
    publish_again(c, gateway);
    endpoints_release(&endpoints);
}

static void on_names_closed(void *arg)
{
    struct container *c = arg;
    endpoint_list endpoints = {0};
    c->dns_pending = false;
    if (container_is_running(c)) {
        find_endpoints(c, &endpoints);
        open_names(c, &endpoints);
        endpoints_release(&endpoints);
    }
    container_step(c);
}

bool connect_retry(struct container *c)
{
    bool names = c->names_missing && !c->dns_pending, ports = c->ports_missing && !c->ports_pending;
    if (!container_is_running(c))
        return false;
    if (ports) {
        endpoint_list endpoints = {0};
        c->ports_missing = false;
        publish_again(c, find_endpoints(c, &endpoints));
        endpoints_release(&endpoints);
    }
    if (names) {
        c->names_missing = false;
        leave_zones(c);
        c->dns_pending = true;
        if (c->dns)
            dns_endpoint_close(STEAL(c->dns), on_names_closed, c);
        else
            on_names_closed(c);
    }
    return names || ports;
}

static void on_dns_closed(void *arg)
{
    struct container *c = arg;
    c->dns_pending = false;
    container_step(c);
}

static void on_unpublished(void *arg)
{
    struct container *c = arg;
    c->ports_pending = false;
    container_step(c);
}

void connect_end(struct container *c)
{
    leave_zones(c);
    c->ports_pending = true;
    port_unpublish(c->engine->ports, c->record.id, on_unpublished, c);
    if (c->dns) {
        c->dns_pending = true;
        dns_endpoint_close(STEAL(c->dns), on_dns_closed, c);
    }
}
