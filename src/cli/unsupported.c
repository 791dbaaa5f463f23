#include "cli/unsupported.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "file/diag.h"
#include "runtime/cgroup.h"

/* True where the value asks for nothing that is missing. */
typedef bool honoured(const struct node *value);

static bool is_host(const struct node *n)
{
    return node_str(n) && streq(n->string, "host");
}

static bool is_false(const struct node *n)
{
    return node_str(n) && streq(n->string, "false");
}

static bool is_default(const struct node *n)
{
    return node_str(n) && streq(n->string, "default");
}

static bool is_our_log_driver(const struct node *n)
{
    static const char *const ours[] = {"json-file", "local", "none", "syslog", "journald"};
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (node_str(n) && streq(n->string, ours[i]))
            return true;
    return false;
}

/* "label=disable" asks for what is: no container has a label. */
static bool relabels_nothing(const struct node *n)
{
    const char *s = node_str(n);
    bool label = s && (starts_with(s, "label=") || starts_with(s, "label:"));
    return !label || streq(s + strlen("label="), "disable");
}

/* The kernel has no such knob in cgroup v2. */
static bool is_cgroup_v1(const struct node *n)
{
    (void)n;
    return cgroup_mode() != CGROUP_V2;
}

/* Options are keys: "*" at the end of a path, and these are the ones that mean something. */
static const char *const log_options[] = {"max-size",
                                          "max-file",
                                          "compress",
                                          "tag",
                                          "labels",
                                          "labels-regex",
                                          "env",
                                          "env-regex",
                                          "syslog-address",
                                          "syslog-facility",
                                          "syslog-format",
                                          "syslog-tls-ca-cert",
                                          "syslog-tls-cert",
                                          "syslog-tls-key",
                                          "syslog-tls-skip-verify",
                                          "cache-disabled",
                                          "cache-max-size",
                                          "cache-max-file",
                                          "cache-compress",
                                          NULL};
static const char *const endpoint_options[] = {"com.docker.network.endpoint.ifname",
                                               "com.docker.network.endpoint.sysctls", NULL};

static const char *const network_options[] = {
    "com.docker.network.bridge.name",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.driver.mtu",
    "parent",
    "macvlan_mode",
    NULL,
};

struct rule {
    const char *section, *what;
    const char *path; /* below an item of the section; "*": each member or element */
    const char *why;
    honoured *fine; /* NULL: never */
    const char *const
        *options; /* keys that are known where the path ends in "*"; NULL: all count */
};

#define SWARM   "it means something in a swarm only"
#define WINDOWS "it means something on Windows only"
#define BUILDER "images are built by buildah, without attestations"

static const struct rule rules[] = {
    {"services", "service", "deploy.placement", SWARM, NULL, NULL},
    {"services", "service", "deploy.update_config", SWARM, NULL, NULL},
    {"services", "service", "deploy.rollback_config", SWARM, NULL, NULL},
    {"services", "service", "use_api_socket", "there is no API socket", NULL, NULL},
    {"services", "service", "credential_spec", WINDOWS, NULL, NULL},
    {"services", "service", "cpu_count", WINDOWS, NULL, NULL},
    {"services", "service", "cpu_percent", WINDOWS, NULL, NULL},
    {"services", "service", "mem_swappiness", "cgroup v2 has no such setting", is_cgroup_v1, NULL},
    {"services", "service", "oom_kill_disable", "cgroup v2 has no such setting", is_cgroup_v1,
     NULL},
    {"services", "service", "userns_mode", "the host's user namespace is used", is_host, NULL},
    {"services", "service", "security_opt.*", "nothing is labelled for SELinux", relabels_nothing,
     NULL},
    {"services", "service", "volumes.*.bind.selinux", "nothing is labelled for SELinux", NULL,
     NULL},
    {"services", "service", "logging.driver", "json-file is used", is_our_log_driver, NULL},
    {"services", "service", "logging.options.*", "no driver here knows it", NULL, log_options},
    {"services", "service", "networks.*.driver_opts.*", "endpoints have no such option", NULL,
     endpoint_options},
    {"services", "service", "build.isolation", WINDOWS, is_default, NULL},
    {"services", "service", "build.entitlements", BUILDER, NULL, NULL},
    {"services", "service", "build.provenance", BUILDER, is_false, NULL},
    {"services", "service", "build.sbom", BUILDER, is_false, NULL},
    {"services", "service", "build.no_cache_filter", "no_cache leaves out the cache of all stages",
     NULL, NULL},
    {"networks", "network", "ipam.driver", "the address pools are compose's own", is_default, NULL},
    {"networks", "network", "driver_opts.*", "bridges have no such option", NULL, network_options},
};

static bool is_empty(const struct node *n)
{
    return !node_given(n) || (node_is(n, NODE_SEQUENCE) && !n->count) ||
           (node_is(n, NODE_MAPPING) && !n->count) || (node_is(n, NODE_BOOL) && !n->boolean) ||
           (node_is(n, NODE_STRING) && !*n->string);
}

static bool is_known(const char *const *options, const char *key)
{
    for (; options && *options; options++)
        if (streq(*options, key))
            return true;
    return false;
}

struct walk {
    struct diag *diag;
    const struct rule *rule;
    const char *item; /* of the section */
};

static void walk_path(const struct walk *w, const struct node *n, const char *rest,
                      const char *done);

static void walk_member(const struct walk *w, const struct node *n, const char *key,
                        const char *rest, const char *done)
{
    char *path AUTOFREE = xasprintf("%s%s%s", done, *done && *key != '[' ? "." : "", key);
    if (!is_empty(n))
        walk_path(w, n, rest, path);
}

/* rest: what remains of the path, "": n is what it names. */
static void walk_path(const struct walk *w, const struct node *n, const char *rest,
                      const char *done)
{
    const struct rule *r = w->rule;
    if (!*rest) {
        const char *text = node_str(n) ? n->string : NULL;
        if (!r->fine || !r->fine(n))
            diag_warning(w->diag, &n->mark, "%s \"%s\": %s%s%s%s is not supported: %s", r->what,
                         w->item, done, text ? " \"" : "", text ? text : "", text ? "\"" : "",
                         r->why);
        return;
    }
    size_t len = strcspn(rest, ".");
    const char *next = rest + len + (rest[len] == '.');
    if (*rest != '*') {
        char *key AUTOFREE = xstrndup(rest, len);
        walk_member(w, node_get(n, key), key, next, done);
        return;
    }
    for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++)
        if (*next || !is_known(r->options, n->pairs[i].key))
            walk_member(w, n->pairs[i].value, n->pairs[i].key, next, done);
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++) {
        char number[32];
        snprintf(number, sizeof(number), "[%zu]", i);
        walk_member(w, n->items[i], number, next, done);
    }
}

/* What belongs to somebody else is his to configure. */
static bool is_external(const struct node *item)
{
    return node_get_bool(item, "external", false);
}

void warn_unsupported(const struct cli *cli, const struct project *p, const char *part)
{
    struct diag d AUTODIAG = DIAG_INIT;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        if (!starts_with(rules[i].path, part))
            continue;
        const struct node *section = node_get(p->document, rules[i].section);
        for (size_t k = 0; node_is(section, NODE_MAPPING) && k < section->count; k++) {
            const struct node_pair *item = &section->pairs[k];
            struct walk w = {.diag = &d, .rule = &rules[i], .item = item->key};
            if (item->value->kind == NODE_MAPPING && !is_external(item->value))
                walk_path(&w, item->value, rules[i].path, "");
        }
    }
    cli_diagnostics(cli, &d);
}
