#include "net/port.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "net/conntrack.h"
#include "net/endpoint.h"
#include "net/network.h"
#include "net/nft.h"
#include "net/port_bind.h"
#include "net/relay.h"

/* What one container publishes in one network. */
struct port_set {
    struct port_publisher *owner;
    struct port_set *next;
    char *container_id, *network;
    struct relay **relays;
    size_t relays_n;
};

enum op_kind { OP_PUBLISH, OP_UNPUBLISH };

/* A request on its way through the worker. */
struct op {
    enum op_kind kind;
    struct op *next;
    char *container_id, *network;
    struct port_spec *specs; /* strings owned */
    size_t specs_n;
    struct bound_ports bound; /* result of OP_PUBLISH */
    int result;
    struct err err;
    port_publish_cb publish_cb;
    port_done_cb done_cb;
    void *arg;
};

/* Requests are worked off in order, all that have gathered at a time: the rules of twenty
 * containers that stop together go in one transaction. */
struct port_publisher {
    uv_loop_t *loop;
    const struct paths *paths;
    struct port_set *sets;
    struct op *queue, **queue_end; /* waiting */
    struct op *batch;              /* in the worker */
    uv_work_t work;
    bool working, closing;
    size_t relays_closing;
    port_done_cb done;
    void *done_arg;
};

static void op_free(struct op *op)
{
    for (size_t i = 0; i < op->specs_n; i++) {
        free((char *)op->specs[i].host_ip);
        free((char *)op->specs[i].protocol);
    }
    free(op->specs);
    free(op->container_id);
    free(op->network);
    bound_ports_release(&op->bound);
    err_release(&op->err);
    free(op);
}

/* In the worker. */

static int publish_one(const struct paths *paths, struct op *op)
{
    struct network_state *n = NULL;
    struct endpoint e = {0};
    int r = network_load(paths, op->network, &n, &op->err);
    if (r == 0)
        r = network_endpoint(paths, op->network, op->container_id, &e, &op->err);
    if (r == 0)
        r = ports_bind(paths, n, &e, op->specs, op->specs_n, &op->bound, &op->err);
    if (r == 0)
        r = nft_ports_add(n, op->bound.rules, op->bound.rules_n, &op->err);
    if (r == 0)
        r = endpoint_set_ports(paths, op->network, op->container_id, op->bound.rules,
                               op->bound.rules_n, &op->err);
    if (r < 0 && n && op->bound.rules_n)
        nft_ports_remove(n, op->bound.rules, op->bound.rules_n, NULL);
    if (r == 0 && op->bound.udp_n)
        conntrack_forget_udp(op->bound.udp, op->bound.udp_n, NULL);
    endpoint_release(&e);
    network_state_free(n);
    return r;
}

/* The rules of all containers that are unpublished from one network, in one transaction. */
static void unpublish_network(const struct paths *paths, const char *network, struct op *first)
{
    struct network_state *n = NULL;
    struct nft_port *ports = NULL;
    size_t ports_n = 0;
    if (network_load(paths, network, &n, NULL) < 0)
        return;
    for (struct op *op = first; op && op->kind == OP_UNPUBLISH; op = op->next) {
        struct endpoint e;
        if (!op->network || !streq(op->network, network))
            continue;
        if (network_endpoint(paths, network, op->container_id, &e, NULL) == 0) {
            endpoint_ports(&e, &ports, &ports_n);
            endpoint_release(&e);
            endpoint_set_ports(paths, network, op->container_id, NULL, 0, NULL);
        }
        if (op != first) {
            free(op->network);
            op->network = NULL; /* done with */
        }
    }
    struct err err AUTOERR = ERR_INIT;
    if (nft_ports_remove(n, ports, ports_n, &err) < 0)
        log_line("ports: network %s: %s", network, err.msg);
    free(ports);
    network_state_free(n);
}

static void work(uv_work_t *req)
{
    struct port_publisher *p = req->data;
    for (struct op *op = p->batch; op; op = op->next) {
        if (op->kind == OP_PUBLISH)
            op->result = publish_one(p->paths, op);
        else if (op->network)
            unpublish_network(p->paths, op->network, op);
    }
}

/* On the loop. */

static void publisher_step(struct port_publisher *p);

static void relay_closed(void *arg)
{
    struct port_publisher *p = arg;
    p->relays_closing--;
    publisher_step(p);
}

static void set_close(struct port_set *set)
{
    struct port_publisher *p = set->owner;
    struct port_set **at = &p->sets;
    while (*at != set)
        at = &(*at)->next;
    *at = set->next;
    p->relays_closing += set->relays_n;
    for (size_t i = 0; i < set->relays_n; i++)
        relay_close(set->relays[i], relay_closed, p);
    free(set->relays);
    free(set->container_id);
    free(set->network);
    free(set);
}

static void set_open(struct port_publisher *p, struct op *op)
{
    struct port_set *set = xcalloc(1, sizeof(*set));
    set->owner = p;
    set->container_id = xstrdup(op->container_id);
    set->network = xstrdup(op->network);
    set->relays = xcalloc(op->bound.sockets_n + 1, sizeof(struct relay *));
    for (size_t i = 0; i < op->bound.sockets_n; i++) {
        struct bound_socket *s = &op->bound.sockets[i];
        int fd = STEAL_FD(s->fd);
        set->relays[set->relays_n++] = s->udp
                                           ? relay_udp_new(p->loop, fd, &s->target, s->target_port)
                                           : relay_tcp_new(p->loop, fd, &s->target, s->target_port);
    }
    set->next = p->sets;
    p->sets = set;
}

static void op_finish(struct port_publisher *p, struct op *op)
{
    if (op->kind == OP_PUBLISH && op->result == 0 && !p->closing)
        set_open(p, op);
    if (op->publish_cb)
        op->publish_cb(op->arg, op->result == 0 ? op->bound.bindings : NULL,
                       op->result == 0 ? op->bound.bindings_n : 0,
                       op->result == 0 ? NULL : &op->err);
    if (op->done_cb)
        op->done_cb(op->arg);
    op_free(op);
}

static void work_done(uv_work_t *req, int status)
{
    struct port_publisher *p = req->data;
    (void)status; /* the work is never cancelled */
    struct op *op = STEAL(p->batch);
    /* Still working: a callback that asks for more must wait until the batch is through. */
    while (op) {
        struct op *next = op->next;
        op_finish(p, op);
        op = next;
    }
    p->working = false;
    publisher_step(p);
}

/* The one function that starts work and that ends the publisher. */
static void publisher_step(struct port_publisher *p)
{
    if (p->working)
        return;
    if (p->queue) {
        p->batch = STEAL(p->queue);
        p->queue_end = &p->queue;
        p->working = true;
        uv_queue_work(p->loop, &p->work, work, work_done);
        return;
    }
    if (!p->closing || p->relays_closing)
        return;
    port_done_cb done = p->done;
    void *arg = p->done_arg;
    free(p);
    if (done)
        done(arg);
}

static void enqueue(struct port_publisher *p, struct op *op)
{
    *p->queue_end = op;
    p->queue_end = &op->next;
    publisher_step(p);
}

struct port_publisher *port_publisher_new(uv_loop_t *loop, const struct paths *paths)
{
    struct port_publisher *p = xcalloc(1, sizeof(*p));
    signal(SIGPIPE, SIG_IGN);
    p->loop = loop;
    p->paths = paths;
    p->queue_end = &p->queue;
    p->work.data = p;
    return p;
}

static struct port_set *find_set(struct port_publisher *p, const char *container_id,
                                 const char *network)
{
    for (struct port_set *s = p->sets; s; s = s->next) {
        if (streq(s->container_id, container_id) && (!network || streq(s->network, network)))
            return s;
    }
    return NULL;
}

void port_publish(struct port_publisher *p, const struct port_request *request, port_publish_cb cb,
                  void *arg)
{
    struct port_set *old = find_set(p, request->container_id, request->network);
    if (old)
        set_close(old);
    struct op *op = xcalloc(1, sizeof(*op));
    op->kind = OP_PUBLISH;
    op->container_id = xstrdup(request->container_id);
    op->network = xstrdup(request->network);
    op->specs = xcalloc(request->ports_n + 1, sizeof(*op->specs));
    op->specs_n = request->ports_n;
    for (size_t i = 0; i < request->ports_n; i++) {
        const struct port_spec *s = &request->ports[i];
        op->specs[i] = *s;
        op->specs[i].host_ip = s->host_ip ? xstrdup(s->host_ip) : NULL;
        op->specs[i].protocol = xstrdup(s->protocol ? s->protocol : "tcp");
    }
    op->publish_cb = cb;
    op->arg = arg;
    enqueue(p, op);
}

static struct op *unpublish_op(const char *container_id, const char *network)
{
    struct op *op = xcalloc(1, sizeof(*op));
    op->kind = OP_UNPUBLISH;
    op->container_id = xstrdup(container_id);
    op->network = network ? xstrdup(network) : NULL;
    return op;
}

void port_unpublish(struct port_publisher *p, const char *container_id, port_done_cb done,
                    void *arg)
{
    struct port_set *set;
    while ((set = find_set(p, container_id, NULL))) {
        struct op *op = unpublish_op(container_id, set->network);
        set_close(set);
        enqueue(p, op);
    }
    /* Behind them all, and behind a publish that is still on its way: the one that tells. */
    struct op *last = unpublish_op(container_id, NULL);
    last->done_cb = done;
    last->arg = arg;
    enqueue(p, last);
}

void port_publisher_close(struct port_publisher *p, port_done_cb done, void *arg)
{
    p->done = done;
    p->done_arg = arg;
    p->closing = true;
    while (p->sets)
        set_close(p->sets);
    publisher_step(p);
}
