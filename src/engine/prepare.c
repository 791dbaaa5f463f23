#include "engine/prepare.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "dns/resolvconf.h"
#include "engine/container.h"
#include "engine/mounts.h"
#include "net/netns.h"
#include "runtime/files.h"
#include "volume/volume.h"

enum { SECRET_MAX = 16 << 20, HOSTNAME_FILE_MAX = 4096 };

typedef VEC(struct container_mount) mount_list;

/* Process id of the container that "service:NAME" or "container:NAME" says, which must run; 0: mode
 * is of another kind. -1 with err. */
static pid_t shared_pid(struct engine *e, const char *mode, struct err *err)
{
    struct container *c = NULL;
    struct container_record other = {0};
    if (mode && starts_with(mode, "service:"))
        c = engine_service_container(e, mode + strlen("service:"));
    else if (mode && starts_with(mode, "container:"))
        c = engine_container_by_name(e, mode + strlen("container:"));
    else
        return 0;
    pid_t pid = c && container_is_running(c) ? c->record.pid : 0;
    const char *name = strchr(mode, ':') + 1;
    if (!c && starts_with(mode, "container:") &&
        container_find(e->paths, name, e->project_name, &other, NULL) == 0)
        pid = other.status == CONTAINER_RUNNING ? other.pid : 0;
    bool exists = c || other.id;
    container_record_release(&other);
    if (pid > 0)
        return pid;
    return exists ? err_set(err, ERR_CONFLICT, "%s: it is not running", mode)
                  : err_set(err, ERR_NOT_FOUND, "No such container: %s", name);
}

static int share_namespaces(struct engine *e, struct prepare_job *j, struct err *err)
{
    const struct {
        const char *mode, *kind;
        char **path;
    } shared[] = {{j->service->network_mode, "net", &j->shared_netns},
                  {j->service->ipc, "ipc", &j->shared_ipc},
                  {j->service->pid, "pid", &j->shared_pid},
                  {j->service->uts, "uts", &j->shared_uts}};
    for (size_t i = 0; i < ARRAY_SIZE(shared); i++) {
        pid_t pid = shared_pid(e, shared[i].mode, err);
        if (pid < 0)
            return -1;
        if (pid)
            *shared[i].path = xasprintf("/proc/%d/ns/%s", (int)pid, shared[i].kind);
    }
    return 0;
}

static void add_inherited(mount_list *all, const struct container_record *from, bool read_only)
{
    for (size_t k = 0; k < from->mounts_n; k++) {
        struct container_mount m = container_mount_copy(&from->mounts[k]);
        m.read_only |= read_only;
        vec_push(all, m);
    }
}

/* volumes_from: "SERVICE[:ro|rw]", "container:NAME[:ro|rw]". */
static int inherit_mounts(struct engine *e, struct prepare_job *j, struct err *err)
{
    mount_list all = {0};
    int rc = 0;
    for (size_t i = 0; i < j->service->volumes_from.n && rc == 0; i++) {
        char *spec AUTOFREE = xstrdup(j->service->volumes_from.v[i]);
        bool by_name = starts_with(spec, "container:");
        char *name = by_name ? spec + strlen("container:") : spec;
        char *mode = strchr(name, ':');
        if (mode)
            *mode++ = '\0';
        bool read_only = mode && streq(mode, "ro");
        const struct container *from = by_name ? engine_container_by_name(e, name)
                                               : engine_service_container(e, name);
        struct container_record other = {0};
        if (from)
            add_inherited(&all, &from->record, read_only);
        else if (by_name && container_find(e->paths, name, e->project_name, &other, NULL) == 0)
            add_inherited(&all, &other, read_only);
        else
            rc = err_set(err, ERR_NOT_FOUND, "volumes_from: No such container: %s", name);
        container_record_release(&other);
    }
    j->inherited = all.v;
    j->inherited_n = all.n;
    return rc;
}

int prepare_job_new(struct engine *e, struct container *c, struct prepare_job **out,
                    struct err *err)
{
    struct prepare_job *j = xcalloc(1, sizeof(*j));
    j->owner = c;
    j->paths = e->paths;
    j->service = container_service(c);
    j->project = c->project->project;
    j->environment = c->project->environment;
    j->images = e->images;
    j->record = c->record; /* a view: the container is not changed while it prepares */
    j->dir = paths_container(e->paths, c->record.project, c->record.id);
    if (share_namespaces(e, j, err) < 0 || inherit_mounts(e, j, err) < 0) {
        prepare_job_free(j);
        return -1;
    }
    *out = j;
    return 0;
}

void prepare_job_free(struct prepare_job *j)
{
    if (!j)
        return;
    char *strings[] = {j->dir,        j->shared_netns,    j->shared_ipc, j->shared_pid,
                       j->shared_uts, j->gateway_network, j->netns,      j->command};
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        free(strings[i]);
    container_mounts_free(j->inherited, j->inherited_n);
    container_mounts_free(j->mounts, j->mounts_n);
    for (size_t i = 0; i < j->endpoints_n; i++)
        endpoint_release(&j->endpoints[i]);
    free(j->endpoints);
    strv_free(j->warnings);
    strv_free(j->log_sink);
    image_free(j->image);
    oci_runtime_release(&j->runtime);
    err_release(&j->err);
    free(j);
}

static bool mode_is(const char *mode, const char *word)
{
    return mode && streq(mode, word);
}

static struct network_gateways pick_gateways(struct prepare_job *j,
                                             struct network_state *const *states, size_t n)
{
    int64_t *priority AUTOFREE = xcalloc(n, sizeof(*priority));
    for (size_t i = 0; i < n; i++)
        priority[i] = j->service->networks_n ? j->service->networks[i].gw_priority : 0;
    return network_pick_gateways((const struct network_state *const *)states, priority, n);
}

/* The one that published ports go through. */
static int main_gateway(const struct network_gateways *out)
{
    return out->ipv4 >= 0 ? out->ipv4 : out->ipv6;
}

/* The service's name and aliases in one network, as Docker's --network-alias. */
static void endpoint_aliases(const struct prepare_job *j, const struct service_network *sn,
                             struct strings *out, const char **storage)
{
    size_t n = 0;
    if (!j->record.hide_aliases) {
        storage[n++] = j->service->name;
        for (size_t i = 0; sn && i < sn->aliases.n; i++)
            storage[n++] = sn->aliases.v[i];
    }
    storage[n] = NULL;
    *out = (struct strings){.v = storage, .n = n};
}

static int connect_one(struct prepare_job *j, const struct service_network *sn,
                       const struct network_state *state, const struct network_gateways *out, int i)
{
    size_t most = (sn ? sn->aliases.n : 0) + 2;
    const char **storage AUTOFREE = xcalloc(most, sizeof(*storage));
    struct endpoint_config c = {
        .container_id = j->record.id,
        .container_name = j->record.name,
        .project = j->record.project,
        .service = j->service->name,
        .netns = j->netns,
        .hostname = j->record.hostname,
        .default4 = i == out->ipv4,
        .default6 = i == out->ipv6,
        .no_dns_names = j->record.hide_aliases,
    };
    if (sn) {
        c.interface_name = sn->interface_name;
        c.ipv4_address = j->record.oneoff ? NULL : sn->ipv4_address;
        c.ipv6_address = j->record.oneoff ? NULL : sn->ipv6_address;
        c.mac_address = sn->mac_address;
        c.link_local_ips = sn->link_local_ips;
        c.driver_opts = sn->driver_opts;
    }
    if (!c.mac_address && i == main_gateway(out))
        c.mac_address = j->service->mac_address;
    endpoint_aliases(j, sn, &c.aliases, storage);
    if (network_connect(j->paths, state, &c, &j->endpoints[j->endpoints_n], &j->err) < 0)
        return -1;
    j->endpoints_n++;
    return 0;
}

/* The names of the networks on this machine; network_mode bridge is a network of the machine. */
static const char *network_name(const struct prepare_job *j, size_t i)
{
    if (!j->service->networks_n)
        return "bridge";
    const struct network *n = project_network(j->project, j->service->networks[i].network);
    return n ? n->name : j->service->networks[i].network;
}

/* A command that was killed while it made a network anew has left none. */
static int make_missing(struct prepare_job *j, const char *name, struct network_state **out)
{
    struct network_config config;
    for (size_t i = 0; j->err.kind == ERR_NOT_FOUND && i < j->project->networks_n; i++) {
        const struct network *n = &j->project->networks[i];
        if (n->external || !streq(n->name, name))
            continue;
        err_release(&j->err);
        network_config_of(n, j->project->name, &config);
        return network_create(j->paths, &config, out, &j->err);
    }
    return -1;
}

/* After a reboot only the files of a network are left. */
static int load_mended(struct prepare_job *j, const char *name, struct network_state **out)
{
    if (network_load(j->paths, name, out, &j->err) < 0)
        return make_missing(j, name, out);
    const char *bridge = (*out)->bridge;
    return bridge && !if_nametoindex(bridge) ? network_repair(j->paths, name, &j->err) : 0;
}

static int load_network(struct prepare_job *j, size_t i, struct network_state **out)
{
    const char *name = network_name(j, i);
    if (j->service->networks_n)
        return load_mended(j, name, out);
    struct network_config machine_wide = {.name = name, .enable_ipv4 = UNSET, .enable_ipv6 = UNSET};
    return network_create(j->paths, &machine_wide, out, &j->err);
}

static int join_networks(struct prepare_job *j)
{
    size_t n = j->service->networks_n ? j->service->networks_n : 1;
    struct network_state **states = xcalloc(n + 1, sizeof(*states));
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = load_network(j, i, &states[i]);
    if (rc == 0) {
        j->endpoints = xcalloc(n, sizeof(*j->endpoints));
        struct network_gateways out = pick_gateways(j, states, n);
        int gateway = main_gateway(&out);
        j->internal_only = gateway < 0;
        if (gateway >= 0 && states[gateway]->driver == NETWORK_BRIDGE)
            j->gateway_network = xstrdup(states[gateway]->name);
        for (size_t i = 0; i < n && rc == 0; i++)
            if (network_has_interfaces(states[i]))
                rc = connect_one(j, j->service->networks_n ? &j->service->networks[i] : NULL,
                                 states[i], &out, (int)i);
    }
    for (size_t i = 0; i < n; i++)
        network_state_free(states[i]);
    free(states);
    return rc;
}

/* As the reference says it. */
static int check_addresses(struct prepare_job *j)
{
    const struct service *s = j->service;
    struct ip_addr ip;
    for (size_t i = 0; i < s->extra_hosts.n; i++) {
        const char *address = s->extra_hosts.v[i].value;
        if (!address || (!streq(address, "host-gateway") && !ip_parse(address, &ip)))
            return err_set(&j->err, ERR_INVALID, "invalid IP address in add-host: \"%s\"",
                           address ? address : "");
    }
    for (size_t i = 0; i < s->dns.n; i++) {
        char *address AUTOFREE = xstrndup(s->dns.v[i], strcspn(s->dns.v[i], "%")); /* a zone */
        if (!ip_parse(address, &ip))
            return err_set(&j->err, ERR_INVALID, "bad nameserver address: \"%s\"", s->dns.v[i]);
    }
    return 0;
}

static int prepare_network(struct prepare_job *j)
{
    const char *mode = j->service->network_mode;
    if (check_addresses(j) < 0)
        return -1;
    if (mode_is(mode, "host"))
        return 0;
    if (j->shared_netns) {
        j->netns = xstrdup(j->shared_netns);
        return 0;
    }
    char *run AUTOFREE = paths_container_run(j->paths, j->record.id);
    j->netns = path_join(run, "netns");
    if (fs_mkdir_p(run, 0711, &j->err) < 0 || netns_create(j->netns, &j->err) < 0)
        return -1;
    return mode_is(mode, "none") ? 0 : join_networks(j);
}

int prepare_object(const struct file_object *object, const char *kind, const json_t *environment,
                   const char **text, struct err *err)
{
    *text = object->content ? object->content : "";
    if (object->external)
        return err_set(err, ERR_INVALID, "unsupported external %s %s", kind, object->name);
    if (object->file) {
        *text = NULL;
        return fs_exists(object->file)
                   ? 0
                   : err_set(err, ERR_NOT_FOUND,
                             "invalid mount config for type \"bind\": bind source path does not "
                             "exist: %s",
                             object->file);
    }
    if (object->environment)
        *text = jstr(environment, object->environment, NULL);
    return *text ? 0
                 : err_set(err, ERR_NOT_FOUND,
                           "environment variable \"%s\" required by %s \"%s\" is not set",
                           object->environment, kind, object->key);
}

/* A secret or config as a file of the bundle. */
static int file_of(struct prepare_job *j, const struct file_mount *use,
                   const struct file_object *object, const char *kind, struct bundle_file *out)
{
    *out = (struct bundle_file){
        .target = xstrdup(use->target),
        .uid = use->uid ? strtol(use->uid, NULL, 10) : -1,
        .gid = use->gid ? strtol(use->gid, NULL, 10) : -1,
        .mode = use->mode == UNSET ? -1 : (int)use->mode,
    };
    if (!object)
        return err_set(&j->err, ERR_NOT_FOUND, "undefined %s %s", kind, use->source);
    const char *text;
    if (prepare_object(object, kind, j->environment, &text, &j->err) < 0)
        return -1;
    if (!text) {
        if (use->uid || use->gid || use->mode != UNSET)
            return fs_read(object->file, SECRET_MAX, &out->content, &out->len, &j->err);
        out->source = xstrdup(object->file);
        return 0;
    }
    out->content = xstrdup(text);
    out->len = strlen(out->content);
    return 0;
}

static void files_free(struct bundle_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].source);
        free(files[i].content);
        free(files[i].target);
    }
    free(files);
}

static int collect_files(struct prepare_job *j, struct bundle_file **out, size_t *n)
{
    const struct service *s = j->service;
    *out = xcalloc(s->secrets_n + s->configs_n, sizeof(**out));
    *n = 0;
    for (size_t i = 0; i < s->secrets_n; i++)
        if (file_of(j, &s->secrets[i], project_secret(j->project, s->secrets[i].source), "secret",
                    &(*out)[(*n)++]) < 0)
            return -1;
    for (size_t i = 0; i < s->configs_n; i++)
        if (file_of(j, &s->configs[i], project_config(j->project, s->configs[i].source), "config",
                    &(*out)[(*n)++]) < 0)
            return -1;
    return 0;
}

/* What host-gateway stands for: the host as this container sees it. */
static void host_gateway(const struct prepare_job *j, char out[IP_TEXT_MAX])
{
    strcpy(out, "127.0.0.1");
    for (size_t i = 0; i < j->endpoints_n; i++)
        if (j->endpoints[i].gateway4.family) {
            ip_format(&j->endpoints[i].gateway4, out);
            return;
        }
}

typedef VEC(struct bundle_host) host_list;

static void add_host(host_list *list, const char *address, const char *name)
{
    struct bundle_host h = {.address = xstrdup(address), .name = xstrdup(name)};
    vec_push(list, h);
}

static void collect_hosts(const struct prepare_job *j, host_list *list)
{
    char text[IP_TEXT_MAX];
    char *names AUTOFREE = j->service->domainname
                               ? xasprintf("%s.%s %s", j->record.hostname, j->service->domainname,
                                           j->record.hostname)
                               : xstrdup(j->record.hostname);
    for (size_t i = 0; i < j->service->extra_hosts.n; i++) {
        const struct key_value *kv = &j->service->extra_hosts.v[i];
        if (kv->value && streq(kv->value, "host-gateway"))
            host_gateway(j, text);
        else
            snprintf(text, sizeof(text), "%s", kv->value ? kv->value : "");
        add_host(list, text, kv->key);
    }
    for (size_t i = 0; i < j->endpoints_n; i++) {
        if (j->endpoints[i].ipv4.family)
            add_host(list, ip_format(&j->endpoints[i].ipv4, text), names);
        if (j->endpoints[i].ipv6.family)
            add_host(list, ip_format(&j->endpoints[i].ipv6, text), names);
    }
}

static char *resolv_conf_text(struct prepare_job *j)
{
    const struct service *s = j->service;
    bool internal = j->endpoints_n || j->shared_netns;
    struct resolv_conf host;
    if (resolv_conf_read(NULL, &host, NULL) < 0)
        host = (struct resolv_conf){0};
    char *text = dns_resolv_conf(&host, &s->dns, &s->dns_search, &s->dns_opt, internal);
    resolv_conf_release(&host);
    return text;
}

static char *cgroup_path(const struct prepare_job *j)
{
    const char *parent = j->service->cgroup_parent;
    return xasprintf("%s%s/%s/%s", parent && parent[0] == '/' ? "" : "/",
                     parent ? parent : "compose", j->record.project, j->record.id);
}

/* As Docker shows it: arguments with spaces in quotes (moby daemon/list.go). */
static char *command_text(char **argv)
{
    struct strbuf sb = STRBUF_INIT;
    for (size_t i = 0; argv && argv[i]; i++) {
        const char *quote = i && strchr(argv[i], ' ') ? "'" : "";
        strbuf_addf(&sb, "%s%s%s%s", i ? " " : "", quote, argv[i], quote);
    }
    return strbuf_detach(&sb);
}

char *prepare_command_text(const struct service *s, const struct image *image)
{
    const struct bundle_request r = {.service = s, .image = image};
    char **argv AUTOSTRV = bundle_command(&r);
    return command_text(argv);
}

/* Volumes are seeded from the image's content before anything is mounted over it. */
static int seed_volumes(struct prepare_job *j, const char *rootfs)
{
    for (size_t i = 0; i < j->mounts_n; i++) {
        const struct container_mount *m = &j->mounts[i];
        const struct service_mount *from = service_mount_at(j->service, m->target);
        if (!m->name || !streq(m->type, "volume") || (from && (from->nocopy || from->subpath)))
            continue;
        struct volume_state v;
        if (volume_load(j->paths, m->name, &v, &j->err) < 0)
            return -1;
        int rc = volume_seed(&v, rootfs, m->target, &j->err);
        volume_state_release(&v);
        if (rc < 0)
            return err_wrap(&j->err, "volume %s", m->name);
    }
    return 0;
}

/* Who is in the network of the host or of another container bears its name, unless he has one: what looks for its own
 * address finds it in /etc/hosts. */
static char *hostname_of(const struct prepare_job *j)
{
    char host[HOST_NAME_MAX + 1];
    if (mode_is(j->service->network_mode, "host") && !j->service->hostname &&
        gethostname(host, sizeof(host)) == 0)
        return xstrdup(host);
    char *owner AUTOFREE = j->shared_netns && !j->service->hostname
                               ? files_run_of(j->paths, j->shared_netns)
                               : NULL;
    char *path AUTOFREE = owner ? path_join(owner, "hostname") : NULL;
    char *name = NULL;
    if (!path || fs_read(path, HOSTNAME_FILE_MAX, &name, NULL, NULL) < 0)
        return xstrdup(j->record.hostname);
    name[strcspn(name, "\n")] = '\0';
    return name;
}

static int write_bundle(struct prepare_job *j)
{
    char *hostname AUTOFREE = hostname_of(j);
    char *cgroup AUTOFREE = cgroup_path(j);
    char *resolv AUTOFREE = mode_is(j->service->network_mode, "host") ? NULL : resolv_conf_text(j);
    struct bundle_mount *mounts = NULL;
    struct bundle_file *files = NULL;
    size_t files_n = 0;
    host_list hosts = {0};
    collect_hosts(j, &hosts);

    struct bundle_request r = {
        .paths = j->paths,
        .runtime = &j->runtime,
        .id = j->record.id,
        .name = j->record.name,
        .project = j->record.project,
        .dir = j->dir,
        .service = j->service,
        .image = j->image,
        .tty = j->record.tty,
        .stdin_open = j->record.stdin_open,
        .hostname = hostname,
        .netns = j->netns,
        .resolv_conf = resolv,
        .hosts = hosts.v,
        .hosts_n = hosts.n,
        .ipc_path = j->shared_ipc,
        .pid_path = j->shared_pid,
        .uts_path = j->shared_uts,
        .cgroup_path = cgroup,
    };
    char *rootfs AUTOFREE = NULL;
    int rc = bundle_mount_rootfs(&r, &rootfs, &j->err);
    if (rc == 0)
        rc = seed_volumes(j, rootfs);
    if (rc == 0)
        rc = collect_files(j, &files, &files_n);
    if (rc == 0) {
        mounts = bundle_mounts_of(j->service, j->mounts, j->mounts_n);
        r.mounts = mounts;
        r.mounts_n = j->mounts_n;
        r.files = files;
        r.files_n = files_n;
        rc = bundle_write(&r, &j->err);
    }
    if (rc == 0) {
        char **argv AUTOSTRV = bundle_command(&r);
        j->command = command_text(argv);
    }
    free(mounts);
    files_free(files, files_n);
    vec_foreach (&hosts, h) {
        free(h->address);
        free(h->name);
    }
    vec_release(&hosts);
    return rc;
}

void prepare_run(void *job)
{
    struct prepare_job *j = job;
    if (oci_runtime_choose(j->service->runtime, j->paths->run, &j->runtime, &j->err) < 0)
        return;
    if (image_find(j->images, j->record.image_id, NULL, &j->image, &j->err) < 0)
        return;
    if (log_sink_make(j->service, &j->record, &j->image->config, &j->log_sink, &j->err) < 0)
        return;
    if (mounts_resolve(j, &j->mounts, &j->mounts_n, &j->err) < 0)
        return;
    if (prepare_network(j) < 0)
        return;
    write_bundle(j);
}

struct cleanup_job *cleanup_job_new(struct engine *e, struct container *c, bool remove,
                                    bool volumes)
{
    struct cleanup_job *j = xcalloc(1, sizeof(*j));
    j->owner = c;
    j->paths = e->paths;
    j->id = xstrdup(c->record.id);
    j->dir = paths_container(e->paths, c->record.project, c->record.id);
    j->remove = remove;
    j->record = &c->record;
    for (size_t i = 0; volumes && i < c->record.mounts_n; i++)
        if (c->record.mounts[i].anonymous && c->record.mounts[i].name)
            strv_push(&j->volumes, c->record.mounts[i].name);
    j->runtime = c->record.runtime ? xstrdup(c->record.runtime) : NULL;
    return j;
}

void cleanup_job_free(struct cleanup_job *j)
{
    if (!j)
        return;
    free(j->id);
    free(j->dir);
    free(j->runtime);
    strv_free(j->volumes);
    err_release(&j->err);
    free(j);
}

/* One that another container has with volumes_from goes with that. */
static void remove_anonymous(const struct cleanup_job *j, const char *name, struct err **first)
{
    struct err err AUTOERR = ERR_INIT;
    if (volume_remove(j->paths, name, j->dir, &err) == 0 || err.kind == ERR_CONFLICT || !*first)
        return;
    err_move(*first, &err);
    *first = NULL;
}

/* Every step is tried; the first failure is what is told. */
void cleanup_run(void *job)
{
    struct cleanup_job *j = job;
    struct err *first = &j->err, ignored AUTOERR = ERR_INIT;
    char *run AUTOFREE = paths_container_run(j->paths, j->id);
    char *netns AUTOFREE = path_join(run, "netns");
    struct oci_runtime rt;
    if (j->again || fs_exists(run)) {
        if (!j->runtime_clean &&
            oci_runtime_choose(j->runtime, j->paths->run, &rt, &ignored) == 0) {
            oci_delete(&rt, j->id, &ignored);
            oci_runtime_release(&rt);
        }
        if (network_disconnect_all(j->paths, j->id, first) < 0)
            first = NULL;
        if (netns_remove(netns, first) < 0)
            first = NULL;
        if (bundle_release(j->paths, j->id, first) < 0)
            first = NULL;
    }
    if (!j->remove)
        return;
    for (size_t i = 0; j->volumes && j->volumes[i]; i++)
        remove_anonymous(j, j->volumes[i], &first);
    container_record_remove(j->paths, j->record, first);
}
