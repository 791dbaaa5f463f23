#include "cli/containers.h"

#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/terminal.h"

int containers_read(struct cli *cli, const char *project, struct container_list *out,
                    struct err *err)
{
    *out = (struct container_list){0};
    if (cli_paths(cli, err) < 0)
        return -1;
    if (container_list_read(&cli->paths, project, out, err) < 0)
        return -1;
    /* Written down as one that may run (launch_begin) it is only about to be started by a command. */
    for (size_t i = 0; i < out->n; i++) {
        struct container_record *c = &out->v[i];
        if (c->status == CONTAINER_RESTARTING && !c->restart_count)
            c->status = c->started ? CONTAINER_EXITED : CONTAINER_CREATED;
    }
    return 0;
}

bool container_in_services(const struct container_record *c, const char *const *services)
{
    for (size_t i = 0; services && services[i]; i++) {
        if (streq(services[i], c->service))
            return true;
    }
    return !services || !services[0];
}

bool container_is_up(const struct container_record *c)
{
    return c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED ||
           c->status == CONTAINER_RESTARTING;
}

struct container_record *container_by_id(const struct container_list *list, const char *id)
{
    for (size_t i = 0; i < list->n; i++)
        if (streq(list->v[i].id, id))
            return &list->v[i];
    return NULL;
}

struct container_record *container_choose(struct container_list *list, const char *service,
                                          int64_t index, bool running, bool oneoffs,
                                          struct err *err)
{
    for (size_t i = 0; i < list->n; i++) {
        struct container_record *c = &list->v[i];
        if (!streq(c->service, service) || (c->oneoff && !oneoffs))
            continue;
        if ((index && c->number != index) || (running && !container_is_up(c)))
            continue;
        return c;
    }
    if (!running)
        err_set(err, ERR_NOT_FOUND, "no container found for service \"%s\"", service);
    else if (index)
        err_set(err, ERR_NOT_FOUND, "service \"%s\" is not running container #%lld", service,
                (long long)index);
    else
        err_set(err, ERR_NOT_FOUND, "service \"%s\" is not running", service);
    return NULL;
}

const char *container_short_name(const struct container_record *c)
{
    size_t n = strlen(c->project);
    if (strncmp(c->name, c->project, n) == 0 && (c->name[n] == '-' || c->name[n] == '_'))
        return c->name + n + 1;
    return c->name;
}

char *ago_text(int64_t then, int64_t now, char out[80])
{
    char human[64];
    snprintf(out, 80, "%s ago", time_human(now > then ? now - then : 0, human));
    return out;
}

static char *up_text(const struct container_record *c, int64_t now)
{
    char human[64];
    time_human(now > c->started ? now - c->started : 0, human);
    if (c->status == CONTAINER_PAUSED)
        return xasprintf("Up %s (Paused)", human);
    if (c->health == HEALTH_NONE)
        return xasprintf("Up %s", human);
    return xasprintf("Up %s (%s%s)", human, c->health == HEALTH_STARTING ? "health: " : "",
                     health_status_name(c->health));
}

/* "Up 2 hours (healthy)", "Exited (0) 5 seconds ago"; heap. */
static char *container_status_text(const struct container_record *c, int64_t now)
{
    char ago[80];
    switch (c->status) {
    case CONTAINER_RUNNING:
    case CONTAINER_PAUSED:
        return up_text(c, now);
    case CONTAINER_CREATED:
        return xstrdup("Created");
    case CONTAINER_RESTARTING:
        return xasprintf("Restarting (%d) %s", c->exit_code, ago_text(c->finished, now, ago));
    case CONTAINER_REMOVING:
        return xstrdup("Removal In Progress");
    case CONTAINER_EXITED:
        return xasprintf("Exited (%d) %s", c->exit_code, ago_text(c->finished, now, ago));
    case CONTAINER_DEAD:
        return xstrdup("Dead");
    }
    return xstrdup("");
}

/* A published port at one address, or an exposed one. */
struct port_line {
    const char *ip; /* "": only exposed */
    unsigned published, target;
    const char *protocol;
};

static int compare_lines(const void *a, const void *b)
{
    const struct port_line *x = a, *y = b;
    if (x->target != y->target)
        return x->target < y->target ? -1 : 1;
    int order = strcmp(x->ip, y->ip);
    if (order || x->published == y->published)
        return order ? order : strcmp(x->protocol, y->protocol);
    return x->published < y->published ? -1 : 1;
}

static bool is_published(const struct container_record *c, const struct port_line *exposed)
{
    for (size_t i = 0; i < c->ports_n; i++)
        if (c->ports[i].target == exposed->target && streq(c->ports[i].protocol, exposed->protocol))
            return true;
    return false;
}

/* Sorted; heap. The strings are the record's. */
static struct port_line *port_lines(const struct container_record *c, size_t *n)
{
    size_t exposed_n = strv_len((const char *const *)c->exposed);
    struct port_line *v = xcalloc(2 * c->ports_n + exposed_n + 1, sizeof(*v));
    *n = 0;
    for (size_t i = 0; i < c->ports_n; i++) {
        const struct container_port *p = &c->ports[i];
        bool any = !p->host_ip || !*p->host_ip;
        if (any)
            v[(*n)++] = (struct port_line){"0.0.0.0", p->published, p->target, p->protocol};
        v[(*n)++] = (struct port_line){any ? "::" : p->host_ip, p->published, p->target,
                                       p->protocol};
    }
    for (size_t i = 0; i < exposed_n; i++) {
        const char *slash = strchr(c->exposed[i], '/');
        struct port_line line = {"", 0, (unsigned)atoi(c->exposed[i]), slash ? slash + 1 : "tcp"};
        if (!is_published(c, &line))
            v[(*n)++] = line;
    }
    qsort(v, *n, sizeof(*v), compare_lines);
    return v;
}

static void add_part(struct strbuf *out, const char *ip, unsigned first, unsigned last)
{
    bool v6 = strchr(ip, ':') != NULL;
    strbuf_addf(out, "%s%s%s%s%s", out->len ? ", " : "", v6 ? "[" : "", ip, v6 ? "]" : "",
                *ip ? ":" : "");
    if (first != last)
        strbuf_addf(out, "%u-%u", first, last);
    else
        strbuf_addf(out, "%u", first);
}

/* Neighbouring ports of one address and protocol that are the same on both sides. */
static void add_group(struct strbuf *out, const struct port_line *p, unsigned last)
{
    add_part(out, p->ip, p->target, last);
    if (*p->ip) {
        strbuf_addf(out, "->%u", p->target);
        if (p->target != last)
            strbuf_addf(out, "-%u", last);
    }
    strbuf_addf(out, "/%s", p->protocol);
}

/* As docker's formatter.DisplayablePorts. */
static char *container_ports_text(const struct container_record *c)
{
    size_t n, groups_n = 0;
    struct port_line *v AUTOFREE = port_lines(c, &n);
    struct group {
        const struct port_line *first;
        unsigned last;
    } *groups AUTOFREE = xcalloc(n + 1, sizeof(*groups));
    struct strbuf out = STRBUF_INIT, mapped AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < n; i++) {
        if (*v[i].ip && v[i].published != v[i].target) {
            add_part(&mapped, v[i].ip, v[i].published, v[i].published);
            strbuf_addf(&mapped, "->%u/%s", v[i].target, v[i].protocol);
            continue;
        }
        size_t g = 0;
        while (g < groups_n && !(streq(groups[g].first->ip, v[i].ip) &&
                                 streq(groups[g].first->protocol, v[i].protocol)))
            g++;
        if (g < groups_n && v[i].target == groups[g].last + 1) {
            groups[g].last = v[i].target;
            continue;
        }
        if (g < groups_n)
            add_group(&out, groups[g].first, groups[g].last);
        groups[g] = (struct group){&v[i], v[i].target};
        groups_n += g == groups_n;
    }
    for (size_t g = 0; g < groups_n; g++)
        add_group(&out, groups[g].first, groups[g].last);
    if (mapped.len)
        strbuf_addf(&out, "%s%s", out.len ? ", " : "", mapped.buf);
    return strbuf_detach(&out);
}

/* "\"sh -c 'echo he…\"", at most 20 characters unless whole; heap. */
static char *container_command_text(const struct container_record *c, bool whole)
{
    enum { SHOWN = 20 };
    const char *command = c->command ? c->command : "";
    if (whole || text_width(command) <= SHOWN)
        return xasprintf("\"%s\"", command);
    size_t n = text_fit(command, SHOWN - 1);
    return xasprintf("\"%.*s…\"", (int)n, command);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *labels_text(const json_t *labels)
{
    char **all AUTOSTRV = NULL;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)labels, key, value) {
        char *one AUTOFREE = xasprintf("%s=%s", key, json_string_value(value));
        strv_push(&all, one);
    }
    size_t n = strv_len((const char *const *)all);
    if (n)
        qsort(all, n, sizeof(*all), by_text);
    struct strbuf out = STRBUF_INIT;
    for (size_t i = 0; i < n; i++)
        strbuf_addf(&out, "%s%s", i ? "," : "", all[i]);
    return strbuf_detach(&out);
}

static json_t *publishers(const struct container_record *c)
{
    size_t n;
    struct port_line *v AUTOFREE = port_lines(c, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_object();
        jset_str(j, "URL", v[i].ip);
        json_object_set_new(j, "TargetPort", json_integer(v[i].target));
        json_object_set_new(j, "PublishedPort", json_integer(v[i].published));
        jset_str(j, "Protocol", v[i].protocol);
        json_array_append_new(list, j);
    }
    return list;
}

static char *networks_text(const struct container_record *c)
{
    struct strbuf out = STRBUF_INIT;
    for (size_t i = 0; i < c->networks_n; i++)
        strbuf_addf(&out, "%s%s", i ? "," : "", c->networks[i].network);
    return strbuf_detach(&out);
}

static void add_mount(struct strbuf *out, const char *name, bool whole)
{
    bool cut = !whole && strlen(name) > 15;
    strbuf_addf(out, "%s%.*s%s", out->len ? "," : "", cut ? 14 : (int)strlen(name), name,
                cut ? "…" : "");
}

/* The files that the service's secrets or configs come from. */
static void add_files(struct strbuf *out, const struct container_record *c, const char *section,
                      bool whole)
{
    const json_t *document = json_object_get(c->config, "document");
    const json_t *service = json_object_get(json_object_get(document, "services"), c->service);
    const json_t *objects = json_object_get(document, section);
    size_t i;
    json_t *use;
    json_array_foreach (json_object_get(service, section), i, use) {
        const char *file = jstr(json_object_get(objects, jstr(use, "source", "")), "file", NULL);
        if (file)
            add_mount(out, file, whole);
    }
}

static char *mounts_text(const struct container_record *c, bool whole, size_t *volumes)
{
    struct strbuf out = STRBUF_INIT;
    *volumes = 0;
    for (size_t i = 0; i < c->mounts_n; i++) {
        const char *name = c->mounts[i].name ? c->mounts[i].name : c->mounts[i].source;
        *volumes += streq(c->mounts[i].type, "volume");
        if (name)
            add_mount(&out, name, whole);
    }
    add_files(&out, c, "secrets", whole);
    add_files(&out, c, "configs", whole);
    return strbuf_detach(&out);
}

/* "2026-01-02 15:04:05 +0000 UTC", in local time as Go prints a time. */
static void created_text(int64_t ns, char *out, size_t size)
{
    time_t t = (time_t)(ns / 1000000000);
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(out, size, "%Y-%m-%d %H:%M:%S %z %Z", &tm);
}

json_t *container_json(const struct container_record *c, bool whole)
{
    int64_t now = time_now();
    size_t volumes;
    char created[64], ago[80], count[24];
    char *command AUTOFREE = container_command_text(c, whole);
    char *labels AUTOFREE = labels_text(c->labels);
    char *mounts AUTOFREE = mounts_text(c, whole, &volumes);
    char *networks AUTOFREE = networks_text(c);
    char *ports AUTOFREE = container_ports_text(c);
    char *status AUTOFREE = container_status_text(c, now);
    char *id AUTOFREE = xstrndup(c->id, whole ? strlen(c->id) : 12);
    created_text(c->created, created, sizeof(created));
    snprintf(count, sizeof(count), "%zu", volumes);
    json_t *j = json_object();
    jset_str(j, "Command", command);
    jset_str(j, "CreatedAt", created);
    json_object_set_new(j, "ExitCode", json_integer(c->exit_code));
    jset_str(j, "Health", health_status_name(c->health));
    jset_str(j, "ID", id);
    jset_str(j, "Image", c->image ? c->image : "");
    jset_str(j, "Labels", labels);
    jset_str(j, "LocalVolumes", count);
    jset_str(j, "Mounts", mounts);
    jset_str(j, "Name", c->name);
    jset_str(j, "Names", c->name);
    jset_str(j, "Networks", networks);
    jset_str(j, "Ports", ports);
    jset_str(j, "Project", c->project);
    json_object_set_new(j, "Publishers", publishers(c));
    jset_str(j, "RunningFor", ago_text(c->created, now, ago));
    jset_str(j, "Service", c->service);
    jset_str(j, "Size", "0B");
    jset_str(j, "State", container_status_name(c->status));
    jset_str(j, "Status", status);
    if (c->labels)
        json_object_set(j, "_labels", c->labels);
    return j;
}

char *container_dir(const struct cli *cli, const struct container_record *c)
{
    return paths_container(&cli->paths, c->project, c->id);
}
