#include "dns/zone.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "dns/internal.h"
#include "dns/message.h"
#include "dns/server.h"

static char *lower_dup(const char *s)
{
    char *copy = xstrdup(s);
    for (char *p = copy; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return copy;
}

struct dns_zone *zone_new(struct dns_server *server, const char *network)
{
    struct dns_zone *z = xcalloc(1, sizeof(*z));
    z->server = server;
    z->network = xstrdup(network);
    z->suffix = lower_dup(network);
    z->suffix_len = strlen(z->suffix);
    return z;
}

static void zone_free(struct dns_zone *z)
{
    struct dns_server *server = z->server;
    map_foreach (&z->owners, it) {
        struct zone_owner *o = it->value;
        strv_free(o->names);
        free(o->id);
        free(o);
    }
    map_foreach (&z->names, it) {
        struct zone_name *n = it->value;
        vec_release(&n->owners);
        free(n);
    }
    map_release(&z->owners);
    map_release(&z->names);
    map_release(&z->reverse);
    map_release(&z->files);
    free(z->watch);
    free(z->dir);
    free(z->network);
    free(z->suffix);
    free(z);
    server_part_closed(server);
}

static void watch_closed(uv_handle_t *handle)
{
    zone_free(handle->data);
}

void zone_close(struct dns_zone *z)
{
    if (z->watch)
        uv_close((uv_handle_t *)z->watch, watch_closed);
    else
        zone_free(z);
}

/* Owners. */

static void name_add(struct dns_zone *z, const char *name, struct zone_owner *o)
{
    struct zone_name *n = map_get(&z->names, name);
    if (!n) {
        n = xcalloc(1, sizeof(*n));
        map_set(&z->names, name, n);
    }
    vec_push(&n->owners, o);
}

static void name_remove(struct dns_zone *z, const char *name, struct zone_owner *o)
{
    struct zone_name *n = map_get(&z->names, name);
    for (size_t i = 0; n && i < n->owners.n; i++) {
        if (n->owners.v[i] != o)
            continue;
        vec_remove(&n->owners, i);
        break;
    }
    if (n && !n->owners.n) {
        map_del(&z->names, name);
        vec_release(&n->owners);
        free(n);
    }
}

static void reverse_set(struct dns_zone *z, const struct ip_addr *a, struct zone_owner *o)
{
    char text[IP_TEXT_MAX];
    if (a->family)
        map_set(&z->reverse, ip_format(a, text), o);
}

static void reverse_drop(struct dns_zone *z, const struct ip_addr *a, struct zone_owner *o)
{
    char text[IP_TEXT_MAX];
    /* The address may be somebody else's by now. */
    if (a->family && map_get(&z->reverse, ip_format(a, text)) == o)
        map_del(&z->reverse, text);
}

void dns_zone_remove(struct dns_zone *z, const char *id)
{
    struct zone_owner *o = map_del(&z->owners, id);
    if (!o)
        return;
    for (char **name = o->names; name && *name; name++)
        name_remove(z, *name, o);
    reverse_drop(z, &o->ipv4, o);
    reverse_drop(z, &o->ipv6, o);
    strv_free(o->names);
    free(o->id);
    free(o);
}

static bool has_name(char **names, const char *name)
{
    for (; names && *names; names++) {
        if (streq(*names, name))
            return true;
    }
    return false;
}

/* Sets who has these names: id is the container's, names NULL-terminated (name, service, aliases,
 * short ID, service.project), the first one is what an address resolves back to. Replaces what id
 * had. Takes effect at once. Several ids may share a name: answers hold all addresses, shuffled. */
static void dns_zone_add(struct dns_zone *z, const char *id, const char *const *names,
                         const struct ip_addr *ipv4, const struct ip_addr *ipv6)
{
    dns_zone_remove(z, id);
    struct zone_owner *o = xcalloc(1, sizeof(*o));
    o->id = xstrdup(id);
    if (ipv4)
        o->ipv4 = *ipv4;
    if (ipv6)
        o->ipv6 = *ipv6;
    map_set(&z->owners, id, o);
    for (; names && *names; names++) {
        char *name AUTOFREE = lower_dup(*names);
        if (!*name || strlen(name) > DNS_NAME_MAX || has_name(o->names, name))
            continue;
        strv_push(&o->names, name);
        name_add(z, name, o);
    }
    reverse_set(z, &o->ipv4, o);
    reverse_set(z, &o->ipv6, o);
}

void dns_zone_add_endpoint(struct dns_zone *z, const struct endpoint *e)
{
    dns_zone_add(z, e->container_id, (const char *const *)e->names, &e->ipv4, &e->ipv6);
}

const struct zone_name *zone_find(const struct dns_zone *z, const char *name, size_t len)
{
    const struct zone_name *n = map_get(&z->names, name);
    if (n || len <= z->suffix_len + 1 || name[len - z->suffix_len - 1] != '.' ||
        strcmp(name + len - z->suffix_len, z->suffix) != 0)
        return n;
    char bare[DNS_NAME_MAX + 1];
    size_t bare_len = len - z->suffix_len - 1;
    if (bare_len >= sizeof(bare))
        return NULL;
    memcpy(bare, name, bare_len);
    bare[bare_len] = '\0';
    return map_get(&z->names, bare);
}

bool zone_find_address(const struct dns_zone *z, const struct ip_addr *a, char *out, size_t max)
{
    char text[IP_TEXT_MAX];
    const struct zone_owner *o = map_get(&z->reverse, ip_format(a, text));
    if (!o || !o->names || !o->names[0])
        return false;
    snprintf(out, max, "%s.%s", o->names[0], z->network);
    return true;
}

/* The watched folder: files of endpoints, written by whoever connects a container. */

/* The container of "ID.json", heap; NULL: another file. */
static char *id_of(const char *file)
{
    size_t n = strlen(file);
    return file[0] != '.' && n > 5 && ends_with(file, ".json") ? xstrndup(file, n - 5) : NULL;
}

static void read_endpoint(struct dns_zone *z, const char *id)
{
    char *path AUTOFREE = xasprintf("%s/%s.json", z->dir, id);
    json_t *o AUTOJSON = NULL;
    struct ip_addr ipv4 = {0}, ipv6 = {0};
    if (!fs_exists(path)) {
        dns_zone_remove(z, id);
        map_del(&z->files, id); /* last: id may be its key */
        return;
    }
    if (json_read(path, &o, NULL) < 0)
        return;
    char **names AUTOSTRV = jarray_to_strv(json_object_get(o, "names"));
    ip_parse(jstr(o, "ipv4", ""), &ipv4);
    ip_parse(jstr(o, "ipv6", ""), &ipv6);
    map_set(&z->files, id, z);
    dns_zone_add(z, id, (const char *const *)names, &ipv4, &ipv6);
}

static int read_folder(struct dns_zone *z, struct err *err)
{
    DIR *dir = opendir(z->dir);
    if (!dir)
        return err_sys(err, errno, "read %s", z->dir);
    for (struct dirent *d; (d = readdir(dir));) {
        char *id AUTOFREE = id_of(d->d_name);
        if (id)
            read_endpoint(z, id);
    }
    closedir(dir);
    return 0;
}

static void on_change(uv_fs_event_t *watch, const char *file, int events, int status)
{
    struct dns_zone *z = watch->data;
    (void)events;
    if (status < 0) {
        log_line("dns: zone %s: watch: %s", z->network, uv_strerror(status));
        return;
    }
    char *id AUTOFREE = file ? id_of(file) : NULL;
    if (id)
        read_endpoint(z, id);
    else if (!file)
        read_folder(z, NULL);
}

int zone_watch(struct dns_zone *z, uv_loop_t *loop, const char *dir, struct err *err)
{
    struct stat st;
    if (stat(dir, &st) < 0)
        return err_sys(err, errno, "watch %s", dir);
    /* A network that was removed and made again has another folder under the same name. */
    if (z->watch && z->watched_dev == st.st_dev && z->watched_ino == st.st_ino)
        return 0;
    if (!z->watch) {
        z->watch = xcalloc(1, sizeof(*z->watch));
        uv_fs_event_init(loop, z->watch);
        z->watch->data = z;
    }
    free(z->dir);
    z->dir = xstrdup(dir);
    z->watched_ino = 0;
    /* Watched before it is read: nothing falls between the two. */
    uv_fs_event_stop(z->watch);
    int r = uv_fs_event_start(z->watch, on_change, dir, 0);
    if (r < 0)
        return err_set(err, ERR_IO, "watch %s: %s", dir, uv_strerror(r));
    uv_unref((uv_handle_t *)z->watch);
    z->watched_dev = st.st_dev;
    z->watched_ino = st.st_ino;
    map_foreach (&z->files, it) {
        read_endpoint(z, it->key);
    }
    return read_folder(z, err);
}
