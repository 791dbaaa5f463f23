#include "file/fields.h"

#include <string.h>

#include "base/mem.h"

/* The order of the rows is the order in which config prints the keys. */
#define OBJECT(id, words)                                                                          \
    static const struct object id##_object = {                                                     \
        .what = (words), .fields = id##_fields, .n = ARRAY_SIZE(id##_fields)}
#define ROW(key, kind, ...)                                                                        \
    {                                                                                              \
        .name = (key), .type = TYPE_##kind, ##__VA_ARGS__                                          \
    }

static const struct field hook_fields[] = {
    ROW("command", COMMAND, .flags = FIELD_JSON_NULL),
    ROW("user", STRING),
    ROW("privileged", BOOL),
    ROW("working_dir", STRING),
    ROW("environment", ENVIRONMENT),
};
OBJECT(hook, "hook");

static const struct field pre_start_fields[] = {
    ROW("command", COMMAND, .flags = FIELD_JSON_NULL),
    ROW("image", STRING),
    ROW("user", STRING),
    ROW("privileged", BOOL),
    ROW("working_dir", STRING),
    ROW("environment", ENVIRONMENT),
    ROW("per_replica", BOOL),
};
OBJECT(pre_start, "hook");

static const struct field file_mount_fields[] = {
    ROW("source", STRING), ROW("target", STRING),  ROW("uid", STRING),
    ROW("gid", STRING),    ROW("mode", FILE_MODE),
};
OBJECT(file_mount, "file reference");

static const struct field build_fields[] = {
    ROW("context", STRING, .path = PATH_CONTEXT),
    ROW("dockerfile", STRING),
    ROW("dockerfile_inline", STRING),
    ROW("entitlements", STRINGS),
    ROW("args", ENVIRONMENT, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("provenance", STRING, .canonical = CANONICAL_TEXT),
    ROW("sbom", STRING, .canonical = CANONICAL_TEXT),
    ROW("ssh", SSH, .canonical = CANONICAL_SSH, .path = PATH_SSH),
    ROW("labels", LABELS, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("cache_from", STRING_OR_LIST),
    ROW("cache_to", STRING_OR_LIST),
    ROW("no_cache", BOOL),
    ROW("no_cache_filter", STRING_OR_LIST),
    ROW("additional_contexts", MAPPING, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY,
        .canonical = CANONICAL_KEY_VALUE, .path = PATH_CONTEXTS),
    ROW("pull", BOOL),
    ROW("extra_hosts", HOSTS, .merge = MERGE_HOSTS),
    ROW("isolation", STRING),
    ROW("network", STRING),
    ROW("target", STRING),
    ROW("secrets", OBJECT_LIST, .object = &file_mount_object, .canonical = CANONICAL_FILE_MOUNTS),
    ROW("shm_size", BYTES),
    ROW("tags", STRING_OR_LIST, .unique = UNIQUE_KEY),
    ROW("ulimits", ULIMITS, .canonical = CANONICAL_ULIMITS),
    ROW("platforms", STRING_OR_LIST),
    ROW("privileged", BOOL),
};
OBJECT(build, "build");

static const struct field trigger_fields[] = {
    ROW("path", STRING, .flags = FIELD_ALWAYS, .path = PATH_SYMLINK),
    ROW("action", STRING, .flags = FIELD_ALWAYS),
    ROW("target", STRING),
    ROW("exec", OBJECT, .object = &hook_object, .flags = FIELD_BY_VALUE),
    ROW("include", STRINGS, .canonical = CANONICAL_LIST),
    ROW("ignore", STRINGS, .canonical = CANONICAL_LIST),
    ROW("initial_sync", BOOL),
};
OBJECT(trigger, "watch rule");

static const struct field develop_fields[] = {
    ROW("watch", OBJECT_LIST, .object = &trigger_object),
};
OBJECT(develop, "develop");

static const struct field weight_device_fields[] = {
    ROW("path", STRING, .flags = FIELD_ALWAYS | FIELD_JSON_CAPITAL),
    ROW("weight", UINT, .flags = FIELD_ALWAYS | FIELD_JSON_CAPITAL),
};
OBJECT(weight_device, "weight device");

static const struct field throttle_device_fields[] = {
    ROW("path", STRING, .flags = FIELD_ALWAYS | FIELD_JSON_CAPITAL),
    ROW("rate", BYTES, .flags = FIELD_ALWAYS | FIELD_JSON_CAPITAL),
};
OBJECT(throttle_device, "throttled device");

static const struct field blkio_fields[] = {
    ROW("weight", UINT),
    ROW("weight_device", OBJECT_LIST, .object = &weight_device_object),
    ROW("device_read_bps", OBJECT_LIST, .object = &throttle_device_object),
    ROW("device_read_iops", OBJECT_LIST, .object = &throttle_device_object),
    ROW("device_write_bps", OBJECT_LIST, .object = &throttle_device_object),
    ROW("device_write_iops", OBJECT_LIST, .object = &throttle_device_object),
};
OBJECT(blkio, "blkio_config");

static const struct field credential_fields[] = {
    ROW("config", STRING),
    ROW("file", STRING),
    ROW("registry", STRING),
};
OBJECT(credential, "credential_spec");

static const struct field dependency_fields[] = {
    ROW("condition", STRING),
    ROW("restart", BOOL),
    ROW("required", BOOL, .flags = FIELD_ALWAYS | FIELD_KEEP_ZERO),
};
OBJECT(dependency, "dependency");

static const struct field device_request_fields[] = {
    ROW("capabilities", STRINGS), ROW("driver", STRING),   ROW("count", DEVICE_COUNT),
    ROW("device_ids", STRINGS),   ROW("options", MAPPING),
};
OBJECT(device_request, "device request");

static const struct field discrete_fields[] = {
    ROW("kind", STRING, .flags = FIELD_ALWAYS),
    ROW("value", INT, .flags = FIELD_ALWAYS),
};
OBJECT(discrete, "discrete_resource_spec");

static const struct field generic_resource_fields[] = {
    ROW("discrete_resource_spec", OBJECT, .object = &discrete_object),
};
OBJECT(generic_resource, "generic resource");

static const struct field resource_fields[] = {
    ROW("cpus", CPUS),
    ROW("memory", BYTES),
    ROW("pids", INT),
    ROW("devices", OBJECT_LIST, .object = &device_request_object),
    ROW("generic_resources", OBJECT_LIST, .object = &generic_resource_object),
};
OBJECT(resource, "resources");

static const struct field resources_fields[] = {
    ROW("limits", OBJECT, .object = &resource_object),
    ROW("reservations", OBJECT, .object = &resource_object),
};
OBJECT(resources, "resources");

static const struct field update_fields[] = {
    ROW("parallelism", UINT, .flags = FIELD_KEEP_ZERO, .cast = CAST_INT),
    ROW("delay", DURATION),
    ROW("failure_action", STRING),
    ROW("monitor", DURATION),
    ROW("max_failure_ratio", FLOAT, .cast = CAST_FLOAT),
    ROW("order", STRING),
};
OBJECT(update, "update_config");

static const struct field restart_policy_fields[] = {
    ROW("condition", STRING),
    ROW("delay", DURATION, .flags = FIELD_KEEP_ZERO),
    ROW("max_attempts", UINT, .flags = FIELD_KEEP_ZERO, .cast = CAST_INT),
    ROW("window", DURATION, .flags = FIELD_KEEP_ZERO),
};
OBJECT(restart_policy, "restart_policy");

static const struct field preference_fields[] = {
    ROW("spread", STRING),
};
OBJECT(preference, "placement preference");

static const struct field placement_fields[] = {
    ROW("constraints", STRINGS),
    ROW("preferences", OBJECT_LIST, .object = &preference_object),
    ROW("max_replicas_per_node", UINT, .cast = CAST_INT),
};
OBJECT(placement, "placement");

static const struct field deploy_fields[] = {
    ROW("mode", STRING),
    ROW("replicas", INT, .flags = FIELD_KEEP_ZERO, .cast = CAST_INT),
    ROW("labels", LABELS, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("update_config", OBJECT, .object = &update_object),
    ROW("rollback_config", OBJECT, .object = &update_object),
    ROW("resources", OBJECT, .object = &resources_object, .flags = FIELD_BY_VALUE),
    ROW("restart_policy", OBJECT, .object = &restart_policy_object),
    ROW("placement", OBJECT, .object = &placement_object, .flags = FIELD_BY_VALUE),
    ROW("endpoint_mode", STRING),
};
OBJECT(deploy, "deploy");

static const struct field device_fields[] = {
    ROW("source", STRING),
    ROW("target", STRING),
    ROW("permissions", STRING),
};
OBJECT(device, "device");

static const struct field provider_fields[] = {
    ROW("type", STRING),
    ROW("options", MULTI_OPTIONS),
};
OBJECT(provider, "provider");

static const struct field env_file_fields[] = {
    ROW("path", STRING),
    ROW("required", BOOL, .flags = FIELD_ALWAYS | FIELD_KEEP_ZERO),
    ROW("format", STRING),
};
OBJECT(env_file, "env_file");

static const struct field extends_fields[] = {
    ROW("file", STRING, .path = PATH_PLAIN),
    ROW("service", STRING),
};
OBJECT(extends, "extends");

static const struct field healthcheck_fields[] = {
    ROW("test", HEALTH_TEST, .merge = MERGE_REPLACE),
    ROW("timeout", DURATION, .flags = FIELD_KEEP_ZERO),
    ROW("interval", DURATION, .flags = FIELD_KEEP_ZERO),
    ROW("retries", UINT, .flags = FIELD_KEEP_ZERO, .cast = CAST_INT),
    ROW("start_period", DURATION, .flags = FIELD_KEEP_ZERO),
    ROW("start_interval", DURATION, .flags = FIELD_KEEP_ZERO),
    ROW("disable", BOOL, .cast = CAST_BOOL),
};
OBJECT(healthcheck, "healthcheck");

static const struct field logging_fields[] = {
    ROW("driver", STRING),
    ROW("options", OPTIONS),
};
OBJECT(logging, "logging");

static const struct field service_model_fields[] = {
    ROW("endpoint_var", STRING),
    ROW("model_var", STRING),
};
OBJECT(service_model, "model");

static const struct field service_network_fields[] = {
    ROW("aliases", STRINGS, .unique = UNIQUE_KEY),
    ROW("driver_opts", OPTIONS),
    ROW("gw_priority", INT),
    ROW("interface_name", STRING),
    ROW("ipv4_address", STRING),
    ROW("ipv6_address", STRING),
    ROW("link_local_ips", STRINGS, .unique = UNIQUE_KEY),
    ROW("mac_address", STRING),
    ROW("priority", INT),
};
OBJECT(service_network, "network");

static const struct field port_fields[] = {
    ROW("name", STRING),         ROW("mode", STRING),
    ROW("host_ip", STRING),      ROW("target", UINT, .cast = CAST_INT),
    ROW("published", STRING),    ROW("protocol", STRING),
    ROW("app_protocol", STRING),
};
OBJECT(port, "port");

static const struct field bind_fields[] = {
    ROW("selinux", STRING),
    ROW("propagation", STRING),
    ROW("create_host_path", BOOL),
    ROW("recursive", STRING),
};
OBJECT(bind, "bind");

static const struct field mount_volume_fields[] = {
    ROW("labels", MAPPING, .merge = MERGE_SEQUENCE),
    ROW("nocopy", BOOL, .cast = CAST_BOOL),
    ROW("subpath", STRING),
};
OBJECT(mount_volume, "volume");

static const struct field mount_tmpfs_fields[] = {
    ROW("size", BYTES),
    ROW("mode", UINT),
};
OBJECT(mount_tmpfs, "tmpfs");

static const struct field mount_image_fields[] = {
    ROW("subpath", STRING),
};
OBJECT(mount_image, "image");

static const struct field mount_fields[] = {
    ROW("type", STRING),
    ROW("source", STRING),
    ROW("target", STRING),
    ROW("read_only", BOOL, .cast = CAST_BOOL),
    ROW("consistency", STRING),
    ROW("bind", OBJECT, .object = &bind_object),
    ROW("volume", OBJECT, .object = &mount_volume_object),
    ROW("tmpfs", OBJECT, .object = &mount_tmpfs_object),
    ROW("image", OBJECT, .object = &mount_image_object),
};
OBJECT(mount, "volume");

static const struct field service_fields[] = {
    ROW("profiles", STRINGS, .unique = UNIQUE_KEY),
    ROW("annotations", MAPPING, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("attach", BOOL, .flags = FIELD_KEEP_ZERO),
    ROW("build", OBJECT, .object = &build_object, .merge = MERGE_BUILD,
        .canonical = CANONICAL_BUILD),
    ROW("develop", OBJECT, .object = &develop_object),
    ROW("blkio_config", OBJECT, .object = &blkio_object),
    ROW("cap_add", STRINGS, .unique = UNIQUE_KEY),
    ROW("cap_drop", STRINGS, .unique = UNIQUE_KEY),
    ROW("cgroup_parent", STRING),
    ROW("cgroup", STRING),
    ROW("cpu_count", INT, .cast = CAST_INT),
    ROW("cpu_percent", FLOAT, .cast = CAST_FLOAT),
    ROW("cpu_period", INT, .cast = CAST_INT),
    ROW("cpu_quota", INT, .cast = CAST_INT),
    ROW("cpu_rt_period", INT, .cast = CAST_INT),
    ROW("cpu_rt_runtime", INT, .cast = CAST_INT),
    ROW("cpus", FLOAT, .cast = CAST_FLOAT32),
    ROW("cpuset", STRING),
    ROW("cpu_shares", INT, .cast = CAST_INT),
    ROW("command", COMMAND, .merge = MERGE_REPLACE, .flags = FIELD_JSON_NULL),
    ROW("configs", OBJECT_LIST, .object = &file_mount_object, .unique = UNIQUE_CONFIG,
        .canonical = CANONICAL_FILE_MOUNTS),
    ROW("container_name", STRING),
    ROW("credential_spec", OBJECT, .object = &credential_object),
    ROW("depends_on", OBJECT_MAP, .object = &dependency_object, .merge = MERGE_DEPENDS_ON,
        .canonical = CANONICAL_DEPENDS_ON),
    ROW("deploy", OBJECT, .object = &deploy_object),
    ROW("device_cgroup_rules", STRINGS),
    ROW("devices", OBJECT_LIST, .object = &device_object, .unique = UNIQUE_DEVICE,
        .canonical = CANONICAL_DEVICES),
    ROW("dns", STRING_OR_LIST, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY,
        .canonical = CANONICAL_LIST),
    ROW("dns_opt", STRINGS, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("dns_search", STRING_OR_LIST, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("domainname", STRING),
    ROW("entrypoint", COMMAND, .merge = MERGE_REPLACE, .flags = FIELD_JSON_NULL),
    ROW("provider", OBJECT, .object = &provider_object),
    ROW("environment", ENVIRONMENT, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("env_file", OBJECT_LIST, .object = &env_file_object, .merge = MERGE_SEQUENCE,
        .unique = UNIQUE_ENV_FILE, .canonical = CANONICAL_ENV_FILE, .path = PATH_ENV_FILE),
    ROW("expose", NUMBERS_OR_STRINGS, .unique = UNIQUE_EXPOSE),
    ROW("extends", OBJECT, .object = &extends_object, .canonical = CANONICAL_EXTENDS),
    ROW("external_links", STRINGS),
    ROW("extra_hosts", HOSTS, .merge = MERGE_HOSTS),
    ROW("group_add", STRINGS),
    ROW("gpus", OBJECT_LIST, .object = &device_request_object, .canonical = CANONICAL_GPUS),
    ROW("hostname", STRING),
    ROW("healthcheck", OBJECT, .object = &healthcheck_object),
    ROW("image", STRING),
    ROW("init", BOOL, .cast = CAST_BOOL, .flags = FIELD_KEEP_ZERO),
    ROW("ipc", STRING),
    ROW("isolation", STRING),
    ROW("labels", LABELS, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("label_file", STRINGS, .merge = MERGE_SEQUENCE, .canonical = CANONICAL_LIST,
        .path = PATH_PLAIN),
    ROW("links", STRINGS, .unique = UNIQUE_KEY),
    ROW("logging", OBJECT, .object = &logging_object, .merge = MERGE_LOGGING),
    ROW("mem_limit", BYTES),
    ROW("mem_reservation", BYTES),
    ROW("memswap_limit", BYTES),
    ROW("mem_swappiness", BYTES),
    ROW("mac_address", STRING),
    ROW("models", OBJECT_MAP, .object = &service_model_object, .merge = MERGE_NAMES,
        .canonical = CANONICAL_NAMES, .flags = FIELD_NULL_ITEMS),
    ROW("network_mode", STRING),
    ROW("networks", OBJECT_MAP, .object = &service_network_object, .merge = MERGE_NAMES,
        .canonical = CANONICAL_NAMES, .flags = FIELD_NULL_ITEMS),
    ROW("oom_kill_disable", BOOL, .cast = CAST_BOOL),
    ROW("oom_score_adj", INT, .cast = CAST_INT),
    ROW("pid", STRING),
    ROW("pids_limit", INT, .cast = CAST_INT),
    ROW("platform", STRING),
    ROW("ports", OBJECT_LIST, .object = &port_object, .unique = UNIQUE_PORT,
        .canonical = CANONICAL_PORTS),
    ROW("privileged", BOOL, .cast = CAST_BOOL),
    ROW("pull_policy", STRING),
    ROW("read_only", BOOL, .cast = CAST_BOOL),
    ROW("restart", STRING),
    ROW("runtime", STRING),
    ROW("scale", INT, .cast = CAST_INT, .flags = FIELD_KEEP_ZERO),
    ROW("secrets", OBJECT_LIST, .object = &file_mount_object, .unique = UNIQUE_SECRET,
        .canonical = CANONICAL_FILE_MOUNTS),
    ROW("security_opt", STRINGS),
    ROW("shm_size", BYTES),
    ROW("stdin_open", BOOL, .cast = CAST_BOOL),
    ROW("stop_grace_period", DURATION, .flags = FIELD_KEEP_ZERO),
    ROW("stop_signal", STRING),
    ROW("storage_opt", STRING_MAP),
    ROW("sysctls", MAPPING, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("tmpfs", STRING_OR_LIST, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("tty", BOOL, .cast = CAST_BOOL),
    ROW("ulimits", ULIMITS, .cast = CAST_INT, .merge = MERGE_ULIMITS,
        .canonical = CANONICAL_ULIMITS),
    ROW("use_api_socket", BOOL),
    ROW("user", STRING),
    ROW("userns_mode", STRING),
    ROW("uts", STRING),
    ROW("volumes", OBJECT_LIST, .object = &mount_object, .unique = UNIQUE_VOLUME,
        .canonical = CANONICAL_VOLUMES, .path = PATH_VOLUMES),
    ROW("volumes_from", STRINGS),
    ROW("working_dir", STRING),
    ROW("post_start", OBJECT_LIST, .object = &hook_object),
    ROW("pre_stop", OBJECT_LIST, .object = &hook_object),
    ROW("pre_start", OBJECT_LIST, .object = &pre_start_object),
};
const struct object service_object = {
    .what = "service", .fields = service_fields, .n = ARRAY_SIZE(service_fields)};

static const struct field pool_fields[] = {
    ROW("subnet", STRING),
    ROW("gateway", STRING),
    ROW("ip_range", STRING),
    ROW("aux_addresses", MAPPING),
};
OBJECT(pool, "address pool");

static const struct field ipam_fields[] = {
    ROW("driver", STRING),
    ROW("config", OBJECT_LIST, .object = &pool_object, .merge = MERGE_IPAM_CONFIG),
};
OBJECT(ipam, "ipam");

static const struct field network_fields[] = {
    ROW("name", STRING),
    ROW("driver", STRING),
    ROW("driver_opts", OPTIONS),
    ROW("ipam", OBJECT, .object = &ipam_object, .flags = FIELD_BY_VALUE),
    ROW("external", BOOL, .cast = CAST_BOOL),
    ROW("internal", BOOL, .cast = CAST_BOOL),
    ROW("attachable", BOOL, .cast = CAST_BOOL),
    ROW("labels", LABELS, .merge = MERGE_SEQUENCE, .unique = UNIQUE_KEY),
    ROW("enable_ipv4", BOOL, .cast = CAST_BOOL, .flags = FIELD_KEEP_ZERO),
    ROW("enable_ipv6", BOOL, .cast = CAST_BOOL, .flags = FIELD_KEEP_ZERO),
};
OBJECT(network, "network");

static const struct field volume_fields[] = {
    ROW("name", STRING),
    ROW("driver", STRING),
    ROW("driver_opts", OPTIONS),
    ROW("external", BOOL, .cast = CAST_BOOL),
    ROW("labels", LABELS, .merge = MERGE_SEQUENCE),
};
OBJECT(volume, "volume");

static const struct field file_object_fields[] = {
    ROW("name", STRING),
    ROW("file", STRING, .path = PATH_MAYBE_WINDOWS),
    ROW("environment", STRING),
    ROW("content", STRING),
    ROW("external", BOOL, .cast = CAST_BOOL),
    ROW("labels", LABELS),
    ROW("driver", STRING),
    ROW("driver_opts", STRING_MAP),
    ROW("template_driver", STRING),
    /* What the variable held when the project was loaded. */
    ROW("x-#value", STRING, .flags = FIELD_INTERNAL),
};
OBJECT(file_object, "file object");

static const struct field model_fields[] = {
    ROW("name", STRING),
    ROW("model", STRING),
    ROW("context_size", INT),
    ROW("runtime_flags", STRINGS),
};
OBJECT(model, "model");

static const struct field root_fields[] = {
    ROW("name", STRING),
    ROW("services", OBJECT_MAP, .object = &service_object, .flags = FIELD_ALWAYS),
    ROW("networks", OBJECT_MAP, .object = &network_object, .canonical = CANONICAL_EXTERNAL),
    ROW("volumes", OBJECT_MAP, .object = &volume_object, .canonical = CANONICAL_EXTERNAL,
        .path = PATH_DRIVER_OPTS),
    ROW("secrets", OBJECT_MAP, .object = &file_object_object, .canonical = CANONICAL_EXTERNAL),
    ROW("configs", OBJECT_MAP, .object = &file_object_object, .canonical = CANONICAL_EXTERNAL),
    ROW("models", OBJECT_MAP, .object = &model_object, .flags = FIELD_YAML_ONLY),
};
const struct object root_object = {
    .what = "project", .fields = root_fields, .n = ARRAY_SIZE(root_fields)};

const struct field *field_named(const struct object *object, const char *name)
{
    for (size_t i = 0; i < object->n; i++) {
        const char *own = object->fields[i].name;
        if (own[0] == name[0] && own[1] == name[1] && streq(own, name))
            return &object->fields[i];
    }
    return NULL;
}

const struct field *field_of(const struct object *object, const struct node_pair *pair)
{
    uint8_t *last = &pair->value->field;
    if (*last < object->n && streq(object->fields[*last].name, pair->key))
        return &object->fields[*last];
    const struct field *f = field_named(object, pair->key);
    if (f)
        *last = (uint8_t)(f - object->fields);
    return f;
}
