#include "net/forwarding.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "net/endpoint.h"
#include "net/link.h"
#include "net/nft.h"
#include "net/store.h"
#include "net/sysctl.h"

static const char forward4[] = "net/ipv4/ip_forward";
static const char forward6[] = "net/ipv6/conf/all/forwarding";

static char *record_path(const struct paths *paths)
{
    char *dir AUTOFREE = store_networks_dir(paths);
    return path_join(dir, "forwarding.json");
}

static int take_interface(const char *name, uint32_t group, void *arg)
{
    /* Not loopback, nor what a network of ours made, of any root. */
    if (!streq(name, "lo") && group < NETWORK_GROUP_FIRST)
        json_array_append_new(arg, json_string(name));
    return 0;
}

/* The host's own interfaces, as an array of names. */
static json_t *interfaces(void)
{
    struct netlink nl AUTONETLINK = {0};
    json_t *names = json_array();
    if (netlink_open(&nl, NETLINK_ROUTE, NULL) == 0)
        link_each(&nl, take_interface, names, NULL);
    return names;
}

static bool contains(const json_t *names, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach (names, i, v) {
        if (streq(json_string_value(v), name))
            return true;
    }
    return false;
}

static int guard(const json_t *names, struct err *err)
{
    struct strbuf set AUTOBUF = STRBUF_INIT, sb AUTOBUF = STRBUF_INIT;
    size_t i;
    json_t *v;
    json_array_foreach (names, i, v)
        strbuf_addf(&set, "%s\"%s\"", i ? ", " : "", json_string_value(v));
    if (!set.len)
        return 0;
    strbuf_addf(
        &sb,
        "table inet compose_guard { chain forward { type filter hook forward priority filter;\n"
        "iifname { %s } oifname { %s } drop\n}\n}\n",
        set.buf, set.buf);
    return nft_run(sb.buf, NULL, err);
}

/* Hosts that are configured by router advertisements stop listening to them once they forward,
 * unless accept_ra is 2 (Documentation/networking/ip-sysctl). */
static void keep_router_advertisements(const json_t *names)
{
    size_t i;
    json_t *v;
    json_array_foreach (names, i, v) {
        char name[128];
        snprintf(name, sizeof(name), "net/ipv6/conf/%s/accept_ra", json_string_value(v));
        if (sysctl_int(name) == 1)
            sysctl_write(name, "2", NULL);
    }
}

int forwarding_enable(const struct paths *paths, bool ipv6, bool *changed, struct err *err)
{
    *changed = false;
    bool on4 = sysctl_int(forward4) == 1, on6 = !ipv6 || sysctl_int(forward6) == 1;
    if (on4 && on6)
        return 0;
    char *path AUTOFREE = record_path(paths);
    json_t *record AUTOJSON = NULL, *names AUTOJSON = interfaces();
    if (json_read(path, &record, NULL) < 0) {
        record = json_object();
        json_object_set(record, "interfaces", names);
    }
    if (!on4)
        json_object_set_new(record, "ipv4", json_true());
    if (!on6)
        json_object_set_new(record, "ipv6", json_true());
    if (json_write(path, record, true, err) < 0)
        return -1;
    if (guard(json_object_get(record, "interfaces"), err) < 0)
        return -1;
    if (!on6)
        keep_router_advertisements(names);
    if (!on4 && sysctl_write(forward4, "1", err) < 0)
        return -1;
    if (!on6 && sysctl_write(forward6, "1", err) < 0)
        return -1;
    *changed = true;
    log_line("network: switched on IP forwarding");
    return 0;
}

void forwarding_restore(const struct paths *paths)
{
    char *path AUTOFREE = record_path(paths);
    json_t *record AUTOJSON = NULL, *now AUTOJSON = interfaces(), *v;
    if (!fs_exists(path) || json_read(path, &record, NULL) < 0)
        return;
    bool others = false;
    size_t i;
    json_array_foreach (now, i, v) {
        others |= !contains(json_object_get(record, "interfaces"), json_string_value(v));
    }
    if (!others && jbool(record, "ipv4", false))
        sysctl_write(forward4, "0", NULL);
    if (!others && jbool(record, "ipv6", false))
        sysctl_write(forward6, "0", NULL);
    nft_run("add table inet compose_guard\ndelete table inet compose_guard\n", NULL, NULL);
    unlink(path);
}
