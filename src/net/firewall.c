#include "net/firewall.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/subprocess.h"
#include "net/nft.h"

static bool run_ok(const char *const *argv, struct strbuf *out)
{
    struct subprocess p = {.argv = argv, .timeout_ns = 10 * INT64_C(1000000000), .out = out};
    return subprocess_run(&p, NULL) == 0 && p.status == 0;
}

/* The chains of iptables-nft. */

static json_t *list_forward(const char *family)
{
    json_t *list = NULL;
    char command[64];
    snprintf(command, sizeof(command), "list chain %s filter FORWARD\n", family);
    return nft_run(command, &list, NULL) == 0 ? list : NULL;
}

static const char *jump_target(const json_t *rule)
{
    size_t i;
    json_t *expr;
    json_array_foreach (json_object_get(rule, "expr"), i, expr) {
        const char *target = jstr(json_object_get(expr, "jump"), "target", NULL);
        if (target)
            return target;
    }
    return NULL;
}

/* Whether a rule drops or rejects whatever comes to it: RHEL's default ends so. */
static bool rule_drops_all(const json_t *rule)
{
    size_t i;
    json_t *expr;
    bool drops = false, matches = false;
    json_array_foreach (json_object_get(rule, "expr"), i, expr) {
        matches |= json_object_get(expr, "match") != NULL;
        drops |= json_object_get(expr, "drop") || json_object_get(expr, "reject");
    }
    return drops && !matches;
}

struct forward_chain {
    bool exists, drops;
    bool admitted;            /* our rules are there */
    json_int_t docker_handle; /* of the last jump to one of Docker's chains, 0: none */
};

static struct forward_chain inspect_forward(const json_t *list, const char *comment)
{
    struct forward_chain c = {0};
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(list, "nftables"), i, item) {
        const json_t *chain = json_object_get(item, "chain"), *rule = json_object_get(item, "rule");
        if (chain) {
            c.exists = true;
            c.drops |= streq(jstr(chain, "policy", ""), "drop");
        }
        if (!rule)
            continue;
        c.drops |= rule_drops_all(rule);
        c.admitted |= comment && streq(jstr(rule, "comment", ""), comment);
        const char *target = jump_target(rule);
        if (target && starts_with(target, "DOCKER"))
            c.docker_handle = jint(rule, "handle", 0);
    }
    return c;
}

static int admit_family(const char *family, const struct network_state *n, struct err *err)
{
    char table[NFT_TABLE_MAX], where[64] = "";
    json_t *list AUTOJSON = list_forward(family);
    struct forward_chain c = inspect_forward(list, nft_table_name(n, table));
    if (!c.exists || !c.drops || c.admitted)
        return 0;
    const char *verb = "insert";
    if (c.docker_handle) {
        verb = "add";
        snprintf(where, sizeof(where), " handle %lld", (long long)c.docker_handle);
    }
    struct strbuf sb AUTOBUF = STRBUF_INIT;
    strbuf_addf(&sb, "%s rule %s filter FORWARD%s oifname \"%s\" counter accept comment \"%s\"\n",
                verb, family, where, n->bridge, table);
    strbuf_addf(&sb, "%s rule %s filter FORWARD%s iifname \"%s\" counter accept comment \"%s\"\n",
                verb, family, where, n->bridge, table);
    return nft_run(sb.buf, NULL, err);
}

void firewall_withdraw(const struct network_state *n, struct strbuf *commands)
{
    static const char *const families[] = {"ip", "ip6"};
    char table[NFT_TABLE_MAX];
    nft_table_name(n, table);
    for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
        json_t *list AUTOJSON = list_forward(families[f]), *item;
        size_t i;
        json_array_foreach (json_object_get(list, "nftables"), i, item) {
            const json_t *rule = json_object_get(item, "rule");
            if (rule && streq(jstr(rule, "comment", ""), table))
                strbuf_addf(commands, "delete rule %s filter FORWARD handle %lld\n", families[f],
                            (long long)jint(rule, "handle", 0));
        }
    }
}

/* Firewalls that are not ours to edit. */

static bool firewalld_runs(void)
{
    static const char *const argv[] = {"firewall-cmd", "--state", NULL};
    return fs_exists("/run/firewalld") && run_ok(argv, NULL);
}

static bool firewalld_trust(const char *bridge)
{
    char *change AUTOFREE = xasprintf("--change-interface=%s", bridge);
    const char *const argv[] = {"firewall-cmd", "--zone=trusted", change, NULL};
    return run_ok(argv, NULL);
}

/* "inet filter forward": the first chain of the admin's own that drops by policy. */
static char *foreign_drop(void)
{
    json_t *list AUTOJSON = NULL, *item;
    size_t i;
    if (nft_run("list chains\n", &list, NULL) < 0)
        return NULL;
    json_array_foreach (json_object_get(list, "nftables"), i, item) {
        const json_t *chain = json_object_get(item, "chain");
        const char *family = jstr(chain, "family", ""), *table = jstr(chain, "table", ""),
                   *name = jstr(chain, "name", "");
        if (!streq(jstr(chain, "hook", ""), "forward") || !streq(jstr(chain, "policy", ""), "drop"))
            continue;
        bool iptables = streq(table, "filter") && streq(name, "FORWARD") &&
                        starts_with(family, "ip");
        if (starts_with(table, "compose_") || iptables || streq(table, "firewalld"))
            continue;
        return xasprintf("%s %s %s", family, table, name);
    }
    return NULL;
}

/* The old iptables keeps its rules where nftables does not see them. */
static bool legacy_drops(void)
{
    static const char *const argv[] = {"iptables-legacy", "-w", "2", "-S", "FORWARD", NULL};
    char *names AUTOFREE = NULL;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (access("/proc/net/ip_tables_names", R_OK) < 0)
        return false;
    size_t len = 0;
    if (fs_read("/proc/net/ip_tables_names", 4096, &names, &len, NULL) < 0 ||
        !strstr(names, "filter"))
        return false;
    return run_ok(argv, &out) && strstr(out.buf, "-P FORWARD DROP");
}

char *firewall_obstacle(char **remedy)
{
    char *chain AUTOFREE = foreign_drop();
    *remedy = NULL;
    if (chain) {
        *remedy = xasprintf(
            "let containers through: nft add rule %s iifname \"br-*\" accept; nft add rule "
            "%s oifname \"br-*\" accept",
            chain, chain);
        return xasprintf("the nftables chain \"%s\" drops forwarded traffic by policy", chain);
    }
    if (legacy_drops()) {
        *remedy = xstrdup(
            "let containers through: iptables-legacy -I FORWARD -i br-+ -j ACCEPT; "
            "iptables-legacy -I FORWARD -o br-+ -j ACCEPT; or change to iptables-nft");
        return xstrdup("iptables-legacy's FORWARD chain drops by policy");
    }
    return NULL;
}

int firewall_admit(const struct network_state *n, char **warning, struct err *err)
{
    *warning = NULL;
    if (admit_family("ip", n, err) < 0 || (n->ipv6 && admit_family("ip6", n, err) < 0))
        return err_wrap(err, "admit network %s through iptables", n->name);
    if (firewalld_runs() && !firewalld_trust(n->bridge))
        *warning = xasprintf(
            "firewalld runs and did not put %s into its zone \"trusted\": containers may "
            "not reach the outside (firewall-cmd --zone=trusted --change-interface=%s)",
            n->bridge, n->bridge);
    if (*warning)
        return 0;
    char *remedy AUTOFREE = NULL, *obstacle AUTOFREE = firewall_obstacle(&remedy);
    if (obstacle)
        *warning = xasprintf("%s: containers may not reach the outside; %s", obstacle, remedy);
    return 0;
}
