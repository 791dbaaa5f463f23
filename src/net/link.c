#include "net/link.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"

static void put_ifinfo(struct nlmsghdr *nlh, int ifindex, bool up)
{
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
    ifi->ifi_family = AF_UNSPEC;
    ifi->ifi_index = ifindex;
    if (up)
        ifi->ifi_flags = ifi->ifi_change = IFF_UP;
}

void link_add_bridge(struct netlink *nl, const char *name, const uint8_t mac[6], int mtu,
                     uint32_t group)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
                                           "make bridge %s", name);
    put_ifinfo(nlh, 0, false);
    mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
    mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
    mnl_attr_put_u32(nlh, IFLA_GROUP, group);
    if (mtu)
        mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)mtu);
    struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(nlh, info);
}

void link_add_veth(struct netlink *nl, const char *name, int bridge, const char *peer, int netns_fd,
                   const uint8_t mac[6], int mtu, uint32_t group)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
                                           "make interface %s", name);
    put_ifinfo(nlh, 0, true);
    mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
    mnl_attr_put_u32(nlh, IFLA_MASTER, (uint32_t)bridge);
    mnl_attr_put_u32(nlh, IFLA_GROUP, group);
    if (mtu)
        mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)mtu);
    struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
    struct nlattr *other = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
    put_ifinfo(nlh, 0, false);
    mnl_attr_put_strz(nlh, IFLA_IFNAME, peer);
    mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
    mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    if (mtu)
        mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)mtu);
    mnl_attr_nest_end(nlh, other);
    mnl_attr_nest_end(nlh, data);
    mnl_attr_nest_end(nlh, info);
}

void link_add_macvlan(struct netlink *nl, int parent, const char *name, int netns_fd,
                      const uint8_t mac[6], int mtu, uint32_t mode)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
                                           "make interface %s at interface %d", name, parent);
    put_ifinfo(nlh, 0, false);
    mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
    mnl_attr_put_u32(nlh, IFLA_LINK, (uint32_t)parent);
    mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
    mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)netns_fd);
    if (mtu)
        mnl_attr_put_u32(nlh, IFLA_MTU, (uint32_t)mtu);
    struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
    mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "macvlan");
    struct nlattr *data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
    mnl_attr_put_u32(nlh, IFLA_MACVLAN_MODE, mode);
    mnl_attr_nest_end(nlh, data);
    mnl_attr_nest_end(nlh, info);
}

void link_set_up(struct netlink *nl, int ifindex)
{
    put_ifinfo(netlink_message(nl, RTM_NEWLINK, 0, "set interface %d up", ifindex), ifindex, true);
}

void link_set_master(struct netlink *nl, int ifindex, int bridge)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_NEWLINK, 0, "put interface %d into bridge %d",
                                           ifindex, bridge);
    put_ifinfo(nlh, ifindex, true);
    mnl_attr_put_u32(nlh, IFLA_MASTER, (uint32_t)bridge);
}

void link_set_port(struct netlink *nl, int ifindex, bool hairpin, bool isolated)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_SETLINK, 0, "set bridge port %d", ifindex);
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
    ifi->ifi_family = AF_BRIDGE;
    ifi->ifi_index = ifindex;
    struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_PROTINFO | NLA_F_NESTED);
    mnl_attr_put_u8(nlh, IFLA_BRPORT_MODE, hairpin);
    mnl_attr_put_u8(nlh, IFLA_BRPORT_ISOLATED, isolated);
    mnl_attr_nest_end(nlh, info);
}

void link_disable_port(struct netlink *nl, int ifindex)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_SETLINK, 0, "disable bridge port %d", ifindex);
    netlink_tolerate(nl, ENODEV, EINVAL);
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
    ifi->ifi_family = AF_BRIDGE;
    ifi->ifi_index = ifindex;
    struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_PROTINFO | NLA_F_NESTED);
    mnl_attr_put_u8(nlh, IFLA_BRPORT_STATE, BR_STATE_DISABLED);
    mnl_attr_nest_end(nlh, info);
}

void link_delete_group(struct netlink *nl, uint32_t group)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_DELLINK, 0, "remove interfaces of group %u",
                                           group);
    netlink_tolerate(nl, ENODEV, 0);
    put_ifinfo(nlh, 0, false);
    mnl_attr_put_u32(nlh, IFLA_GROUP, group);
}

void link_delete(struct netlink *nl, const char *name)
{
    struct nlmsghdr *nlh = netlink_message(nl, RTM_DELLINK, 0, "remove interface %s", name);
    netlink_tolerate(nl, ENODEV, ENOENT);
    put_ifinfo(nlh, 0, false);
    mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
}

void link_add_address(struct netlink *nl, int ifindex, const struct ip_net *addr)
{
    char text[IP_TEXT_MAX];
    struct nlmsghdr *nlh = netlink_message(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
                                           "add address %s", ip_net_format(addr, text));
    netlink_tolerate(nl, EEXIST, 0);
    struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
    ifa->ifa_family = (uint8_t)addr->addr.family;
    ifa->ifa_prefixlen = (uint8_t)addr->prefix;
    ifa->ifa_index = (uint32_t)ifindex;
    unsigned size = ip_size(&addr->addr);
    bool link_local = addr->addr.family == AF_INET6
                          ? IN6_IS_ADDR_LINKLOCAL(&addr->addr.v6)
                          : addr->addr.bytes[0] == 169 && addr->addr.bytes[1] == 254;
    ifa->ifa_scope = link_local ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    mnl_attr_put(nlh, IFA_LOCAL, size, addr->addr.bytes);
    mnl_attr_put(nlh, IFA_ADDRESS, size, addr->addr.bytes);
    if (addr->addr.family == AF_INET && addr->prefix < 31) {
        struct ip_addr last = ip_net_last(addr);
        mnl_attr_put(nlh, IFA_BROADCAST, size, last.bytes);
    }
    if (addr->addr.family == AF_INET6)
        ifa->ifa_flags = IFA_F_NODAD;
}

void link_add_default_route(struct netlink *nl, int ifindex, const struct ip_addr *gateway)
{
    char text[IP_TEXT_MAX];
    struct nlmsghdr *nlh = netlink_message(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
                                           "add default route by %s", ip_format(gateway, text));
    struct rtmsg *rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
    rtm->rtm_family = (unsigned char)gateway->family;
    rtm->rtm_table = RT_TABLE_MAIN;
    rtm->rtm_protocol = RTPROT_BOOT;
    rtm->rtm_scope = RT_SCOPE_UNIVERSE;
    rtm->rtm_type = RTN_UNICAST;
    mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)ifindex);
    mnl_attr_put(nlh, RTA_GATEWAY, ip_size(gateway), gateway->bytes);
}

int link_index(const char *name)
{
    return (int)if_nametoindex(name);
}

struct each {
    int (*fn)(const char *name, uint32_t group, void *arg);
    void *arg;
};

static int take_link(const struct nlmsghdr *nlh, void *arg)
{
    const struct each *each = arg;
    const char *name = NULL;
    uint32_t group = 0;
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(struct ifinfomsg))
    {
        if (mnl_attr_get_type(attr) == IFLA_IFNAME)
            name = mnl_attr_get_str(attr);
        if (mnl_attr_get_type(attr) == IFLA_GROUP)
            group = mnl_attr_get_u32(attr);
    }
    return name && each->fn(name, group, each->arg) != 0 ? MNL_CB_STOP : MNL_CB_OK;
}

int link_each(struct netlink *nl, int (*fn)(const char *name, uint32_t group, void *arg), void *arg,
              struct err *err)
{
    struct each each = {.fn = fn, .arg = arg};
    struct nlmsghdr *nlh = netlink_message(nl, RTM_GETLINK, 0, "list interfaces");
    mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
    return netlink_dump(nl, take_link, &each, err);
}

struct routes {
    VEC(struct host_route) list;
};

static bool take_address(struct ip_addr *a, int family, const struct nlattr *attr)
{
    a->family = family;
    if (!attr || mnl_attr_get_payload_len(attr) < ip_size(a))
        return false;
    memcpy(a->bytes, mnl_attr_get_payload(attr), ip_size(a));
    return true;
}

static int take_route(const struct nlmsghdr *nlh, void *arg)
{
    struct routes *routes = arg;
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
    if (rtm->rtm_dst_len == 0 || rtm->rtm_table == RT_TABLE_LOCAL ||
        (rtm->rtm_flags & RTM_F_CLONED))
        return MNL_CB_OK;
    if (rtm->rtm_type == RTN_LOCAL || rtm->rtm_type == RTN_BROADCAST ||
        rtm->rtm_type == RTN_MULTICAST || rtm->rtm_type == RTN_ANYCAST)
        return MNL_CB_OK;
    struct host_route r = {.dst.prefix = rtm->rtm_dst_len};
    const struct nlattr *attr;
    mnl_attr_for_each(attr, nlh, sizeof(*rtm))
    {
        if (mnl_attr_get_type(attr) == RTA_DST && !take_address(&r.dst.addr, rtm->rtm_family, attr))
            return MNL_CB_OK;
        if (mnl_attr_get_type(attr) == RTA_OIF)
            r.ifindex = (int)mnl_attr_get_u32(attr);
    }
    if (r.dst.addr.family == AF_INET || r.dst.addr.family == AF_INET6)
        vec_push(&routes->list, r);
    return MNL_CB_OK;
}

static int take_host_address(const struct nlmsghdr *nlh, void *arg)
{
    struct routes *routes = arg;
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
    struct host_route r = {
        .dst.prefix = ifa->ifa_prefixlen, .ifindex = (int)ifa->ifa_index, .local = true};
    if (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6)
        return MNL_CB_OK;
    const struct nlattr *attr;
    bool have = false;
    /* IFA_LOCAL is ours and IFA_ADDRESS the peer's on a point-to-point link; IPv6 has the latter
     * only. */
    mnl_attr_for_each(attr, nlh, sizeof(*ifa))
    {
        int type = mnl_attr_get_type(attr);
        if (type == IFA_LOCAL || (type == IFA_ADDRESS && !have))
            have = take_address(&r.dst.addr, ifa->ifa_family, attr);
    }
    if (have && !ip_is_loopback(&r.dst.addr))
        vec_push(&routes->list, r);
    return MNL_CB_OK;
}

int link_host_routes(struct netlink *nl, struct host_route **out, size_t *n, struct err *err)
{
    struct routes routes = {0};
    struct nlmsghdr *nlh = netlink_message(nl, RTM_GETROUTE, 0, "list routes");
    mnl_nlmsg_put_extra_header(nlh, sizeof(struct rtmsg));
    if (netlink_dump(nl, take_route, &routes, err) < 0)
        goto fail;
    nlh = netlink_message(nl, RTM_GETADDR, 0, "list addresses");
    mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifaddrmsg));
    if (netlink_dump(nl, take_host_address, &routes, err) < 0)
        goto fail;
    *out = routes.list.v;
    *n = routes.list.n;
    return 0;
fail:
    vec_release(&routes.list);
    return -1;
}
