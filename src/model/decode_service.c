#include "model/decode_service.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/reader.h"

/* Elements of a sequence member; n: how many. NULL where there is none. */
static struct node *const *items(const struct node *map, const char *key, size_t *n)
{
    const struct node *seq = node_get(map, key);
    *n = node_is(seq, NODE_SEQUENCE) ? seq->seq.n : 0;
    return *n ? seq->seq.v : NULL;
}

static const struct node_pair *pairs(const struct node *map, const char *key, size_t *n)
{
    const struct node *m = node_get(map, key);
    *n = node_is(m, NODE_MAPPING) ? m->map.n : 0;
    return *n ? m->map.v : NULL;
}

static struct mark key_mark(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return n ? n->mark : (struct mark){0};
}

/* --- dependencies --- */

static enum depends_condition condition_of(const char *s)
{
    if (s && streq(s, "service_healthy"))
        return DEPENDS_HEALTHY;
    return s && streq(s, "service_completed_successfully") ? DEPENDS_COMPLETED : DEPENDS_STARTED;
}

static void add_dependency(struct service *s, const char *service, struct mark mark)
{
    if (!service[0] || streq(service, s->name))
        return;
    for (size_t i = 0; i < s->depends_on_n; i++)
        if (streq(s->depends_on[i].service, service))
            return;
    s->depends_on[s->depends_on_n++] = (struct dependency){
        .service = service, .required = true, .mark = mark};
}

/* "service:NAME" of network_mode, ipc, pid, ... */
static void add_mode_dependency(const struct node *n, struct service *s, const char *key)
{
    const char *mode = node_get_str(n, key);
    if (mode && starts_with(mode, "service:"))
        add_dependency(s, mode + strlen("service:"), key_mark(n, key));
}

/* The reference's implicit dependencies are written out by normalization where it prints them; what
 * shares a namespace or volumes must start later in any case. */
static void decode_dependencies(struct arena *a, const struct node *n, struct service *s)
{
    size_t count;
    const struct node_pair *p = pairs(n, "depends_on", &count);
    s->depends_on = arena_array(a, struct dependency, count + s->links.n + s->volumes_from.n + 8);
    for (size_t i = 0; i < count; i++)
        s->depends_on[s->depends_on_n++] = (struct dependency){
            .service = p[i].key,
            .condition = condition_of(node_get_str(p[i].value, "condition")),
            .restart = read_bool(p[i].value, "restart", false),
            .required = read_bool(p[i].value, "required", true),
            .mark = p[i].key_mark,
        };
    static const char *const modes[] = {"network_mode", "ipc", "pid", "uts", "cgroup"};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        add_mode_dependency(n, s, modes[i]);
    for (size_t i = 0; i < s->links.n; i++) {
        const char *l = s->links.v[i];
        add_dependency(s, arena_strndup(a, l, strcspn(l, ":")), key_mark(n, "links"));
    }
    for (size_t i = 0; i < s->volumes_from.n; i++) {
        const char *v = s->volumes_from.v[i];
        if (!starts_with(v, "container:"))
            add_dependency(s, arena_strndup(a, v, strcspn(v, ":")), key_mark(n, "volumes_from"));
    }
}

/* --- volumes, ports, networks, files --- */

static enum mount_type mount_type_of(const char *s)
{
    static const char *const names[] = {
        [MOUNT_BIND] = "bind",   [MOUNT_VOLUME] = "volume", [MOUNT_TMPFS] = "tmpfs",
        [MOUNT_IMAGE] = "image", [MOUNT_NPIPE] = "npipe",   [MOUNT_CLUSTER] = "cluster"};
    for (size_t i = 0; s && i < ARRAY_SIZE(names); i++)
        if (streq(names[i], s))
            return (enum mount_type)i;
    return MOUNT_VOLUME;
}

static void decode_mounts(struct arena *a, const struct node *n, struct service *s)
{
    struct node *const *v = items(n, "volumes", &s->mounts_n);
    s->mounts = arena_array(a, struct service_mount, s->mounts_n);
    for (size_t i = 0; i < s->mounts_n; i++) {
        const struct node *m = v[i], *bind = node_get(m, "bind"), *volume = node_get(m, "volume"),
                          *tmpfs = node_get(m, "tmpfs"), *image = node_get(m, "image");
        const char *subpath = node_get_str(volume, "subpath");
        s->mounts[i] = (struct service_mount){
            .type = mount_type_of(node_get_str(m, "type")),
            .source = node_get_str(m, "source"),
            .target = node_get_str(m, "target"),
            .read_only = read_bool(m, "read_only", false),
            .consistency = node_get_str(m, "consistency"),
            .create_host_path = read_bool(bind, "create_host_path", false),
            .propagation = node_get_str(bind, "propagation"),
            .recursive = read_text(a, bind, "recursive"),
            .selinux = node_get_str(bind, "selinux"),
            .nocopy = read_bool(volume, "nocopy", false),
            .subpath = subpath ? subpath : node_get_str(image, "subpath"),
            .tmpfs_size = read_size(tmpfs, "size"),
            .tmpfs_mode = read_int(tmpfs, "mode", UNSET),
            .mark = m->mark,
        };
        if (s->mounts[i].source && !s->mounts[i].source[0])
            s->mounts[i].source = NULL;
        if (!s->mounts[i].target)
            s->mounts[i].target = "";
    }
}

static void decode_ports(struct arena *a, const struct node *n, struct service *s)
{
    struct node *const *v = items(n, "ports", &s->ports_n);
    s->ports = arena_array(a, struct port_mapping, s->ports_n);
    for (size_t i = 0; i < s->ports_n; i++) {
        const char *published = read_text(a, v[i], "published");
        char *end = NULL;
        unsigned long first = published ? strtoul(published, &end, 10) : 0;
        unsigned long last = end && *end == '-' ? strtoul(end + 1, NULL, 10) : first;
        const char *protocol = node_get_str(v[i], "protocol");
        s->ports[i] = (struct port_mapping){
            .host_ip = node_get_str(v[i], "host_ip"),
            .published = (uint16_t)first,
            .published_end = (uint16_t)last,
            .target = (uint16_t)read_int(v[i], "target", 0),
            .protocol = protocol ? protocol : "tcp",
            .mode = node_get_str(v[i], "mode"),
            .name = node_get_str(v[i], "name"),
            .app_protocol = node_get_str(v[i], "app_protocol"),
            .mark = v[i]->mark,
        };
    }
}

/* Interface order: priority, highest first, then name (compose: NetworksByPriority). */
static int compare_networks(const void *x, const void *y)
{
    const struct service_network *a = x, *b = y;
    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    return strcmp(a->network, b->network);
}

static void decode_networks(struct arena *a, const struct node *n, struct service *s)
{
    const struct node_pair *p = pairs(n, "networks", &s->networks_n);
    s->networks = arena_array(a, struct service_network, s->networks_n);
    for (size_t i = 0; i < s->networks_n; i++) {
        const struct node *v = p[i].value;
        s->networks[i] = (struct service_network){
            .network = p[i].key,
            .aliases = read_strings(a, v, "aliases"),
            .ipv4_address = node_get_str(v, "ipv4_address"),
            .ipv6_address = node_get_str(v, "ipv6_address"),
            .link_local_ips = read_strings(a, v, "link_local_ips"),
            .mac_address = node_get_str(v, "mac_address"),
            .interface_name = node_get_str(v, "interface_name"),
            .driver_opts = read_pairs(a, v, "driver_opts"),
            .priority = read_int(v, "priority", 0),
            .gw_priority = read_int(v, "gw_priority", 0),
        };
    }
    if (s->networks_n > 1)
        qsort(s->networks, s->networks_n, sizeof(*s->networks), compare_networks);
}

/* A file mode as the document has it: a string of octal digits, or a number. */
static int64_t file_mode(const struct node *map)
{
    const struct node *n = node_get(map, "mode");
    if (node_is(n, NODE_STRING))
        return strtol(n->string, NULL, 8);
    return node_is(n, NODE_INT) ? n->integer : UNSET;
}

/* folder: where a target that is no path goes. */
static struct file_mount *decode_files(struct arena *a, const struct node *n, const char *key,
                                       const char *folder, size_t *count)
{
    struct node *const *v = items(n, key, count);
    struct file_mount *out = arena_array(a, struct file_mount, *count);
    for (size_t i = 0; i < *count; i++) {
        const char *source = node_is(v[i], NODE_STRING) ? v[i]->string
                                                        : node_get_str(v[i], "source");
        const char *target = node_get_str(v[i], "target");
        target = target ? target : source;
        out[i] = (struct file_mount){
            .source = source ? source : "",
            .target = target && target[0] == '/'
                          ? target
                          : arena_printf(a, "%s%s", folder, target ? target : ""),
            .uid = read_text(a, v[i], "uid"),
            .gid = read_text(a, v[i], "gid"),
            .mode = file_mode(v[i]),
            .mark = v[i]->mark,
        };
    }
    return out;
}

/* --- resources --- */

static struct ulimit *decode_ulimits(struct arena *a, const struct node *n, size_t *count)
{
    const struct node_pair *p = pairs(n, "ulimits", count);
    struct ulimit *out = arena_array(a, struct ulimit, *count);
    for (size_t i = 0; i < *count; i++) {
        bool single = !node_is(p[i].value, NODE_MAPPING);
        out[i] = (struct ulimit){
            .name = p[i].key,
            .soft = single ? read_int(node_get(n, "ulimits"), p[i].key, UNSET)
                           : read_int(p[i].value, "soft", UNSET),
        };
        out[i].hard = single ? out[i].soft : read_int(p[i].value, "hard", UNSET);
    }
    return out;
}

static struct weight_device *decode_weights(struct arena *a, const struct node *blkio,
                                            const char *key, const char *value, size_t *count)
{
    struct node *const *v = items(blkio, key, count);
    struct weight_device *out = arena_array(a, struct weight_device, *count);
    for (size_t i = 0; i < *count; i++)
        out[i] = (struct weight_device){
            .path = node_get_str(v[i], "path"),
            .value = (uint64_t)read_size(v[i], value),
        };
    return out;
}

static void decode_blkio(struct arena *a, const struct node *n, struct blkio_config *b)
{
    const struct node *blkio = node_get(n, "blkio_config");
    b->weight = read_int(blkio, "weight", UNSET);
    b->weight_device.v = decode_weights(a, blkio, "weight_device", "weight", &b->weight_device.n);
    b->device_read_bps.v = decode_weights(a, blkio, "device_read_bps", "rate",
                                          &b->device_read_bps.n);
    b->device_write_bps.v = decode_weights(a, blkio, "device_write_bps", "rate",
                                           &b->device_write_bps.n);
    b->device_read_iops.v = decode_weights(a, blkio, "device_read_iops", "rate",
                                           &b->device_read_iops.n);
    b->device_write_iops.v = decode_weights(a, blkio, "device_write_iops", "rate",
                                            &b->device_write_iops.n);
}

static int64_t first_set(int64_t a, int64_t b)
{
    return a != UNSET ? a : b;
}

static int64_t nano_cpus(const struct node *map, const char *key)
{
    double cpus = read_number(map, key, 0);
    return cpus > 0 ? (int64_t)(cpus * 1e9 + 0.5) : UNSET;
}

/* deploy.resources wins over the older keys (compose: getDeployResources). */
static void decode_resources(struct arena *a, const struct node *n, struct resources *r)
{
    const struct node *deploy = node_get(node_get(n, "deploy"), "resources");
    const struct node *limits = node_get(deploy, "limits");
    const struct node *reserved = node_get(deploy, "reservations");
    int64_t swap = read_size(n, "memswap_limit");
    *r = (struct resources){
        .nano_cpus = first_set(nano_cpus(limits, "cpus"), nano_cpus(n, "cpus")),
        .memory = first_set(read_size(limits, "memory"), read_size(n, "mem_limit")),
        .memory_reservation = first_set(read_size(reserved, "memory"),
                                        read_size(n, "mem_reservation")),
        .memory_swap = swap > 0 ? swap : UNSET,
        .unlimited_swap = swap == -1 && node_given(node_get(n, "memswap_limit")),
        .mem_swappiness = read_int(n, "mem_swappiness", UNSET),
        .pids = first_set(read_int(limits, "pids", UNSET), read_int(n, "pids_limit", UNSET)),
        .cpu_shares = read_int(n, "cpu_shares", UNSET),
        .cpu_period = read_int(n, "cpu_period", UNSET),
        .cpu_quota = read_int(n, "cpu_quota", UNSET),
        .cpu_rt_period = read_int(n, "cpu_rt_period", UNSET),
        .cpu_rt_runtime = read_int(n, "cpu_rt_runtime", UNSET),
        .cpuset = node_get_str(n, "cpuset"),
        .oom_kill_disable = read_bool(n, "oom_kill_disable", false),
        .devices = node_get(reserved, "devices"),
    };
    if (node_given(node_get(n, "gpus")))
        r->devices = node_get(n, "gpus");
    decode_blkio(a, n, &r->blkio);
}

/* "always", "on-failure:3", and deploy.restart_policy, which wins. */
static void decode_restart(const struct node *n, struct restart_policy *r)
{
    const char *restart = node_get_str(n, "restart");
    *r = (struct restart_policy){.max_attempts = UNSET, .delay = UNSET, .window = UNSET};
    if (restart && starts_with(restart, "on-failure")) {
        r->kind = RESTART_ON_FAILURE;
        if (restart[10] == ':')
            r->max_attempts = strtoll(restart + 11, NULL, 10);
    } else if (restart && streq(restart, "always")) {
        r->kind = RESTART_ALWAYS;
    } else if (restart && streq(restart, "unless-stopped")) {
        r->kind = RESTART_UNLESS_STOPPED;
    }
    const struct node *policy = node_get(node_get(n, "deploy"), "restart_policy");
    if (!node_given(policy))
        return;
    const char *condition = node_get_str(policy, "condition");
    if (condition && streq(condition, "none"))
        r->kind = RESTART_NO;
    else if (condition && streq(condition, "on-failure"))
        r->kind = RESTART_ON_FAILURE;
    else
        r->kind = RESTART_ALWAYS;
    r->max_attempts = read_int(policy, "max_attempts", UNSET);
    r->delay = read_duration(policy, "delay");
    r->window = read_duration(policy, "window");
}

/* --- the rest --- */

static void decode_healthcheck(struct arena *a, const struct node *n, struct healthcheck *h)
{
    const struct node *hc = node_get(n, "healthcheck");
    *h = (struct healthcheck){
        .present = node_given(hc),
        .disable = read_bool(hc, "disable", false),
        .test = read_strings(a, hc, "test"),
        .interval = read_duration(hc, "interval"),
        .timeout = read_duration(hc, "timeout"),
        .start_period = read_duration(hc, "start_period"),
        .start_interval = read_duration(hc, "start_interval"),
        .retries = read_int(hc, "retries", UNSET),
    };
    if (h->test.n && streq(h->test.v[0], "NONE"))
        h->disable = true;
}

static struct hook *decode_hooks(struct arena *a, const struct node *n, const char *key,
                                 size_t *count)
{
    struct node *const *v = items(n, key, count);
    struct hook *out = arena_array(a, struct hook, *count);
    for (size_t i = 0; i < *count; i++)
        out[i] = (struct hook){
            .command = read_strings(a, v[i], "command"),
            .user = node_get_str(v[i], "user"),
            .working_dir = node_get_str(v[i], "working_dir"),
            .privileged = read_bool(v[i], "privileged", false),
            .environment = read_pairs(a, v[i], "environment"),
        };
    return out;
}

static void decode_devices(struct arena *a, const struct node *n, struct service *s)
{
    struct node *const *v = items(n, "devices", &s->devices_n);
    s->devices = arena_array(a, struct device, s->devices_n);
    for (size_t i = 0; i < s->devices_n; i++)
        s->devices[i] = (struct device){
            .source = node_is(v[i], NODE_STRING) ? v[i]->string : node_get_str(v[i], "source"),
            .target = node_get_str(v[i], "target"),
            .permissions = node_get_str(v[i], "permissions"),
        };
}

static struct build *decode_build(struct arena *a, const struct node *service)
{
    const struct node *n = node_get(service, "build");
    if (!node_given(n))
        return NULL;
    struct build *b = arena_new_of(a, struct build);
    *b = (struct build){
        .context = node_is(n, NODE_STRING) ? n->string : node_get_str(n, "context"),
        .dockerfile = node_get_str(n, "dockerfile"),
        .dockerfile_inline = node_get_str(n, "dockerfile_inline"),
        .args = read_pairs(a, n, "args"),
        .additional_contexts = read_pairs(a, n, "additional_contexts"),
        .labels = read_pairs(a, n, "labels"),
        .ssh = read_pairs(a, n, "ssh"),
        .cache_from = read_strings(a, n, "cache_from"),
        .cache_to = read_strings(a, n, "cache_to"),
        .tags = read_strings(a, n, "tags"),
        .platforms = read_strings(a, n, "platforms"),
        .extra_hosts = read_strings(a, n, "extra_hosts"),
        .target = node_get_str(n, "target"),
        .network = node_get_str(n, "network"),
        .shm_size = read_size(n, "shm_size"),
        .no_cache = read_bool(n, "no_cache", false),
        .pull = read_bool(n, "pull", false),
        .privileged = read_bool(n, "privileged", false),
    };
    b->secrets = decode_files(a, n, "secrets", "", &b->secrets_n);
    b->ulimits = decode_ulimits(a, n, &b->ulimits_n);
    return b;
}

/* "host=address" entries; an IPv6 address may stand in brackets. */
static struct key_values decode_extra_hosts(struct arena *a, const struct node *n)
{
    struct key_values hosts = read_pairs(a, n, "extra_hosts");
    for (size_t i = 0; i < hosts.n; i++) {
        const char *v = hosts.v[i].value;
        size_t len = v ? strlen(v) : 0;
        if (len > 2 && v[0] == '[' && v[len - 1] == ']')
            hosts.v[i].value = arena_strndup(a, v + 1, len - 2);
    }
    return hosts;
}

static void decode_process(struct arena *a, const struct node *n, struct service *s)
{
    s->has_command = node_given(node_get(n, "command"));
    s->has_entrypoint = node_given(node_get(n, "entrypoint"));
    s->command = read_strings(a, n, "command");
    s->entrypoint = read_strings(a, n, "entrypoint");
    s->environment = read_pairs(a, n, "environment");
    s->user = read_text(a, n, "user");
    s->working_dir = node_get_str(n, "working_dir");
    s->group_add = read_strings(a, n, "group_add");
    s->tty = read_bool(n, "tty", false);
    s->stdin_open = read_bool(n, "stdin_open", false);
    s->init = read_tristate(n, "init");
    s->stop_signal = read_text(a, n, "stop_signal");
    s->stop_grace_period = read_duration(n, "stop_grace_period");
    s->post_start = decode_hooks(a, n, "post_start", &s->post_start_n);
    s->pre_stop = decode_hooks(a, n, "pre_stop", &s->pre_stop_n);
    s->pre_start = decode_hooks(a, n, "pre_start", &s->pre_start_n);
}

static void decode_isolation(struct arena *a, const struct node *n, struct service *s)
{
    s->cap_add = read_strings(a, n, "cap_add");
    s->cap_drop = read_strings(a, n, "cap_drop");
    s->security_opt = read_strings(a, n, "security_opt");
    s->device_cgroup_rules = read_strings(a, n, "device_cgroup_rules");
    s->sysctls = read_pairs(a, n, "sysctls");
    s->storage_opt = read_pairs(a, n, "storage_opt");
    s->ulimits = decode_ulimits(a, n, &s->ulimits_n);
    decode_devices(a, n, s);
    s->privileged = read_bool(n, "privileged", false);
    s->read_only = read_bool(n, "read_only", false);
    s->shm_size = read_size(n, "shm_size");
    s->oom_score_adj = read_int(n, "oom_score_adj", UNSET_OOM);
    s->pid = node_get_str(n, "pid");
    s->ipc = node_get_str(n, "ipc");
    s->uts = node_get_str(n, "uts");
    s->userns_mode = node_get_str(n, "userns_mode");
    s->cgroup = node_get_str(n, "cgroup");
    s->cgroup_parent = node_get_str(n, "cgroup_parent");
    s->runtime = node_get_str(n, "runtime");
    s->isolation = node_get_str(n, "isolation");
    decode_resources(a, n, &s->resources);
}

static void decode_network_keys(struct arena *a, const struct node *n, struct service *s)
{
    decode_ports(a, n, s);
    decode_networks(a, n, s);
    s->expose = read_strings(a, n, "expose");
    s->network_mode = node_get_str(n, "network_mode");
    s->hostname = read_text(a, n, "hostname");
    s->domainname = read_text(a, n, "domainname");
    s->dns = read_strings(a, n, "dns");
    s->dns_search = read_strings(a, n, "dns_search");
    s->dns_opt = read_strings(a, n, "dns_opt");
    s->links = read_strings(a, n, "links");
    s->external_links = read_strings(a, n, "external_links");
    s->extra_hosts = decode_extra_hosts(a, n);
    s->mac_address = node_get_str(n, "mac_address");
}

static int64_t replicas(const struct node *n)
{
    const struct node *deploy = node_get(n, "deploy");
    int64_t scale = read_int(n, "scale", UNSET);
    return scale != UNSET ? scale : read_int(deploy, "replicas", 1);
}

void decode_service(struct arena *a, const char *name, const struct node *n, struct mark mark,
                    struct service *s)
{
    const char *mode = node_get_str(node_get(n, "deploy"), "mode");
    const struct node *logging = node_get(n, "logging");
    *s = (struct service){
        .name = name,
        .mark = mark,
        .node = n,
        .image = node_get_str(n, "image"),
        .build = decode_build(a, n),
        .pull_policy = node_get_str(n, "pull_policy"),
        .platform = node_get_str(n, "platform"),
        .container_name = node_get_str(n, "container_name"),
        .labels = read_pairs(a, n, "labels"),
        .annotations = read_pairs(a, n, "annotations"),
        .scale = replicas(n),
        .global_mode = mode && starts_with(mode, "global"),
        .tmpfs = read_strings(a, n, "tmpfs"),
        .volumes_from = read_strings(a, n, "volumes_from"),
        .logging = {node_get_str(logging, "driver"), read_pairs(a, logging, "options")},
        .attach = read_bool(n, "attach", true),
        .profiles = read_strings(a, n, "profiles"),
    };
    decode_process(a, n, s);
    decode_isolation(a, n, s);
    decode_network_keys(a, n, s);
    decode_mounts(a, n, s);
    s->secrets = decode_files(a, n, "secrets", "/run/secrets/", &s->secrets_n);
    s->configs = decode_files(a, n, "configs", "/", &s->configs_n);
    decode_healthcheck(a, n, &s->healthcheck);
    decode_restart(n, &s->restart);
    decode_dependencies(a, n, s);
}
