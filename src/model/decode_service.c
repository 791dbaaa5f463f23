#include "model/decode_service.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "file/port_spec.h"
#include "file/scalar.h"

#define NEW_LIST(a, T, list) arena_array((a), T, node_is((list), NODE_SEQUENCE) ? (list)->count : 0)

static size_t list_n(const struct node *list)
{
    return node_is(list, NODE_SEQUENCE) ? list->count : 0;
}

static size_t map_n(const struct node *map)
{
    return node_is(map, NODE_MAPPING) ? map->count : 0;
}

const char *decode_string(const struct node *n, const char *key)
{
    return node_get_str(n, key);
}

static int64_t decode_int(const struct node *n, const char *key, int64_t fallback)
{
    const struct node *v = node_get(n, key);
    return node_is(v, NODE_INT) ? v->integer : fallback;
}

int decode_flag(const struct node *n, const char *key)
{
    const struct node *v = node_get(n, key);
    return node_is(v, NODE_BOOL) ? v->boolean : UNSET;
}

static bool get_bool(const struct node *n, const char *key)
{
    return node_get_bool(n, key, false);
}

/* Sizes are decimal texts in the document. */
static int64_t get_bytes(const struct node *n, const char *key)
{
    const char *s = node_get_str(n, key);
    int64_t v;
    return s && scalar_parse_int(s, 10, &v) ? v : UNSET;
}

static int64_t get_duration(const struct node *n, const char *key)
{
    const char *s = node_get_str(n, key);
    int64_t v;
    return s && duration_parse(s, &v) ? v : UNSET;
}

static double get_float(const struct node *n, const char *key)
{
    const struct node *v = node_get(n, key);
    return node_is(v, NODE_FLOAT) ? node_number(v) : node_is(v, NODE_INT) ? (double)v->integer : 0;
}

static struct strings decode_strings(struct arena *a, const struct node *list)
{
    struct strings s = {.v = arena_array(a, const char *, list_n(list) + 1)};
    for (size_t i = 0; i < list_n(list); i++)
        if (node_str(list->items[i]))
            s.v[s.n++] = list->items[i]->string;
    return s;
}

struct key_values decode_pairs(struct arena *a, const struct node *map)
{
    struct key_values out = {.v = arena_array(a, struct key_value, map_n(map))};
    for (size_t i = 0; i < map_n(map); i++)
        out.v[out.n++] = (struct key_value){.key = map->pairs[i].key,
                                            .value = node_str(map->pairs[i].value)};
    return out;
}

/* "HOST=ADDRESS" entries. */
static struct key_values decode_hosts(struct arena *a, const struct node *list)
{
    struct key_values out = {.v = NEW_LIST(a, struct key_value, list)};
    for (size_t i = 0; i < list_n(list); i++) {
        const char *s = node_str(list->items[i]), *eq = s ? strchr(s, '=') : NULL;
        if (eq)
            out.v[out.n++] = (struct key_value){.key = arena_strndup(a, s, (size_t)(eq - s)),
                                                .value = eq + 1};
    }
    return out;
}

static struct file_mount *decode_file_mounts(struct arena *a, const struct node *list, size_t *n,
                                             const char *prefix)
{
    struct file_mount *v = NEW_LIST(a, struct file_mount, list);
    *n = list_n(list);
    for (size_t i = 0; i < *n; i++) {
        const struct node *item = list->items[i];
        const char *source = decode_string(item, "source"), *mode = decode_string(item, "mode");
        const char *target = decode_string(item, "target");
        int64_t bits = UNSET;
        if (mode && !scalar_parse_int(mode, 8, &bits))
            bits = UNSET;
        /* A bare name of a secret is one below /run/secrets; of a config, below the root. */
        if (!target || *target != '/')
            target = arena_printf(a, "%s/%s", prefix, target ? target : source ? source : "");
        v[i] = (struct file_mount){.source = source ? source : "",
                                   .target = target,
                                   .uid = decode_string(item, "uid"),
                                   .gid = decode_string(item, "gid"),
                                   .mode = bits,
                                   .mark = item->mark};
    }
    return v;
}

static struct ulimit *decode_ulimits(struct arena *a, const struct node *map, size_t *n)
{
    *n = map_n(map);
    struct ulimit *v = arena_array(a, struct ulimit, *n);
    for (size_t i = 0; i < *n; i++) {
        const struct node *value = map->pairs[i].value;
        int64_t single = node_is(value, NODE_INT) ? value->integer : 0;
        v[i] = (struct ulimit){.name = map->pairs[i].key,
                               .soft = decode_int(value, "soft", single),
                               .hard = decode_int(value, "hard", single)};
    }
    return v;
}

static struct build *decode_build(struct arena *a, const struct node *n)
{
    if (!n)
        return NULL;
    struct build *b = arena_new_of(a, struct build);
    *b = (struct build){
        .context = decode_string(n, "context"),
        .dockerfile = decode_string(n, "dockerfile"),
        .dockerfile_inline = decode_string(n, "dockerfile_inline"),
        .args = decode_pairs(a, node_get(n, "args")),
        .additional_contexts = decode_pairs(a, node_get(n, "additional_contexts")),
        .labels = decode_pairs(a, node_get(n, "labels")),
        .ssh = decode_pairs(a, node_get(n, "ssh")),
        .cache_from = decode_strings(a, node_get(n, "cache_from")),
        .cache_to = decode_strings(a, node_get(n, "cache_to")),
        .tags = decode_strings(a, node_get(n, "tags")),
        .platforms = decode_strings(a, node_get(n, "platforms")),
        .extra_hosts = decode_strings(a, node_get(n, "extra_hosts")),
        .target = decode_string(n, "target"),
        .network = decode_string(n, "network"),
        .shm_size = get_bytes(n, "shm_size"),
        .no_cache = get_bool(n, "no_cache"),
        .pull = get_bool(n, "pull"),
        .privileged = get_bool(n, "privileged"),
    };
    b->secrets = decode_file_mounts(a, node_get(n, "secrets"), &b->secrets_n, "");
    b->ulimits = decode_ulimits(a, node_get(n, "ulimits"), &b->ulimits_n);
    return b;
}

static enum depends_condition decode_condition(const char *s)
{
    if (s && streq(s, "service_healthy"))
        return DEPENDS_HEALTHY;
    return s && streq(s, "service_completed_successfully") ? DEPENDS_COMPLETED : DEPENDS_STARTED;
}

static void decode_dependencies(struct arena *a, const struct node *map, struct service *s)
{
    s->depends_on_n = map_n(map);
    s->depends_on = arena_array(a, struct dependency, s->depends_on_n);
    for (size_t i = 0; i < s->depends_on_n; i++) {
        const struct node_pair *pair = &map->pairs[i];
        s->depends_on[i] = (struct dependency){
            .service = pair->key,
            .condition = decode_condition(decode_string(pair->value, "condition")),
            .restart = get_bool(pair->value, "restart"),
            .required = node_get_bool(pair->value, "required", true),
            .mark = pair->key_mark,
        };
    }
}

static enum mount_type decode_mount_type(const char *s)
{
    static const char *const names[] = {
        [MOUNT_BIND] = "bind",   [MOUNT_VOLUME] = "volume", [MOUNT_TMPFS] = "tmpfs",
        [MOUNT_IMAGE] = "image", [MOUNT_NPIPE] = "npipe",   [MOUNT_CLUSTER] = "cluster"};
    for (size_t i = 0; s && i < ARRAY_SIZE(names); i++)
        if (streq(s, names[i]))
            return (enum mount_type)i;
    return MOUNT_VOLUME;
}

static struct service_mount decode_mount(const struct node *n)
{
    const struct node *bind = node_get(n, "bind"), *volume = node_get(n, "volume");
    const struct node *tmpfs = node_get(n, "tmpfs"), *image = node_get(n, "image");
    struct service_mount m = {
        .type = decode_mount_type(decode_string(n, "type")),
        .source = decode_string(n, "source"),
        .target = decode_string(n, "target"),
        .read_only = get_bool(n, "read_only"),
        .consistency = decode_string(n, "consistency"),
        .create_host_path = get_bool(bind, "create_host_path"),
        .propagation = decode_string(bind, "propagation"),
        .recursive = decode_string(bind, "recursive"),
        .selinux = decode_string(bind, "selinux"),
        .nocopy = get_bool(volume, "nocopy"),
        .subpath = decode_string(volume, "subpath"),
        .tmpfs_size = get_bytes(tmpfs, "size"),
        .tmpfs_mode = decode_int(tmpfs, "mode", UNSET),
        .mark = n->mark,
    };
    if (m.type == MOUNT_IMAGE)
        m.subpath = decode_string(image, "subpath");
    return m;
}

static struct port_mapping decode_port(const struct node *n)
{
    const char *published = decode_string(n, "published");
    const char *protocol = decode_string(n, "protocol"), *mode = decode_string(n, "mode");
    struct port_mapping p = {
        .host_ip = decode_string(n, "host_ip"),
        .target = (uint16_t)decode_int(n, "target", 0),
        .protocol = protocol ? protocol : "tcp",
        .mode = mode ? mode : "ingress",
        .name = decode_string(n, "name"),
        .app_protocol = decode_string(n, "app_protocol"),
        .mark = n->mark,
    };
    if (!published || !port_range_parse(published, &p.published, &p.published_end))
        p.published = p.published_end = 0;
    return p;
}

static int compare_networks(const void *a, const void *b)
{
    const struct service_network *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return strcmp(x->network, y->network);
}

static void decode_networks(struct arena *a, const struct node *map, struct service *s)
{
    s->networks_n = map_n(map);
    s->networks = arena_array(a, struct service_network, s->networks_n);
    for (size_t i = 0; i < s->networks_n; i++) {
        const struct node *n = map->pairs[i].value;
        s->networks[i] = (struct service_network){
            .network = map->pairs[i].key,
            .aliases = decode_strings(a, node_get(n, "aliases")),
            .ipv4_address = decode_string(n, "ipv4_address"),
            .ipv6_address = decode_string(n, "ipv6_address"),
            .link_local_ips = decode_strings(a, node_get(n, "link_local_ips")),
            .mac_address = decode_string(n, "mac_address"),
            .interface_name = decode_string(n, "interface_name"),
            .driver_opts = decode_pairs(a, node_get(n, "driver_opts")),
            .priority = decode_int(n, "priority", 0),
            .gw_priority = decode_int(n, "gw_priority", 0),
        };
    }
    if (s->networks_n)
        qsort(s->networks, s->networks_n, sizeof(*s->networks), compare_networks);
}

/* x-healthcheck: {tcp: PORT | {port, host}} or {http: PORT | {port, path, host}} */
static struct port_probe decode_port_probe(const struct node *n)
{
    const struct node *http = node_get(n, "http"), *one = http ? http : node_get(n, "tcp");
    const char *host = decode_string(one, "host"), *path = decode_string(one, "path");
    struct port_probe p = {
        .kind = http  ? PROBE_HTTP
                : one ? PROBE_TCP
                      : PROBE_NONE,
        .host = host ? host : "127.0.0.1",
        .path = path ? path : "/",
        .port = node_is(one, NODE_INT) ? one->integer : decode_int(one, "port", 0),
    };
    return p;
}

static struct healthcheck decode_healthcheck(struct arena *a, const struct node *n)
{
    struct healthcheck h = {
        .present = n,
        .disable = get_bool(n, "disable"),
        .test = decode_strings(a, node_get(n, "test")),
        .interval = get_duration(n, "interval"),
        .timeout = get_duration(n, "timeout"),
        .start_period = get_duration(n, "start_period"),
        .start_interval = get_duration(n, "start_interval"),
        .retries = decode_int(n, "retries", UNSET),
    };
    h.disable |= h.test.n && streq(h.test.v[0], "NONE");
    return h;
}

/* Words of restart: and of deploy.restart_policy.condition. */
static bool restart_kind(const char *word, enum restart_kind *kind)
{
    static const struct {
        const char *word;
        enum restart_kind kind;
    } words[] = {
        {"no", RESTART_NO},
        {"none", RESTART_NO},
        {"", RESTART_NO},
        {"always", RESTART_ALWAYS},
        {"any", RESTART_ALWAYS},
        {"on-failure", RESTART_ON_FAILURE},
        {"unless-stopped", RESTART_UNLESS_STOPPED},
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (streq(word, words[i].word)) {
            *kind = words[i].kind;
            return true;
        }
    return false;
}

/* restart: "always", "on-failure:3"; deploy.restart_policy wins where it is given. */
static struct restart_policy decode_restart(struct arena *a, const struct node *n)
{
    struct restart_policy r = {
        .kind = RESTART_NO, .max_attempts = UNSET, .delay = UNSET, .window = UNSET};
    const char *written = decode_string(n, "restart");
    const struct node *policy = node_get(node_get(n, "deploy"), "restart_policy");
    if (policy) {
        written = decode_string(policy, "condition");
        if (!written)
            written = "any";
        r.max_attempts = decode_int(policy, "max_attempts", UNSET);
        r.delay = get_duration(policy, "delay");
        r.window = get_duration(policy, "window");
    }
    if (!written)
        return r;
    const char *colon = policy ? NULL : strchr(written, ':');
    int64_t times;
    if (colon && scalar_parse_int(colon + 1, 10, &times))
        r.max_attempts = times;
    const char *word = colon ? arena_strndup(a, written, (size_t)(colon - written)) : written;
    if (!restart_kind(word, &r.kind))
        r.unknown = word;
    return r;
}

/* true, a number, or max_attempts in a mapping. */
static int64_t decode_restart_unhealthy(const struct node *n)
{
    enum { DEFAULT_ATTEMPTS = 5 };
    if (node_is(n, NODE_BOOL))
        return n->boolean ? DEFAULT_ATTEMPTS : UNSET;
    if (node_is(n, NODE_INT))
        return n->integer > 0 ? n->integer : UNSET;
    return node_is(n, NODE_MAPPING) ? decode_int(n, "max_attempts", DEFAULT_ATTEMPTS) : UNSET;
}

#define DECODE_DEVICES(a, n, key, member, getter, out)                                             \
    do {                                                                                           \
        const struct node *list_ = node_get((n), (key));                                           \
        (out).n = list_n(list_);                                                                   \
        (out).v = arena_array((a), struct weight_device, (out).n);                                 \
        for (size_t i_ = 0; i_ < (out).n; i_++) {                                                  \
            int64_t value_ = getter(list_->items[i_], (member));                                   \
            const char *path_ = decode_string(list_->items[i_], "path");                           \
            (out).v[i_] = (struct weight_device){.path = path_ ? path_ : "",                       \
                                                 .value = value_ > 0 ? (uint64_t)value_ : 0};      \
        }                                                                                          \
    } while (0)

static int64_t get_weight(const struct node *n, const char *key)
{
    return decode_int(n, key, 0);
}

static struct blkio_config decode_blkio(struct arena *a, const struct node *n)
{
    struct blkio_config b = {.weight = decode_int(n, "weight", UNSET)};
    DECODE_DEVICES(a, n, "weight_device", "weight", get_weight, b.weight_device);
    DECODE_DEVICES(a, n, "device_read_bps", "rate", get_bytes, b.device_read_bps);
    DECODE_DEVICES(a, n, "device_write_bps", "rate", get_bytes, b.device_write_bps);
    DECODE_DEVICES(a, n, "device_read_iops", "rate", get_bytes, b.device_read_iops);
    DECODE_DEVICES(a, n, "device_write_iops", "rate", get_bytes, b.device_write_iops);
    return b;
}

static int64_t first_set(int64_t a, int64_t b)
{
    return a != UNSET ? a : b;
}

/* The document holds single precision: rounded, so that 0.1 is 100000000. More than there can be is
 * no limit. */
static int64_t nano_cpus(double cpus)
{
    return cpus > 0 && cpus < 1e9 ? (int64_t)(cpus * 1e6 + 0.5) * 1000 : UNSET;
}

static void decode_request(struct arena *a, const struct node *n, bool gpu, struct resources *r)
{
    struct device_request *q = &r->device_requests[r->device_requests_n++];
    *q = (struct device_request){
        .driver = decode_string(n, "driver"),
        .count = decode_int(n, "count", 0),
        .ids = decode_strings(a, node_get(n, "device_ids")),
        .capabilities = decode_strings(a, node_get(n, "capabilities")),
    };
    if (!gpu)
        return;
    const char **v = arena_array(a, const char *, q->capabilities.n + 2);
    memcpy(v, q->capabilities.v, q->capabilities.n * sizeof(*v));
    v[q->capabilities.n++] = "gpu";
    q->capabilities.v = v;
}

static void decode_requests(struct arena *a, const struct node *devices, const struct node *gpus,
                            struct resources *r)
{
    r->device_requests = arena_array(a, struct device_request, list_n(devices) + list_n(gpus));
    for (size_t i = 0; i < list_n(gpus); i++)
        decode_request(a, gpus->items[i], true, r);
    for (size_t i = 0; i < list_n(devices); i++)
        decode_request(a, devices->items[i], false, r);
}

static struct resources decode_resources(struct arena *a, const struct node *n)
{
    const struct node *deploy = node_get(node_get(n, "deploy"), "resources");
    const struct node *limits = node_get(deploy, "limits");
    const struct node *reservations = node_get(deploy, "reservations");
    double cpus = get_float(n, "cpus");
    if (cpus == 0)
        cpus = get_float(limits, "cpus");
    int64_t swap = get_bytes(n, "memswap_limit");
    struct resources r = {
        .nano_cpus = nano_cpus(cpus),
        .memory = first_set(get_bytes(n, "mem_limit"), get_bytes(limits, "memory")),
        .memory_reservation = first_set(get_bytes(n, "mem_reservation"),
                                        get_bytes(reservations, "memory")),
        .memory_swap = swap,
        .unlimited_swap = swap == -1 && node_get(n, "memswap_limit"),
        .mem_swappiness = get_bytes(n, "mem_swappiness"),
        .pids = first_set(decode_int(n, "pids_limit", UNSET), decode_int(limits, "pids", UNSET)),
        .cpu_shares = decode_int(n, "cpu_shares", UNSET),
        .cpu_period = decode_int(n, "cpu_period", UNSET),
        .cpu_quota = decode_int(n, "cpu_quota", UNSET),
        .cpu_rt_period = decode_int(n, "cpu_rt_period", UNSET),
        .cpu_rt_runtime = decode_int(n, "cpu_rt_runtime", UNSET),
        .cpuset = decode_string(n, "cpuset"),
        .oom_kill_disable = get_bool(n, "oom_kill_disable"),
        .blkio = decode_blkio(a, node_get(n, "blkio_config")),
    };
    decode_requests(a, node_get(reservations, "devices"), node_get(n, "gpus"), &r);
    return r;
}

static struct hook *decode_hooks(struct arena *a, const struct node *list, size_t *n)
{
    struct hook *v = NEW_LIST(a, struct hook, list);
    *n = list_n(list);
    for (size_t i = 0; i < *n; i++) {
        const struct node *item = list->items[i];
        v[i] = (struct hook){
            .command = decode_strings(a, node_get(item, "command")),
            .user = decode_string(item, "user"),
            .working_dir = decode_string(item, "working_dir"),
            .privileged = get_bool(item, "privileged"),
            .environment = decode_pairs(a, node_get(item, "environment")),
            .image = decode_string(item, "image"),
            .per_replica = get_bool(item, "per_replica"),
        };
    }
    return v;
}

static void decode_lists(struct arena *a, const struct node *n, struct service *s)
{
    const struct node *mounts = node_get(n, "volumes"), *ports = node_get(n, "ports");
    const struct node *devices = node_get(n, "devices");
    s->mounts_n = list_n(mounts);
    s->mounts = NEW_LIST(a, struct service_mount, mounts);
    for (size_t i = 0; i < s->mounts_n; i++)
        s->mounts[i] = decode_mount(mounts->items[i]);
    s->ports_n = list_n(ports);
    s->ports = NEW_LIST(a, struct port_mapping, ports);
    for (size_t i = 0; i < s->ports_n; i++)
        s->ports[i] = decode_port(ports->items[i]);
    s->devices_n = list_n(devices);
    s->devices = NEW_LIST(a, struct device, devices);
    for (size_t i = 0; i < s->devices_n; i++)
        s->devices[i] = (struct device){
            .source = decode_string(devices->items[i], "source"),
            .target = decode_string(devices->items[i], "target"),
            .permissions = decode_string(devices->items[i], "permissions")};
    s->secrets = decode_file_mounts(a, node_get(n, "secrets"), &s->secrets_n, "/run/secrets");
    s->configs = decode_file_mounts(a, node_get(n, "configs"), &s->configs_n, "");
    s->ulimits = decode_ulimits(a, node_get(n, "ulimits"), &s->ulimits_n);
    s->pre_start = decode_hooks(a, node_get(n, "pre_start"), &s->pre_start_n);
    s->post_start = decode_hooks(a, node_get(n, "post_start"), &s->post_start_n);
    s->pre_stop = decode_hooks(a, node_get(n, "pre_stop"), &s->pre_stop_n);
    s->group_add = decode_strings(a, node_get(n, "group_add"));
    s->tmpfs = decode_strings(a, node_get(n, "tmpfs"));
    s->volumes_from = decode_strings(a, node_get(n, "volumes_from"));
    s->expose = decode_strings(a, node_get(n, "expose"));
    s->dns = decode_strings(a, node_get(n, "dns"));
    s->dns_search = decode_strings(a, node_get(n, "dns_search"));
    s->dns_opt = decode_strings(a, node_get(n, "dns_opt"));
    s->links = decode_strings(a, node_get(n, "links"));
    s->external_links = decode_strings(a, node_get(n, "external_links"));
    s->extra_hosts = decode_hosts(a, node_get(n, "extra_hosts"));
    s->cap_add = decode_strings(a, node_get(n, "cap_add"));
    s->cap_drop = decode_strings(a, node_get(n, "cap_drop"));
    s->security_opt = decode_strings(a, node_get(n, "security_opt"));
    s->device_cgroup_rules = decode_strings(a, node_get(n, "device_cgroup_rules"));
    s->profiles = decode_strings(a, node_get(n, "profiles"));
}

static void decode_mappings(struct arena *a, const struct node *n, struct service *s)
{
    s->environment = decode_pairs(a, node_get(n, "environment"));
    s->labels = decode_pairs(a, node_get(n, "labels"));
    s->annotations = decode_pairs(a, node_get(n, "annotations"));
    s->sysctls = decode_pairs(a, node_get(n, "sysctls"));
    s->storage_opt = decode_pairs(a, node_get(n, "storage_opt"));
    const struct node *logging = node_get(n, "logging");
    s->logging.driver = decode_string(logging, "driver");
    s->logging.options = decode_pairs(a, node_get(logging, "options"));
}

static void decode_scalars(const struct node *n, struct service *s)
{
    const struct node *deploy = node_get(n, "deploy");
    const char *mode = decode_string(deploy, "mode");
    s->image = decode_string(n, "image");
    s->pull_policy = decode_string(n, "pull_policy");
    s->platform = decode_string(n, "platform");
    s->user = decode_string(n, "user");
    s->working_dir = decode_string(n, "working_dir");
    s->container_name = decode_string(n, "container_name");
    s->hostname = decode_string(n, "hostname");
    s->domainname = decode_string(n, "domainname");
    s->scale = decode_int(n, "scale", decode_int(deploy, "replicas", 1));
    s->global_mode = mode && starts_with(mode, "global");
    s->network_mode = decode_string(n, "network_mode");
    s->mac_address = decode_string(n, "mac_address");
    s->privileged = get_bool(n, "privileged");
    s->read_only = get_bool(n, "read_only");
    s->tty = get_bool(n, "tty");
    s->stdin_open = get_bool(n, "stdin_open");
    s->init = decode_flag(n, "init");
    s->shm_size = get_bytes(n, "shm_size");
    s->oom_score_adj = decode_int(n, "oom_score_adj", UNSET_OOM);
    s->stop_signal = decode_string(n, "stop_signal");
    s->stop_grace_period = get_duration(n, "stop_grace_period");
    s->pid = decode_string(n, "pid");
    s->ipc = decode_string(n, "ipc");
    s->uts = decode_string(n, "uts");
    s->userns_mode = decode_string(n, "userns_mode");
    s->cgroup = decode_string(n, "cgroup");
    s->cgroup_parent = decode_string(n, "cgroup_parent");
    s->runtime = decode_string(n, "runtime");
    s->isolation = decode_string(n, "isolation");
    s->attach = node_get_bool(n, "attach", true);
    s->use_api_socket = get_bool(n, "use_api_socket");
    s->provider = node_get(n, "provider");
    s->develop = node_get(n, "develop");
    s->models = node_get(n, "models");
    if (s->provider)
        s->scale = 0; /* another program provides it: it has no containers */
}

void decode_service(struct arena *a, const struct node_pair *from, struct service *s)
{
    const struct node *n = from->value;
    s->name = from->key;
    s->mark = from->key_mark;
    s->node = n;
    s->build = decode_build(a, node_get(n, "build"));
    s->has_command = node_get(n, "command");
    s->has_entrypoint = node_get(n, "entrypoint");
    s->command = decode_strings(a, node_get(n, "command"));
    s->entrypoint = decode_strings(a, node_get(n, "entrypoint"));
    decode_scalars(n, s);
    decode_mappings(a, n, s);
    decode_lists(a, n, s);
    decode_dependencies(a, node_get(n, "depends_on"), s);
    decode_networks(a, node_get(n, "networks"), s);
    s->healthcheck = decode_healthcheck(a, node_get(n, "healthcheck"));
    s->healthcheck.port = decode_port_probe(node_get(n, "x-healthcheck"));
    s->restart = decode_restart(a, n);
    s->restart_unhealthy = decode_restart_unhealthy(node_get(n, "x-restart-unhealthy"));
    s->resources = decode_resources(a, n);
}
