/* Namespaces, resources, devices and protection: the "linux" part. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "runtime/cgroup.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

static const uint64_t CPU_PERIOD = 100000; /* microseconds */

static bool mode_is(const char *mode, const char *word)
{
    return mode && streq(mode, word);
}

static void write_namespace(struct jsonw *w, const char *type, const char *path)
{
    jsonw_object(w, NULL);
    jsonw_str(w, "type", type);
    if (path)
        jsonw_str(w, "path", path);
    jsonw_end_object(w);
}

/* cgroup: private is the default where the host has v2 only, as in Docker. */
static bool has_cgroup_namespace(const struct service *v)
{
    if (v->cgroup && *v->cgroup)
        return streq(v->cgroup, "private");
    return cgroup_mode() == CGROUP_V2 && !v->privileged;
}

static void write_namespaces(const struct spec *s, struct jsonw *w)
{
    const struct bundle_request *r = s->r;
    const struct service *v = s->service;
    jsonw_array(w, "namespaces");
    write_namespace(w, "mount", NULL);
    if (r->netns)
        write_namespace(w, "network", r->netns);
    if (!mode_is(v->uts, "host"))
        write_namespace(w, "uts", r->uts_path);
    if (!mode_is(v->pid, "host"))
        write_namespace(w, "pid", r->pid_path);
    if (!mode_is(v->ipc, "host"))
        write_namespace(w, "ipc", r->ipc_path);
    if (has_cgroup_namespace(v))
        write_namespace(w, "cgroup", NULL);
    jsonw_end_array(w);
}

static int write_sysctls(const struct spec *s, struct jsonw *w, struct err *err)
{
    const struct service *v = s->service;
    jsonw_object(w, "sysctl");
    bool port = false, ping = false, domain = false;
    for (size_t i = 0; i < v->sysctls.n; i++) {
        const char *key = v->sysctls.v[i].key;
        if (!s->r->netns && starts_with(key, "net."))
            return err_set(err, ERR_INVALID, "sysctl \"%s\" is not allowed with the host's network",
                           key);
        port = port || streq(key, "net.ipv4.ip_unprivileged_port_start");
        ping = ping || streq(key, "net.ipv4.ping_group_range");
        domain = domain || streq(key, "kernel.domainname");
        jsonw_str(w, key, v->sysctls.v[i].value ? v->sysctls.v[i].value : "");
    }
    /* As in Docker: a container's root is any user's equal for low ports and for ping. */
    if (s->r->netns && !port)
        jsonw_str(w, "net.ipv4.ip_unprivileged_port_start", "0");
    if (s->r->netns && !ping)
        jsonw_str(w, "net.ipv4.ping_group_range", "0 2147483647");
    if (v->domainname && *v->domainname && !domain && !mode_is(v->uts, "host"))
        jsonw_str(w, "kernel.domainname", v->domainname);
    jsonw_end_object(w);
    return 0;
}

static void write_rule(struct jsonw *w, bool allow, char type, int64_t major, int64_t minor,
                       const char *access)
{
    char text[2] = {type, '\0'};
    jsonw_object(w, NULL);
    jsonw_bool(w, "allow", allow);
    if (type)
        jsonw_str(w, "type", text);
    if (type && type != 'a' && major >= 0)
        jsonw_int(w, "major", major);
    if (type && type != 'a' && minor >= 0)
        jsonw_int(w, "minor", minor);
    jsonw_str(w, "access", access);
    jsonw_end_object(w);
}

/* A device that the service asks for, or one of a folder of devices. */
struct device_node {
    char *path; /* in the container */
    struct stat st;
    const char *access;
};

struct device_nodes {
    struct device_node *v;
    size_t n;
};

static void nodes_add(struct device_nodes *d, const char *path, const struct stat *st,
                      const char *access)
{
    d->v = xrealloc(d->v, (d->n + 1) * sizeof(*d->v));
    d->v[d->n++] = (struct device_node){xstrdup(path), *st, access};
}

static void nodes_release(struct device_nodes *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->v[i].path);
    free(d->v);
}

static bool is_device(const struct stat *st)
{
    return S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
}

/* Folders below /dev that are file systems of their own in every container. */
static bool is_own_folder(const char *name)
{
    static const char *const own[] = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"};
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (streq(name, own[i]))
            return true;
    return false;
}

static void nodes_walk(struct device_nodes *d, const char *from, const char *to, const char *access)
{
    DIR *dir = opendir(from);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (streq(e->d_name, ".") || streq(e->d_name, "..") || is_own_folder(e->d_name))
            continue;
        char *source AUTOFREE = path_join(from, e->d_name);
        char *target AUTOFREE = path_join(to, e->d_name);
        struct stat st;
        if (streq(source, "/dev/console") || lstat(source, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            nodes_walk(d, source, target, access);
        else if (is_device(&st))
            nodes_add(d, target, &st, access);
    }
    if (dir)
        closedir(dir);
}

static int nodes_request(struct device_nodes *d, const struct device *want, struct err *err)
{
    struct stat st;
    const char *access = want->permissions && *want->permissions ? want->permissions : "rwm";
    const char *target = want->target && *want->target ? want->target : want->source;
    if (cdi_is_name(want->source)) /* resolved by spec_init() */
        return 0;
    if (strspn(access, "rwm") != strlen(access))
        return err_set(err, ERR_INVALID, "device \"%s\": invalid permissions \"%s\"", want->source,
                       access);
    if (stat(want->source, &st) < 0)
        return err_sys(err, errno, "device \"%s\"", want->source);
    if (S_ISDIR(st.st_mode)) {
        nodes_walk(d, want->source, target, access);
        return 0;
    }
    if (!is_device(&st))
        return err_set(err, ERR_INVALID, "device \"%s\" is not a device", want->source);
    nodes_add(d, target, &st, access);
    return 0;
}

static int nodes_collect(const struct spec *s, struct device_nodes *d, struct err *err)
{
    if (s->privileged)
        nodes_walk(d, "/dev", "/dev", "rwm");
    for (size_t i = 0; i < s->service->devices_n; i++)
        if (nodes_request(d, &s->service->devices[i], err) < 0)
            return -1;
    vec_foreach (&s->cdi.nodes, node)
        nodes_add(d, node->path, &node->st, node->access);
    return 0;
}

static char device_type(const struct stat *st)
{
    return S_ISBLK(st->st_mode) ? 'b' : S_ISFIFO(st->st_mode) ? 'p' : 'c';
}

static void write_devices(const struct device_nodes *d, struct jsonw *w)
{
    jsonw_array(w, "devices");
    for (size_t i = 0; i < d->n; i++) {
        const struct stat *st = &d->v[i].st;
        jsonw_object(w, NULL);
        jsonw_str(w, "path", d->v[i].path);
        jsonw_str(w, "type", (char[]){device_type(st), '\0'});
        jsonw_int(w, "major", major(st->st_rdev));
        jsonw_int(w, "minor", minor(st->st_rdev));
        jsonw_int(w, "fileMode", st->st_mode & 07777);
        jsonw_int(w, "uid", st->st_uid);
        jsonw_int(w, "gid", st->st_gid);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
}

/* device_cgroup_rules: "c 10:* rm" as in the kernel's devices.txt. */
static int write_cgroup_rule(struct jsonw *w, const char *text, struct err *err)
{
    char type, major[16], minor[16], access[8];
    int end = 0;
    int64_t numbers[2];
    if (sscanf(text, " %c %15[0-9*]:%15[0-9*] %7[rwm]%n", &type, major, minor, access, &end) != 4 ||
        text[end] || !strchr("abc", type))
        return err_set(err, ERR_INVALID, "invalid device cgroup rule: \"%s\"", text);
    const char *parts[] = {major, minor};
    for (int i = 0; i < 2; i++) {
        char *rest;
        numbers[i] = streq(parts[i], "*") ? -1 : strtoll(parts[i], &rest, 10);
        if (numbers[i] >= 0 && *rest)
            return err_set(err, ERR_INVALID, "invalid device cgroup rule: \"%s\"", text);
    }
    write_rule(w, true, type, numbers[0], numbers[1], access);
    return 0;
}

static int write_device_rules(const struct spec *s, const struct device_nodes *d, struct jsonw *w,
                              struct err *err)
{
    /* null, zero, full, random, urandom; tty, console. */
    static const unsigned allowed[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}};
    jsonw_array(w, "devices");
    if (s->privileged) {
        write_rule(w, true, 0, 0, 0, "rwm");
        jsonw_end_array(w);
        return 0;
    }
    write_rule(w, false, 0, 0, 0, "rwm");
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
        write_rule(w, true, 'c', allowed[i][0], allowed[i][1], "rwm");
    for (size_t i = 0; i < d->n; i++) {
        const struct stat *st = &d->v[i].st;
        if (!S_ISFIFO(st->st_mode))
            write_rule(w, true, device_type(st), major(st->st_rdev), minor(st->st_rdev),
                       d->v[i].access);
    }
    for (size_t i = 0; i < s->service->device_cgroup_rules.n; i++)
        if (write_cgroup_rule(w, s->service->device_cgroup_rules.v[i], err) < 0)
            return -1;
    jsonw_end_array(w);
    return 0;
}

/* The kernel may have been built or booted without accounting of swap. */
static bool can_limit_swap(void)
{
    return cgroup_mode() == CGROUP_V2 ||
           fs_exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes");
}

static void write_memory(const struct resources *res, struct jsonw *w)
{
    bool v2 = cgroup_mode() == CGROUP_V2;
    jsonw_object(w, "memory");
    if (res->memory > 0)
        jsonw_int(w, "limit", res->memory);
    if (res->memory_reservation > 0)
        jsonw_int(w, "reservation", res->memory_reservation);
    /* Memory and swap together; without a word twice the memory, as in Docker. */
    if (can_limit_swap() && res->memory > 0) {
        if (res->unlimited_swap)
            jsonw_int(w, "swap", -1);
        else if (res->memory_swap > 0)
            jsonw_int(w, "swap", res->memory_swap);
        else
            jsonw_int(w, "swap", res->memory * 2);
    }
    if (!v2 && res->mem_swappiness >= 0)
        jsonw_int(w, "swappiness", res->mem_swappiness);
    if (!v2)
        jsonw_bool(w, "disableOOMKiller", res->oom_kill_disable);
    jsonw_end_object(w);
}

static void write_cpu(const struct resources *res, struct jsonw *w)
{
    jsonw_object(w, "cpu");
    if (res->cpu_shares > 0)
        jsonw_int(w, "shares", res->cpu_shares);
    if (res->nano_cpus > 0) {
        jsonw_uint(w, "period", CPU_PERIOD);
        jsonw_int(w, "quota",
                  (int64_t)((__int128)res->nano_cpus * (int64_t)CPU_PERIOD / 1000000000));
    } else {
        if (res->cpu_period > 0)
            jsonw_int(w, "period", res->cpu_period);
        if (res->cpu_quota > 0)
            jsonw_int(w, "quota", res->cpu_quota);
    }
    if (res->cpu_rt_period > 0)
        jsonw_int(w, "realtimePeriod", res->cpu_rt_period);
    if (res->cpu_rt_runtime > 0)
        jsonw_int(w, "realtimeRuntime", res->cpu_rt_runtime);
    if (res->cpuset && *res->cpuset)
        jsonw_str(w, "cpus", res->cpuset);
    jsonw_end_object(w);
}

static int write_throttles(struct jsonw *w, const char *key, const char *value_key,
                           const struct weight_device *v, size_t n, struct err *err)
{
    if (!n)
        return 0;
    jsonw_array(w, key);
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (stat(v[i].path, &st) < 0)
            return err_sys(err, errno, "blkio_config: device \"%s\"", v[i].path);
        if (!S_ISBLK(st.st_mode))
            return err_set(err, ERR_INVALID, "blkio_config: \"%s\" is not a block device",
                           v[i].path);
        jsonw_object(w, NULL);
        jsonw_int(w, "major", major(st.st_rdev));
        jsonw_int(w, "minor", minor(st.st_rdev));
        jsonw_uint(w, value_key, v[i].value);
        jsonw_end_object(w);
    }
    jsonw_end_array(w);
    return 0;
}

static int write_blkio(const struct blkio_config *b, struct jsonw *w, struct err *err)
{
    jsonw_object(w, "blockIO");
    if (b->weight > 0)
        jsonw_int(w, "weight", b->weight);
    if (write_throttles(w, "weightDevice", "weight", b->weight_device.v, b->weight_device.n, err) ||
        write_throttles(w, "throttleReadBpsDevice", "rate", b->device_read_bps.v,
                        b->device_read_bps.n, err) ||
        write_throttles(w, "throttleWriteBpsDevice", "rate", b->device_write_bps.v,
                        b->device_write_bps.n, err) ||
        write_throttles(w, "throttleReadIOPSDevice", "rate", b->device_read_iops.v,
                        b->device_read_iops.n, err) ||
        write_throttles(w, "throttleWriteIOPSDevice", "rate", b->device_write_iops.v,
                        b->device_write_iops.n, err))
        return -1;
    jsonw_end_object(w);
    return 0;
}

static int write_resources(const struct spec *s, const struct device_nodes *d, struct jsonw *w,
                           struct err *err)
{
    const struct resources *res = &s->service->resources;
    jsonw_object(w, "resources");
    if (write_device_rules(s, d, w, err) < 0)
        return -1;
    write_memory(res, w);
    write_cpu(res, w);
    if (res->pids > 0) {
        jsonw_object(w, "pids");
        jsonw_int(w, "limit", res->pids);
        jsonw_end_object(w);
    }
    if (write_blkio(&res->blkio, w, err) < 0)
        return -1;
    jsonw_end_object(w);
    return 0;
}

static void write_paths(struct jsonw *w)
{
    static const char *const masked[] = {"/proc/asound",
                                         "/proc/acpi",
                                         "/proc/interrupts",
                                         "/proc/kcore",
                                         "/proc/keys",
                                         "/proc/latency_stats",
                                         "/proc/timer_list",
                                         "/proc/timer_stats",
                                         "/proc/sched_debug",
                                         "/proc/scsi",
                                         "/sys/firmware",
                                         "/sys/devices/virtual/powercap",
                                         NULL};
    static const char *const read_only[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL};
    jsonw_strv(w, "maskedPaths", masked);
    jsonw_strv(w, "readonlyPaths", read_only);
}

static int write_seccomp(const struct spec *s, struct jsonw *w, struct err *err)
{
    char *section AUTOFREE = NULL;
    if (s->security.seccomp_unconfined)
        return 0;
    if (!s->security.seccomp_file)
        section = seccomp_section(s->caps);
    else if (seccomp_section_from_file(s->security.seccomp_file, s->caps, &section, err) < 0)
        return -1;
    jsonw_raw(w, "seccomp", section);
    return 0;
}

int spec_linux(struct spec *s, struct jsonw *w, struct err *err)
{
    struct device_nodes d = {0};
    jsonw_object(w, "linux");
    jsonw_str(w, "cgroupsPath", s->r->cgroup_path);
    write_namespaces(s, w);
    int rc = write_sysctls(s, w, err);
    if (rc == 0)
        rc = nodes_collect(s, &d, err);
    if (rc == 0)
        rc = write_resources(s, &d, w, err);
    if (rc == 0 && d.n)
        write_devices(&d, w);
    if (rc == 0)
        rc = write_seccomp(s, w, err);
    if (rc == 0 && !s->security.paths_visible)
        write_paths(w);
    if (rc == 0 && s->propagation)
        jsonw_str(w, "rootfsPropagation", s->propagation);
    jsonw_end_object(w);
    nodes_release(&d);
    return rc;
}
