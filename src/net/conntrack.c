#include "net/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "net/netlink.h"

struct flow {
    uint8_t family;
    uint16_t len;      /* of tuple */
    uint8_t tuple[96]; /* payload of CTA_TUPLE_ORIG */
};

struct search {
    const uint16_t *ports;
    size_t n;
    VEC(struct flow) found;
};

static const struct nlattr *nested(const struct nlattr *parent, uint16_t type)
{
    const struct nlattr *attr;
    mnl_attr_for_each_nested(attr, parent)
    {
        if (mnl_attr_get_type(attr) == type)
            return attr;
    }
    return NULL;
}

static bool wanted(const struct search *s, const struct nlattr *tuple)
{
    const struct nlattr *proto = nested(tuple, CTA_TUPLE_PROTO);
    const struct nlattr *num = proto ? nested(proto, CTA_PROTO_NUM) : NULL;
    const struct nlattr *port = proto ? nested(proto, CTA_PROTO_DST_PORT) : NULL;
    if (!num || !port || mnl_attr_get_payload_len(port) < 2 || mnl_attr_get_u8(num) != IPPROTO_UDP)
        return false;
    for (size_t i = 0; i < s->n; i++) {
        if (ntohs(mnl_attr_get_u16(port)) == s->ports[i])
            return true;
    }
    return false;
}

static int take_flow(const struct nlmsghdr *nlh, void *arg)
{
    struct search *s = arg;
    const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(*nfg))
    {
        if (mnl_attr_get_type(attr) != CTA_TUPLE_ORIG || !wanted(s, attr))
            continue;
        struct flow f = {.family = nfg->nfgen_family, .len = mnl_attr_get_payload_len(attr)};
        if (f.len > sizeof(f.tuple))
            continue;
        memcpy(f.tuple, mnl_attr_get_payload(attr), f.len);
        vec_push(&s->found, f);
    }
    return MNL_CB_OK;
}

static struct nlmsghdr *message(struct netlink *nl, int type, uint8_t family, const char *what)
{
    struct nlmsghdr *nlh = netlink_message(nl, (uint16_t)((NFNL_SUBSYS_CTNETLINK << 8) | type), 0,
                                           "%s", what);
    struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
    nfg->nfgen_family = family;
    nfg->version = NFNETLINK_V0;
    return nlh;
}

int conntrack_forget_udp(const uint16_t *ports, size_t n, struct err *err)
{
    struct netlink nl AUTONETLINK = {0};
    struct search s = {.ports = ports, .n = n};
    if (netlink_open(&nl, NETLINK_NETFILTER, err) < 0)
        return -1;
    message(&nl, IPCTNL_MSG_CT_GET, AF_UNSPEC, "list tracked connections");
    int r = netlink_dump(&nl, take_flow, &s, err);
    for (size_t i = 0; r == 0 && i < s.found.n; i++) {
        const struct flow *f = &s.found.v[i];
        struct nlmsghdr *nlh = message(&nl, IPCTNL_MSG_CT_DELETE, f->family, "forget a connection");
        netlink_tolerate(&nl, ENOENT, 0);
        mnl_attr_put(nlh, CTA_TUPLE_ORIG | NLA_F_NESTED, f->len, f->tuple);
        r = netlink_commit(&nl, err);
    }
    vec_release(&s.found);
    return r;
}
