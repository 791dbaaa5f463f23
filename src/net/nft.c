#include "net/nft.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/strbuf.h"

/* libnftables keeps parser state in globals. */
static pthread_mutex_t nft_lock = PTHREAD_MUTEX_INITIALIZER;

/* With what it needs itself it is more than half a megabyte, which only those have who change
 * networks: loaded by the first of them, under nft_lock, and kept. */
static struct library {
    void *handle;
    typeof(nft_ctx_new) *ctx_new;
    typeof(nft_ctx_free) *ctx_free;
    typeof(nft_ctx_buffer_error) *buffer_error;
    typeof(nft_ctx_buffer_output) *buffer_output;
    typeof(nft_ctx_get_error_buffer) *error;
    typeof(nft_ctx_get_output_buffer) *output;
    typeof(nft_ctx_output_set_flags) *set_flags;
    typeof(nft_run_cmd_from_buffer) *run;
} nft;

static int load_library(struct err *err)
{
    const struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"nft_ctx_new", &nft.ctx_new},
        {"nft_ctx_free", &nft.ctx_free},
        {"nft_ctx_buffer_error", &nft.buffer_error},
        {"nft_ctx_buffer_output", &nft.buffer_output},
        {"nft_ctx_get_error_buffer", &nft.error},
        {"nft_ctx_get_output_buffer", &nft.output},
        {"nft_ctx_output_set_flags", &nft.set_flags},
        {"nft_run_cmd_from_buffer", &nft.run},
    };
    if (nft.handle)
        return 0;
    void *handle = dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return err_set(err, ERR_IO, "nftables cannot be used: %s", dlerror());
    for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
        void *f = dlsym(handle, symbols[i].name);
        if (!f) {
            err_set(err, ERR_IO, "nftables cannot be used: %s", dlerror());
            dlclose(handle);
            return -1;
        }
        memcpy(symbols[i].to, &f, sizeof(f));
    }
    nft.handle = handle;
    return 0;
}

/* The first line of libnftables' report, without its place in our text. */
static int nft_failed(const char *report, struct err *err)
{
    const char *text = strstr(report, "Error: ");
    text = text ? text + strlen("Error: ") : report;
    int len = (int)strcspn(text, "\n");
    enum err_kind kind = ERR_IO;
    if (strstr(report, "No such file or directory"))
        kind = ERR_NOT_FOUND;
    else if (strstr(report, "File exists"))
        kind = ERR_CONFLICT;
    else if (strstr(report, "Operation not permitted"))
        kind = ERR_DENIED;
    return err_set(err, kind, "nftables: %.*s", len, len ? text : "unknown error");
}

static int run_in(struct nft_ctx *ctx, const char *commands, json_t **json, struct err *err)
{
    nft.buffer_error(ctx);
    nft.buffer_output(ctx);
    if (json)
        nft.set_flags(ctx, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_HANDLE);
    if (nft.run(ctx, commands) != 0)
        return nft_failed(nft.error(ctx), err);
    if (json) {
        *json = json_loads(nft.output(ctx), 0, NULL);
        if (!*json)
            return err_set(err, ERR_CORRUPT, "nftables: unreadable list");
    }
    return 0;
}

/* Where there is no descriptor for its socket libnftables calls exit(): asked for before it is. */
static struct nft_ctx *open_context(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0)
        return NULL;
    close(fd);
    return nft.ctx_new(NFT_CTX_DEFAULT);
}

static int run_locked(const char *commands, json_t **json, struct err *err)
{
    if (load_library(err) < 0)
        return -1;
    struct nft_ctx *ctx = open_context();
    if (!ctx)
        return err_sys(err, errno, "nftables cannot be used");
    int r = run_in(ctx, commands, json, err);
    nft.ctx_free(ctx);
    return r;
}

int nft_run(const char *commands, json_t **json, struct err *err)
{
    pthread_mutex_lock(&nft_lock);
    int r = run_locked(commands, json, err);
    pthread_mutex_unlock(&nft_lock);
    return r;
}

char *nft_table_name(const struct network_state *n, char out[NFT_TABLE_MAX])
{
    snprintf(out, NFT_TABLE_MAX, "compose_%.12s", n->id);
    return out;
}

/* Published ports.
 * Two maps a family, so that a port published on one address and the same port on all addresses
 * each find their own: "ports4" by port, "bound4" by address and port. */

static void add_element(struct strbuf *sb, const char *verb, const char *table,
                        const struct nft_port *p, bool with_target)
{
    char host[IP_TEXT_MAX], target[IP_TEXT_MAX];
    bool any = ip_is_any(&p->host);
    strbuf_addf(sb, "%s element inet %s %s%c { ", verb, table, any ? "ports" : "bound",
                p->target.family == AF_INET6 ? '6' : '4');
    if (!any)
        strbuf_addf(sb, "%s . ", ip_format(&p->host, host));
    strbuf_addf(sb, "%s . %u", p->protocol, p->published);
    if (with_target)
        strbuf_addf(sb, " : %s . %u", ip_format(&p->target, target), p->target_port);
    strbuf_addstr(sb, " }\n");
}

int nft_ports_add(const struct network_state *n, const struct nft_port *ports, size_t ports_n,
                  struct err *err)
{
    char table[NFT_TABLE_MAX];
    struct strbuf all AUTOBUF = STRBUF_INIT;
    struct err first AUTOERR = ERR_INIT;
    nft_table_name(n, table);
    for (size_t i = 0; i < ports_n; i++)
        add_element(&all, "add", table, &ports[i], true);
    if (!ports_n || nft_run(all.buf, NULL, &first) == 0)
        return 0;
    /* One of them is there with another target. Remove each that is there, add all again. */
    nft_ports_remove(n, ports, ports_n, NULL);
    return nft_run(all.buf, NULL, err);
}

int nft_ports_remove(const struct network_state *n, const struct nft_port *ports, size_t ports_n,
                     struct err *err)
{
    char table[NFT_TABLE_MAX];
    struct strbuf all AUTOBUF = STRBUF_INIT;
    struct err first AUTOERR = ERR_INIT;
    nft_table_name(n, table);
    for (size_t i = 0; i < ports_n; i++)
        add_element(&all, "delete", table, &ports[i], false);
    if (!ports_n || nft_run(all.buf, NULL, &first) == 0)
        return 0;
    /* A transaction fails as a whole when one element is missing: take them one by one. */
    for (size_t i = 0; i < ports_n; i++) {
        struct strbuf one AUTOBUF = STRBUF_INIT;
        struct err e AUTOERR = ERR_INIT;
        add_element(&one, "delete", table, &ports[i], false);
        if (nft_run(one.buf, NULL, &e) < 0 && e.kind != ERR_NOT_FOUND) {
            err_move(err, &e);
            return -1;
        }
    }
    return 0;
}

static void add_maps(struct strbuf *sb, const char *family, char digit)
{
    strbuf_addf(
        sb,
        "map ports%c { typeof meta l4proto . th dport : %s daddr . th dport; }\n"
        "map bound%c { typeof %s daddr . meta l4proto . th dport : %s daddr . th dport; }\n",
        digit, family, digit, family, family);
}

static void add_translation(struct strbuf *sb, const struct network_state *n)
{
    /* Addresses of 127.0.0.0/8 are routed to this bridge (route_localnet) so that ports published
     * on 127.0.0.1 work. A container must not reach the host's other loopback services that way. */
    strbuf_addf(
        sb,
        "chain raw { type filter hook prerouting priority raw; iifname \"%s\" ip daddr 127.0.0.0/8 "
        "drop; }\n",
        n->bridge);
    strbuf_addstr(
        sb,
        "chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local goto "
        "ports; }\n"
        "chain output { type nat hook output priority -100; fib daddr type local goto ports; }\n"
        "chain ports {\n"
        "dnat ip to ip daddr . meta l4proto . th dport map @bound4\n"
        "dnat ip6 to ip6 daddr . meta l4proto . th dport map @bound6\n"
        "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4\n"
        "meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6\n"
        "}\n");
}

static void add_postrouting(struct strbuf *sb, const struct network_state *n)
{
    char subnet[IP_TEXT_MAX];
    strbuf_addstr(sb, "chain postrouting { type nat hook postrouting priority srcnat;\n");
    /* 127.0.0.1 means something else to the container; and a container of this network that comes
     * by a published port must be answered by the way it came. */
    strbuf_addf(sb, "oifname \"%s\" ip saddr 127.0.0.0/8 ct status dnat masquerade\n", n->bridge);
    for (size_t i = 0; i < n->subnets_n; i++) {
        const char *family = n->subnets[i].subnet.addr.family == AF_INET6 ? "ip6" : "ip";
        ip_net_format(&n->subnets[i].subnet, subnet);
        strbuf_addf(sb, "oifname \"%s\" %s saddr %s ct status dnat masquerade\n", n->bridge, family,
                    subnet);
        if (n->masquerade && !n->internal)
            strbuf_addf(sb, "oifname != \"%s\" %s saddr %s masquerade\n", n->bridge, family,
                        subnet);
    }
    strbuf_addstr(sb, "}\n");
}

static void add_forward(struct strbuf *sb, const struct network_state *n)
{
    strbuf_addstr(sb, "chain forward { type filter hook forward priority filter;\n");
    strbuf_addf(sb, "oifname \"%s\" ct state established,related accept\n", n->bridge);
    strbuf_addf(sb, "iifname \"%s\" oifname \"%s\" accept\n", n->bridge, n->bridge);
    if (n->internal)
        strbuf_addf(sb, "iifname \"%s\" drop\n", n->bridge);
    else
        strbuf_addf(sb, "oifname \"%s\" ct status dnat accept\n", n->bridge);
    /* Neither other networks nor the outside get in but by published ports. */
    strbuf_addf(sb, "oifname \"%s\" drop\n}\n", n->bridge);
}

/* Runs "VERB table NAME" commands followed by body. A fresh table is made by "create": replacing
 * one costs the kernel a grace period, some 10 ms, which is paid only where one is there. */
static int make_table(const char *name, const char *body, struct err *err)
{
    struct err first AUTOERR = ERR_INIT;
    struct strbuf fresh AUTOBUF = STRBUF_INIT, replace AUTOBUF = STRBUF_INIT;
    strbuf_addf(&fresh, "create table %s\n%s", name, body);
    if (nft_run(fresh.buf, NULL, &first) == 0)
        return 0;
    if (first.kind != ERR_CONFLICT) {
        err_move(err, &first);
        return -1;
    }
    strbuf_addf(&replace, "add table %s\ndelete table %s\n%s", name, name, body);
    return nft_run(replace.buf, NULL, err);
}

int nft_network_apply(const struct network_state *n, const struct nft_port *ports, size_t ports_n,
                      struct err *err)
{
    char table[NFT_TABLE_MAX];
    struct strbuf sb AUTOBUF = STRBUF_INIT;
    char *name AUTOFREE = xasprintf("inet %s", nft_table_name(n, table));
    strbuf_addf(&sb, "table %s {\n", name);
    add_maps(&sb, "ip", '4');
    add_maps(&sb, "ip6", '6');
    add_translation(&sb, n);
    add_postrouting(&sb, n);
    add_forward(&sb, n);
    strbuf_addstr(&sb, "}\n");
    for (size_t i = 0; i < ports_n; i++)
        add_element(&sb, "add", table, &ports[i], true);
    return make_table(name, sb.buf, err);
}

bool nft_network_exists(const struct network_state *n)
{
    char table[NFT_TABLE_MAX], command[128];
    snprintf(command, sizeof(command), "list chain inet %s forward\n", nft_table_name(n, table));
    return nft_run(command, NULL, NULL) == 0;
}

int nft_network_delete(const struct network_state *n, struct err *err)
{
    char table[NFT_TABLE_MAX], command[128];
    nft_table_name(n, table);
    snprintf(command, sizeof(command), "add table inet %s\ndelete table inet %s\n", table, table);
    return nft_run(command, NULL, err);
}

int nft_dns_redirect(uint16_t udp_port, uint16_t tcp_port, struct err *err)
{
    struct strbuf sb AUTOBUF = STRBUF_INIT;
    strbuf_addf(&sb,
                "table ip compose_dns {\n"
                "chain output { type nat hook output priority -100;\n"
                "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:%u\n"
                "ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:%u\n}\n}\n",
                udp_port, tcp_port);
    return make_table("ip compose_dns", sb.buf, err);
}
