#include "net/pool.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/strbuf.h"

enum { LARGE_POOL = 16, SUBNET_OF_LARGE = 22, SUBNET_OF_SMALL = 24 };

/* Docker's ranges. 172.17 comes last: it is what a Docker that is started later takes for itself.
 */
const char *const pool_defaults[] = {
    "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/14",  "172.24.0.0/14",
    "172.28.0.0/14", "172.17.0.0/16", "192.168.0.0/16", NULL,
};

/* What in taken overlaps net, NULL: nothing. */
static const struct pool_taken *pool_conflict(const struct pool_taken *taken, size_t n,
                                              const struct ip_net *net)
{
    for (size_t i = 0; i < n; i++) {
        if (ip_net_overlaps(&taken[i].net, net))
            return &taken[i];
    }
    return NULL;
}

/* Behind the larger of net and what it conflicts with; false at the end of the address space. */
static bool step_over(const struct ip_net *net, const struct ip_net *conflict, struct ip_addr *next)
{
    struct ip_addr a = ip_net_last(net);
    struct ip_net masked = ip_net_masked(conflict);
    struct ip_addr b = ip_net_last(&masked);
    return ip_add(ip_compare(&a, &b) > 0 ? &a : &b, 1, next);
}

static bool pick_from(const struct ip_net *pool, const struct pool_taken *taken, size_t n,
                      struct ip_net *out)
{
    struct ip_net net = ip_net_masked(pool);
    struct ip_addr last = ip_net_last(&net);
    unsigned size = net.prefix <= LARGE_POOL ? SUBNET_OF_LARGE : SUBNET_OF_SMALL;
    if (net.prefix < size)
        net.prefix = size;
    for (;;) {
        const struct pool_taken *conflict = pool_conflict(taken, n, &net);
        if (!conflict) {
            *out = net;
            return true;
        }
        if (!step_over(&net, &conflict->net, &net.addr) || ip_compare(&net.addr, &last) > 0)
            return false;
    }
}

static int exhausted(const char *const *pools, const struct pool_taken *taken, size_t n,
                     struct err *err)
{
    struct strbuf why AUTOBUF = STRBUF_INIT;
    size_t named = 0, more = 0;
    for (const char *const *pool = pools; *pool; pool++) {
        strbuf_addf(&why, "%s%s", pool == pools ? "" : ", ", *pool);
    }
    strbuf_addstr(&why, ") are in use, by ");
    for (size_t i = 0; i < n; i++) {
        for (const char *const *pool = pools; *pool; pool++) {
            struct ip_net net;
            if (!ip_net_parse(*pool, &net) || !ip_net_overlaps(&net, &taken[i].net))
                continue;
            if (named < 3)
                strbuf_addf(&why, "%s%s", named++ ? ", " : "", taken[i].what);
            else
                more++;
            break;
        }
    }
    if (more)
        strbuf_addf(&why, " and %zu more", more);
    return err_set(
        err, ERR_UNAVAILABLE,
        "no free subnet: all address pools (%s; remove networks that are no longer used, give "
        "the network a subnet (ipam.config), or set COMPOSE_ADDRESS_POOLS to other ranges, for "
        "instance 10.200.0.0/16",
        why.buf);
}

int pool_pick(const char *const *pools, const struct pool_taken *taken, size_t n,
              struct ip_net *out, struct err *err)
{
    for (const char *const *pool = pools; *pool; pool++) {
        struct ip_net net;
        if (!ip_net_parse(*pool, &net) || net.addr.family != AF_INET || net.prefix > 30)
            return err_set(err, ERR_INVALID,
                           "address pool \"%s\": want an IPv4 range such as 10.200.0.0/16", *pool);
        if (pick_from(&net, taken, n, out))
            return 0;
    }
    return exhausted(pools, taken, n, err);
}

int pool_pick_ula(const struct pool_taken *taken, size_t n, struct ip_net *out, struct err *err)
{
    for (int tries = 0; tries < 64; tries++) {
        *out = (struct ip_net){.addr.family = AF_INET6, .prefix = POOL_PREFIX6};
        out->addr.bytes[0] = 0xfd;
        if (getrandom(out->addr.bytes + 1, 5, 0) != 5)
            return err_sys(err, errno, "choose an IPv6 subnet");
        if (!pool_conflict(taken, n, out))
            return 0;
    }
    return err_set(err, ERR_UNAVAILABLE, "no free IPv6 subnet in fd00::/8");
}

char **pool_split(const char *list)
{
    char **v = xcalloc(1, sizeof(*v));
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ", \t\n");
        if (n) {
            char *item AUTOFREE = xstrndup(p, n);
            strv_push(&v, item);
        }
        p += n;
        p += strspn(p, ", \t\n");
    }
    return v;
}
