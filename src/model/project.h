/* The typed project: what the engine, the runtime and the network work from.
 *
 * Decoded once from a normalized document (model/decode.h); everything lives in the arena of the
 * project and is read-only afterwards. Strings are NULL where the file says nothing; arrays are
 * pointer + count; "has_" or a negative sentinel tells unset from zero where that differs.
 * Durations are in nanoseconds, sizes in bytes. Paths are absolute. */
#ifndef MODEL_PROJECT_H
#define MODEL_PROJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "file/node.h"

enum { UNSET = -1 }; /* of an int64_t that the file does not give */

struct key_value {
    const char *key;
    const char *value; /* NULL: given without a value */
};

struct key_values {
    struct key_value *v;
    size_t n;
};

struct strings {
    const char **v; /* NULL-terminated too */
    size_t n;
};

enum depends_condition { DEPENDS_STARTED, DEPENDS_HEALTHY, DEPENDS_COMPLETED };

struct dependency {
    const char *service;
    enum depends_condition condition;
    bool restart;  /* restart the dependent when this one is restarted */
    bool required; /* false: warn and go on where it is missing or fails */
    struct mark mark;
};

enum mount_type { MOUNT_BIND, MOUNT_VOLUME, MOUNT_TMPFS, MOUNT_IMAGE, MOUNT_NPIPE, MOUNT_CLUSTER };

struct service_mount {
    enum mount_type type;
    const char *source; /* bind: host path; volume: key in project->volumes, NULL: anonymous;
                           image: reference */
    const char *target;
    bool read_only;
    const char *consistency;
    bool create_host_path; /* bind: make a missing source folder (default true) */
    const char *propagation;
    const char *recursive; /* bind.recursive: enabled, disabled, writable, readonly */
    const char *selinux;
    bool nocopy;         /* volume: do not seed from the image */
    const char *subpath; /* volume and image */
    int64_t tmpfs_size;  /* UNSET: default */
    int64_t tmpfs_mode;  /* UNSET: default 01777 */
    struct mark mark;
};

struct port_mapping {
    const char *host_ip;    /* NULL: all addresses, IPv4 and IPv6 */
    uint16_t published;     /* first host port; 0: any free port */
    uint16_t published_end; /* last of a range to choose from; equals published otherwise */
    uint16_t target;
    const char *protocol; /* "tcp", "udp" */
    const char *mode;     /* "ingress", "host" */
    const char *name, *app_protocol;
    struct mark mark;
};

struct service_network {
    const char *network; /* key in project->networks */
    struct strings aliases;
    const char *ipv4_address, *ipv6_address;
    struct strings link_local_ips;
    const char *mac_address;
    const char *interface_name;
    struct key_values driver_opts;
    int64_t priority, gw_priority;
};

/* A secret or config as a service uses it. */
struct file_mount {
    const char *source;    /* key in project->secrets or ->configs */
    const char *target;    /* absolute path in the container, defaults applied */
    const char *uid, *gid; /* NULL: default */
    int64_t mode;          /* UNSET: default 0444 */
    struct mark mark;
};

/* x-healthcheck: a probe of a port, made by compose itself from inside the container's network. */
enum port_probe_kind { PROBE_NONE, PROBE_TCP, PROBE_HTTP };
struct port_probe {
    enum port_probe_kind kind;
    const char *host, *path; /* an address; path of PROBE_HTTP */
    int64_t port;
};

struct healthcheck {
    bool present;        /* the service has a healthcheck section */
    bool disable;        /* disable: true or test: NONE */
    struct strings test; /* empty: the image's; else ["CMD", ...], ["CMD-SHELL", s] */
    int64_t interval, timeout, start_period, start_interval; /* ns, UNSET: default */
    int64_t retries;                                         /* UNSET: default */
    struct port_probe port;                                  /* instead of test */
};

struct ulimit {
    const char *name;
    int64_t soft, hard; /* -1 : unlimited */
};

struct device {
    const char *source, *target, *permissions; /* source may be a CDI name */
};

/* gpus, deploy.resources.reservations.devices */
struct device_request {
    const char *driver;
    int64_t count; /* -1: all; ids: 0 */
    struct strings ids, capabilities;
};

struct weight_device {
    const char *path;
    uint64_t value;
};

struct blkio_config {
    int64_t weight; /* UNSET */
    struct {
        struct weight_device *v;
        size_t n;
    } weight_device, device_read_bps, device_write_bps, device_read_iops, device_write_iops;
};

struct logging {
    const char *driver; /* NULL: ours, json-file */
    struct key_values options;
};

enum restart_kind { RESTART_NO, RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_UNLESS_STOPPED };

/* restart: and deploy.restart_policy, merged as the reference does (deploy wins). */
struct restart_policy {
    enum restart_kind kind;
    const char *unknown;   /* the policy as written where it is none of these, else NULL */
    int64_t max_attempts;  /* UNSET: no limit */
    int64_t delay, window; /* ns, UNSET: default backoff */
};

/* mem_*, cpu*, pids_limit and deploy.resources, merged; UNSET where not given. */
struct resources {
    int64_t nano_cpus;
    int64_t memory, memory_reservation,
        memory_swap; /* bytes; swap -1 is UNSET, see unlimited_swap */
    bool unlimited_swap;
    int64_t mem_swappiness;
    int64_t pids;
    int64_t cpu_shares, cpu_period, cpu_quota, cpu_rt_period, cpu_rt_runtime;
    const char *cpuset;
    bool oom_kill_disable;
    struct blkio_config blkio;
    struct device_request *device_requests;
    size_t device_requests_n;
};

struct hook {
    struct strings command;
    const char *user, *working_dir;
    bool privileged;
    struct key_values environment;
    const char *image; /* pre_start: NULL: the service's */
    bool per_replica;  /* pre_start: before each container, not once */
};

struct build {
    const char *context; /* absolute folder or URL */
    const char *dockerfile;
    const char *dockerfile_inline;
    struct key_values args;
    struct key_values additional_contexts;
    struct key_values labels;
    struct key_values ssh;
    struct strings cache_from, cache_to, tags, platforms, extra_hosts;
    struct file_mount *secrets;
    size_t secrets_n;
    const char *target, *network;
    int64_t shm_size; /* UNSET */
    struct ulimit *ulimits;
    size_t ulimits_n;
    bool no_cache, pull, privileged;
};

struct service {
    const char *name;
    struct mark mark;
    const struct node *node; /* the normalized section: what config --hash is taken of */

    const char *image;   /* NULL when only build is given: then <project>-<service> */
    struct build *build; /* NULL: none */
    const char *pull_policy, *platform;

    bool has_command, has_entrypoint; /* given, even if empty */
    struct strings command, entrypoint;
    struct key_values environment; /* env_file merged and resolved; value NULL: unset */
    const char *user, *working_dir;
    struct strings group_add;

    const char *container_name, *hostname, *domainname;
    struct key_values labels, annotations;
    int64_t scale;    /* replicas; scale and deploy.replicas, default 1 */
    bool global_mode; /* deploy.mode: global, global-job */

    struct dependency *depends_on; /* with links, volumes_from, network_mode: service:, ... added */
    size_t depends_on_n;

    struct service_mount *mounts;
    size_t mounts_n;
    struct strings tmpfs;        /* "/run:size=64m,mode=700" */
    struct strings volumes_from; /* "service[:ro]", "container:NAME[:ro]" */

    struct port_mapping *ports;
    size_t ports_n;
    struct strings expose;
    const char *network_mode; /* NULL, "bridge", "host", "none", "service:X", "container:X" */
    struct service_network *networks; /* by priority, then name */
    size_t networks_n;
    struct strings dns, dns_search, dns_opt, links, external_links;
    struct key_values extra_hosts; /* host -> address; one entry an address */
    const char *mac_address;

    struct file_mount *secrets, *configs;
    size_t secrets_n, configs_n;

    struct healthcheck healthcheck;
    struct restart_policy restart;
    int64_t restart_unhealthy; /* x-restart-unhealthy: how often in a row, UNSET: not at all */
    struct resources resources;
    struct logging logging;

    struct strings cap_add, cap_drop, security_opt, device_cgroup_rules;
    struct key_values sysctls, storage_opt;
    struct ulimit *ulimits;
    size_t ulimits_n;
    struct device *devices;
    size_t devices_n;
    bool privileged, read_only, tty, stdin_open;
    int init;              /* 1, 0, UNSET */
    int64_t shm_size;      /* bytes, UNSET: 64 MiB */
    int64_t oom_score_adj; /* UNSET_OOM where not given */
    const char *stop_signal;
    int64_t stop_grace_period; /* ns, UNSET: 10 s */
    const char *pid, *ipc, *uts, *userns_mode, *cgroup, *cgroup_parent, *runtime, *isolation;
    bool attach; /* default true: up shows its output */
    bool use_api_socket;
    const struct node *provider, *develop, *models; /* undecoded; NULL: none */
    struct hook *post_start, *pre_stop, *pre_start;
    size_t post_start_n, pre_stop_n, pre_start_n;
    struct strings profiles;
};

enum { UNSET_OOM = -10000 };

struct ipam_pool {
    const char *subnet, *ip_range, *gateway;
    struct key_values aux_addresses;
};

struct network {
    const char *key;  /* in the file */
    const char *name; /* on the machine: <project>_<key> or name: */
    struct mark mark;
    const struct node *node;
    const char *driver; /* NULL: bridge */
    struct key_values driver_opts, labels;
    struct ipam_pool *pools;
    size_t pools_n;
    const char *ipam_driver;
    bool external, internal, attachable;
    int enable_ipv4, enable_ipv6; /* 1, 0, UNSET */
};

struct volume {
    const char *key, *name;
    struct mark mark;
    const struct node *node;
    const char *driver;
    struct key_values driver_opts, labels;
    bool external;
};

/* A secret or a config. Exactly one of file, environment and content is its source, unless
 * external. */
struct file_object {
    const char *key, *name;
    struct mark mark;
    const char *file;        /* absolute path */
    const char *environment; /* name of a variable; content: what it held, NULL: it is not set */
    const char *content;
    bool external;
};

struct project {
    struct arena *arena;
    struct node *document; /* normalized; what `config` prints */
    const char *name;
    const char *separator; /* of the parts of names: "-", or "_" with --compatibility */
    const char *working_dir;
    struct strings files; /* absolute paths of the Compose files */
    struct strings env_files;
    struct key_values environment; /* what interpolation saw; empty in a stored project */

    struct service *services; /* by name; only the enabled ones */
    size_t services_n;
    struct strings disabled; /* services whose profiles are not active */
    struct network *networks;
    size_t networks_n;
    struct volume *volumes;
    size_t volumes_n;
    struct file_object *secrets, *configs;
    size_t secrets_n, configs_n;
};

struct service *project_service(const struct project *p, const char *name);
struct network *project_network(const struct project *p, const char *key);
struct volume *project_volume(const struct project *p, const char *key);
struct file_object *project_secret(const struct project *p, const char *key);
struct file_object *project_config(const struct project *p, const char *key);
void project_free(struct project *p);

/* Puts "NAME=VALUE" (copied) into the environment of a service. Was another value there before? */
bool service_set_variable(struct project *p, struct service *s, const char *pair);
/* The variables that interpolation saw as an environment for programs; heap vector. */
char **project_environ(const struct project *p);

#endif
