#include "engine/state.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "base/version.h"
#include "engine/control.h"
#include "runtime/monitor.h"

static const char *const status_names[] = {
    [CONTAINER_CREATED] = "created",   [CONTAINER_RUNNING] = "running",
    [CONTAINER_PAUSED] = "paused",     [CONTAINER_RESTARTING] = "restarting",
    [CONTAINER_REMOVING] = "removing", [CONTAINER_EXITED] = "exited",
    [CONTAINER_DEAD] = "dead",
};

static const char *const health_names[] = {
    [HEALTH_NONE] = "",
    [HEALTH_STARTING] = "starting",
    [HEALTH_HEALTHY] = "healthy",
    [HEALTH_UNHEALTHY] = "unhealthy",
};

const char *container_status_name(enum container_status s)
{
    return status_names[s];
}

const char *health_status_name(enum health_status h)
{
    return health_names[h];
}

/* Index of s in names, or fallback. */
static int by_name(const char *const *names, size_t n, const char *s, int fallback)
{
    for (size_t i = 0; i < n; i++)
        if (streq(names[i], s))
            return (int)i;
    return fallback;
}

void container_record_release(struct container_record *c)
{
    char *strings[] = {c->id,       c->name,     c->project,       c->service,
                       c->image,    c->image_id, c->command,       c->config_hash,
                       c->hostname, c->error,    c->health_output, c->runtime,
                       c->replaces, c->hook};
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        free(strings[i]);
    strv_free(c->log_sink);
    json_decref(c->labels);
    json_decref(c->config);
    json_decref(c->inputs);
    container_record_clear_endpoints(c);
    for (size_t i = 0; i < c->mounts_n; i++) {
        free(c->mounts[i].type);
        free(c->mounts[i].name);
        free(c->mounts[i].source);
        free(c->mounts[i].target);
    }
    free(c->mounts);
    *c = (struct container_record){0};
}

void container_record_clear_endpoints(struct container_record *c)
{
    for (size_t i = 0; i < c->ports_n; i++) {
        free(c->ports[i].host_ip);
        free(c->ports[i].protocol);
    }
    free(c->ports);
    c->ports = NULL;
    c->ports_n = 0;
    strv_free(c->exposed);
    c->exposed = NULL;
    for (size_t i = 0; i < c->networks_n; i++) {
        struct container_network *n = &c->networks[i];
        char *strings[] = {n->network, n->ifname, n->ipv4, n->ipv6, n->mac};
        for (size_t k = 0; k < ARRAY_SIZE(strings); k++)
            free(strings[k]);
        strv_free(n->aliases);
    }
    free(c->networks);
    c->networks = NULL;
    c->networks_n = 0;
}

static json_t *ports_to_json(const struct container_record *c)
{
    json_t *a = json_array();
    for (size_t i = 0; i < c->ports_n; i++) {
        const struct container_port *p = &c->ports[i];
        json_t *o = json_pack("{s:i, s:i}", "published", p->published, "target", p->target);
        jset_str(o, "host_ip", p->host_ip);
        jset_str(o, "protocol", p->protocol);
        json_array_append_new(a, o);
    }
    return a;
}

static json_t *networks_to_json(const struct container_record *c)
{
    json_t *a = json_array();
    for (size_t i = 0; i < c->networks_n; i++) {
        const struct container_network *n = &c->networks[i];
        json_t *o = json_object();
        jset_str(o, "network", n->network);
        jset_str(o, "ifname", n->ifname);
        jset_str(o, "ipv4", n->ipv4);
        jset_str(o, "ipv6", n->ipv6);
        jset_str(o, "mac", n->mac);
        json_object_set_new(o, "aliases", jarray_from_strv((const char *const *)n->aliases));
        json_array_append_new(a, o);
    }
    return a;
}

static json_t *mounts_to_json(const struct container_record *c)
{
    json_t *a = json_array();
    for (size_t i = 0; i < c->mounts_n; i++) {
        const struct container_mount *m = &c->mounts[i];
        json_t *o = json_object();
        jset_str(o, "type", m->type);
        jset_str(o, "name", m->name);
        jset_str(o, "source", m->source);
        jset_str(o, "target", m->target);
        json_object_set_new(o, "read_only", json_boolean(m->read_only));
        json_object_set_new(o, "anonymous", json_boolean(m->anonymous));
        json_array_append_new(a, o);
    }
    return a;
}

static json_t *record_to_json(const struct container_record *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "version", json_integer(state_version));
    jset_str(o, "id", c->id);
    jset_str(o, "name", c->name);
    jset_str(o, "project", c->project);
    jset_str(o, "service", c->service);
    json_object_set_new(o, "number", json_integer(c->number));
    json_object_set_new(o, "oneoff", json_boolean(c->oneoff));
    json_object_set_new(o, "auto_remove", json_boolean(c->auto_remove));
    jset_str(o, "image", c->image);
    jset_str(o, "image_id", c->image_id);
    jset_str(o, "command", c->command);
    jset_str(o, "config_hash", c->config_hash);
    jset_str(o, "hostname", c->hostname);
    jset_str(o, "runtime", c->runtime);
    jset_str(o, "replaces", c->replaces);
    json_object_set(o, "labels", c->labels);
    json_object_set(o, "config", c->config);
    if (c->inputs)
        json_object_set(o, "inputs", c->inputs);
    json_object_set_new(o, "hide_aliases", json_boolean(c->hide_aliases));
    json_object_set_new(o, "status", json_string(status_names[c->status]));
    json_object_set_new(o, "pid", json_integer(c->pid));
    json_object_set_new(o, "pid_start", json_integer((json_int_t)c->pid_start));
    json_object_set_new(o, "exit_code", json_integer(c->exit_code));
    json_object_set_new(o, "oom_killed", json_boolean(c->oom_killed));
    jset_str(o, "error", c->error);
    jset_str(o, "hook", c->hook);
    json_object_set_new(o, "created", json_integer(c->created));
    json_object_set_new(o, "started", json_integer(c->started));
    json_object_set_new(o, "finished", json_integer(c->finished));
    json_object_set_new(o, "restart_count", json_integer(c->restart_count));
    json_object_set_new(o, "restart_attempts", json_integer(c->restart_attempts));
    json_object_set_new(o, "unhealthy_restarts", json_integer(c->unhealthy_restarts));
    json_object_set_new(o, "stopped_by_user", json_boolean(c->stopped_by_user));
    json_object_set_new(o, "due", json_boolean(c->due));
    json_object_set_new(o, "tty", json_boolean(c->tty));
    json_object_set_new(o, "stdin_open", json_boolean(c->stdin_open));
    json_object_set_new(o, "health", json_string(health_names[c->health]));
    json_object_set_new(o, "health_failing_streak", json_integer(c->health_failing_streak));
    jset_str(o, "health_output", c->health_output);
    if (c->log_sink)
        json_object_set_new(o, "log_sink", jarray_from_strv((const char *const *)c->log_sink));
    json_object_set_new(o, "ports", ports_to_json(c));
    if (c->exposed)
        json_object_set_new(o, "exposed", jarray_from_strv((const char *const *)c->exposed));
    json_object_set_new(o, "networks", networks_to_json(c));
    json_object_set_new(o, "mounts", mounts_to_json(c));
    return o;
}

static char *dup_member(const json_t *o, const char *key)
{
    const char *s = jstr(o, key, NULL);
    return s ? xstrdup(s) : NULL;
}

static void endpoints_from_json(const json_t *o, struct container_record *c)
{
    json_t *a = json_object_get(o, "ports");
    c->ports = xcalloc(json_array_size(a), sizeof(*c->ports));
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *p = json_array_get(a, i);
        c->ports[c->ports_n++] = (struct container_port){
            .host_ip = dup_member(p, "host_ip"),
            .published = (uint16_t)jint(p, "published", 0),
            .target = (uint16_t)jint(p, "target", 0),
            .protocol = dup_member(p, "protocol"),
        };
    }
    c->exposed = jarray_to_strv(json_object_get(o, "exposed"));
    a = json_object_get(o, "networks");
    c->networks = xcalloc(json_array_size(a), sizeof(*c->networks));
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *n = json_array_get(a, i);
        c->networks[c->networks_n++] = (struct container_network){
            .network = dup_member(n, "network"),
            .ifname = dup_member(n, "ifname"),
            .ipv4 = dup_member(n, "ipv4"),
            .ipv6 = dup_member(n, "ipv6"),
            .mac = dup_member(n, "mac"),
            .aliases = jarray_to_strv(json_object_get(n, "aliases")),
        };
    }
}

static void mounts_from_json(const json_t *o, struct container_record *c)
{
    json_t *a = json_object_get(o, "mounts");
    c->mounts = xcalloc(json_array_size(a), sizeof(*c->mounts));
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *m = json_array_get(a, i);
        c->mounts[c->mounts_n++] = (struct container_mount){
            .type = dup_member(m, "type"),
            .name = dup_member(m, "name"),
            .source = dup_member(m, "source"),
            .target = dup_member(m, "target"),
            .read_only = jbool(m, "read_only", false),
            .anonymous = jbool(m, "anonymous", false),
        };
    }
}

static int record_from_json(const json_t *o, struct container_record *c, struct err *err)
{
    *c = (struct container_record){
        .id = dup_member(o, "id"),
        .name = dup_member(o, "name"),
        .project = dup_member(o, "project"),
        .service = dup_member(o, "service"),
        .number = (int)jint(o, "number", 1),
        .oneoff = jbool(o, "oneoff", false),
        .auto_remove = jbool(o, "auto_remove", false),
        .image = dup_member(o, "image"),
        .image_id = dup_member(o, "image_id"),
        .command = dup_member(o, "command"),
        .config_hash = dup_member(o, "config_hash"),
        .hostname = dup_member(o, "hostname"),
        .runtime = dup_member(o, "runtime"),
        .replaces = dup_member(o, "replaces"),
        .labels = json_incref(json_object_get(o, "labels")),
        .config = json_incref(json_object_get(o, "config")),
        .inputs = json_incref(json_object_get(o, "inputs")),
        .hide_aliases = jbool(o, "hide_aliases", false),
        .status = (enum container_status)by_name(status_names, ARRAY_SIZE(status_names),
                                                 jstr(o, "status", ""), CONTAINER_DEAD),
        .pid = (pid_t)jint(o, "pid", 0),
        .pid_start = (unsigned long long)jint(o, "pid_start", 0),
        .exit_code = (int)jint(o, "exit_code", 0),
        .oom_killed = jbool(o, "oom_killed", false),
        .error = dup_member(o, "error"),
        .hook = dup_member(o, "hook"),
        .created = jint(o, "created", 0),
        .started = jint(o, "started", 0),
        .finished = jint(o, "finished", 0),
        .restart_count = (int)jint(o, "restart_count", 0),
        .restart_attempts = (int)jint(o, "restart_attempts", 0),
        .unhealthy_restarts = (int)jint(o, "unhealthy_restarts", 0),
        .stopped_by_user = jbool(o, "stopped_by_user", false),
        .due = jbool(o, "due", false),
        .tty = jbool(o, "tty", false),
        .stdin_open = jbool(o, "stdin_open", false),
        .health = (enum health_status)by_name(health_names, ARRAY_SIZE(health_names),
                                              jstr(o, "health", ""), HEALTH_NONE),
        .health_failing_streak = (int)jint(o, "health_failing_streak", 0),
        .health_output = dup_member(o, "health_output"),
    };
    if (json_object_get(o, "log_sink"))
        c->log_sink = jarray_to_strv(json_object_get(o, "log_sink"));
    endpoints_from_json(o, c);
    mounts_from_json(o, c);
    if (!c->id || !c->name || !c->project || !c->service) {
        container_record_release(c);
        return err_set(err, ERR_CORRUPT, "container record without id, name, project or service");
    }
    return 0;
}

/* Where a record waits that is newer than ROOT's. */
static char *unsaved_path(const struct paths *p, const char *project, const char *id)
{
    char *dir AUTOFREE = paths_project_run(p, project);
    return xasprintf("%s/unsaved-%s.json", dir, id);
}

static int container_record_read(const struct paths *p, const char *project, const char *id,
                                 struct container_record *out, struct err *err)
{
    char *dir AUTOFREE = paths_container(p, project, id);
    char *path AUTOFREE = path_join(dir, "container.json");
    char *unsaved AUTOFREE = unsaved_path(p, project, id);
    json_t *j AUTOJSON = NULL;
    if (json_read(path, &j, err) < 0)
        return -1;
    json_t *newer = NULL;
    if (access(unsaved, F_OK) == 0 && json_read(unsaved, &newer, NULL) == 0) {
        json_decref(j);
        j = newer;
    }
    bool is_newer = newer != NULL;
    if (state_version_check(j, path, err) < 0)
        return -1;
    if (record_from_json(j, out, err) < 0)
        return err_wrap(err, "%s", path);
    out->unsaved = is_newer;
    return 0;
}

static int make_folder(const char *dir, struct err *err)
{
    char *containers AUTOFREE = path_dir(dir);
    if (!fs_exists(containers)) {
        if (fs_mkdir_p(containers, 0711, err) < 0)
            return -1;
        fs_spread(containers);
    }
    return fs_mkdir_p(dir, 0711, err);
}

int container_record_write(const struct paths *p, const struct container_record *c, struct err *err)
{
    char *dir AUTOFREE = paths_container(p, c->project, c->id);
    char *path AUTOFREE = path_join(dir, "container.json");
    json_t *j AUTOJSON = record_to_json(c);
    char *unsaved AUTOFREE = unsaved_path(p, c->project, c->id);
    struct err first AUTOERR = ERR_INIT;
    int rc = json_write(path, j, false, &first);
    if (rc < 0 && first.kind == ERR_NOT_FOUND) {
        err_release(&first);
        rc = make_folder(dir, &first) < 0 ? -1 : json_write(path, j, false, &first);
    }
    if (rc == 0 && (unlink(unsaved) == 0 || errno == ENOENT))
        return 0;
    if (rc == 0)
        err_sys(&first, errno, "remove %s", unsaved);
    /* RUN lies in memory mostly, and has room when ROOT has none. */
    json_write(unsaved, j, false, NULL);
    err_move(err, &first);
    return -1;
}

int container_record_note(const struct paths *p, const struct container_record *c, struct err *err)
{
    char *unsaved AUTOFREE = unsaved_path(p, c->project, c->id);
    json_t *j AUTOJSON = record_to_json(c);
    return json_write(unsaved, j, false, err);
}

int container_record_remove(const struct paths *p, const struct container_record *c,
                            struct err *err)
{
    char *dir AUTOFREE = paths_container(p, c->project, c->id);
    /* The record goes first: a folder without it is rubbish that the next supervisor sweeps. */
    char *path AUTOFREE = path_join(dir, "container.json");
    struct err rest AUTOERR = ERR_INIT;
    char *unsaved AUTOFREE = unsaved_path(p, c->project, c->id);
    if (fs_remove_all(path, err) < 0)
        return -1;
    unlink(unsaved);
    if (fs_remove_all(dir, &rest) < 0)
        log_line("%s: %s", c->name, rest.msg);
    return 0;
}

void container_records_sweep(const struct paths *p, const char *project)
{
    char *project_dir AUTOFREE = paths_project(p, project);
    char *dir AUTOFREE = path_join(project_dir, "containers");
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        char *folder AUTOFREE = path_join(dir, e->d_name);
        char *record AUTOFREE = path_join(folder, "container.json");
        struct err err AUTOERR = ERR_INIT;
        if (e->d_name[0] != '.' && access(record, F_OK) < 0 && errno == ENOENT &&
            fs_remove_all(folder, &err) < 0)
            log_line("%s", err.msg);
    }
    closedir(d);
}

static int compare_records(const void *a, const void *b)
{
    const struct container_record *x = a, *y = b;
    if (x->oneoff != y->oneoff)
        return x->oneoff - y->oneoff;
    int by_service = strcmp(x->service, y->service);
    if (by_service)
        return by_service;
    if (x->number != y->number)
        return x->number - y->number;
    return strcmp(x->id, y->id);
}

/* True while somebody looks after the container: what became of it will be on disk soon. */
static bool is_looked_after(const struct paths *p, const struct container_record *c)
{
    int monitor AUTOCLOSE = monitor_connect(p, c->id, NULL), supervisor AUTOCLOSE = -1;
    return monitor >= 0 || control_connect(p, c->project, false, &supervisor, NULL) == 0;
}

static bool says_it_runs(const struct container_record *c)
{
    return c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED;
}

/* Has its end been written down since we read? */
static bool read_again(const struct paths *p, struct container_record *c)
{
    struct container_record now;
    if (container_record_read(p, c->project, c->id, &now, NULL) < 0)
        return false;
    if (says_it_runs(&now)) {
        container_record_release(&now);
        return false;
    }
    container_record_release(c);
    *c = now;
    return true;
}

/* What became of a container whose supervisor could not write it down. */
static void record_catch_up(const struct paths *p, struct container_record *c)
{
    if (!says_it_runs(c) || (c->pid_start && pid_start_time(c->pid) == c->pid_start))
        return;
    char *dir AUTOFREE = paths_container(p, c->project, c->id);
    char *run AUTOFREE = paths_container_run(p, c->id);
    struct monitor_status st = {.exit_code = -1};
    bool told = (monitor_status_read(dir, &st, NULL) == 0 || monitor_noted_read(run, &st) == 0) &&
                st.phase == MONITOR_EXITED;
    /* A monitor that came late does not know the code, but the supervisor may. */
    bool known = told && st.exit_code >= 0;
    /* Somebody may write the end down, and what was noted of it go, before each look. */
    if (!known && (read_again(p, c) || is_looked_after(p, c) || read_again(p, c)))
        return;
    c->status = CONTAINER_EXITED;
    c->exit_code = known ? st.exit_code : 137;
    if (told) {
        c->finished = st.finished;
        c->oom_killed = st.oom;
    }
    c->health = HEALTH_NONE;
    container_record_clear_endpoints(c);
}

int container_list_read(const struct paths *p, const char *project, struct container_list *out,
                        struct err *err)
{
    VEC(struct container_record) list = {0};
    char *project_dir AUTOFREE = paths_project(p, project);
    char *dir AUTOFREE = path_join(project_dir, "containers");
    *out = (struct container_list){0};
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", dir);
    struct dirent *e;
    bool newer = false;
    while (!newer && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        struct container_record c;
        struct err why AUTOERR = ERR_INIT;
        if (container_record_read(p, project, e->d_name, &c, &why) == 0) {
            record_catch_up(p, &c);
            vec_push(&list, c);
        } else if (why.kind == ERR_CONFLICT) {
            err_move(err, &why);
            newer = true;
        } else if (why.kind != ERR_NOT_FOUND) {
            log_line("left out: %s", why.msg);
        }
    }
    closedir(d);
    if (list.n)
        qsort(list.v, list.n, sizeof(*list.v), compare_records);
    *out = (struct container_list){.v = list.v, .n = list.n};
    if (!newer)
        return 0;
    container_list_release(out);
    return -1;
}

void container_list_release(struct container_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        container_record_release(&l->v[i]);
    free(l->v);
    *l = (struct container_list){0};
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char **project_names(const struct paths *p)
{
    char **names = xcalloc(1, sizeof(*names));
    char *dir AUTOFREE = path_join(p->root, "projects");
    DIR *d = opendir(dir);
    if (!d)
        return names;
    struct dirent *e;
    while ((e = readdir(d)))
        if (e->d_name[0] != '.')
            strv_push(&names, e->d_name);
    closedir(d);
    qsort(names, strv_len((const char *const *)names), sizeof(*names), compare_strings);
    return names;
}

int container_find(const struct paths *p, const char *name, const char *except_project,
                   struct container_record *out, struct err *err)
{
    char **projects AUTOSTRV = project_names(p);
    for (size_t i = 0; projects[i]; i++) {
        struct container_list list;
        if ((except_project && streq(projects[i], except_project)) ||
            container_list_read(p, projects[i], &list, NULL) < 0)
            continue;
        bool found = false;
        for (size_t k = 0; k < list.n && !found; k++)
            if (streq(list.v[k].name, name)) {
                *out = list.v[k];
                list.v[k] = (struct container_record){0};
                found = true;
            }
        container_list_release(&list);
        if (found)
            return 0;
    }
    return err_set(err, ERR_NOT_FOUND, "No such container: %s", name);
}
