#include "image/module/endpoint.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"

static const char DOCKER_FILE[] = "/etc/docker/daemon.json";
static const char OWN_FILE[] = "/etc/compose/registries.json";

struct settings {
    char **insecure, **mirrors;
};

static bool is_loopback(const char *registry)
{
    if (starts_with(registry, "[::1]"))
        return true;
    char *host AUTOFREE = xstrndup(registry, strcspn(registry, ":"));
    struct in_addr a;
    return streq(host, "localhost") ||
           (inet_pton(AF_INET, host, &a) == 1 && (ntohl(a.s_addr) >> 24) == 127);
}

static void add_words(char ***list, const char *text)
{
    char *copy AUTOFREE = xstrdup(text ? text : "");
    char *save = NULL;
    for (char *w = strtok_r(copy, ", ", &save); w; w = strtok_r(NULL, ", ", &save))
        strv_push(list, w);
}

static void add_strings(char ***list, const json_t *array)
{
    json_t *item;
    size_t i;
    json_array_foreach (array, i, item)
        if (json_is_string(item))
            strv_push(list, json_string_value(item));
}

static bool is_list_of_strings(const json_t *j)
{
    json_t *item;
    size_t i;
    json_array_foreach (j, i, item)
        if (!json_is_string(item))
            return false;
    return json_is_array(j);
}

/* A slip in our own file must not send an image's name, or a login, somewhere else. */
static int check_own(const json_t *own, struct err *err)
{
    const char *key, *registry;
    json_t *value, *list;
    json_object_foreach ((json_t *)own, key, value) {
        if (streq(key, "mirrors") && json_is_object(value)) {
            json_object_foreach (value, registry, list)
                if (!is_list_of_strings(list))
                    return err_set(err, ERR_INVALID, "mirrors of \"%s\": want a list of URLs",
                                   registry);
        } else if (!streq(key, "insecure-registries") && !streq(key, "registry-mirrors")) {
            return err_set(err, ERR_INVALID,
                           "\"%s\": want insecure-registries, registry-mirrors or mirrors (an "
                           "object)",
                           key);
        } else if (!is_list_of_strings(value)) {
            return err_set(err, ERR_INVALID, "\"%s\": want a list of strings", key);
        }
    }
    return 0;
}

static void take(struct settings *s, const json_t *j, bool hub)
{
    add_strings(&s->insecure, json_object_get(j, "insecure-registries"));
    if (hub) /* as Docker's: these mirrors are the Hub's */
        add_strings(&s->mirrors, json_object_get(j, "registry-mirrors"));
}

static int read_settings(const char *registry, struct settings *s, struct err *err)
{
    bool hub = streq(registry, "docker.io");
    const char *named = getenv("COMPOSE_REGISTRIES");
    const char *path = named && *named ? named : OWN_FILE;
    json_t *own AUTOJSON = NULL, *docker AUTOJSON = NULL;
    if ((path == named || fs_exists(path)) && json_read(path, &own, err) < 0)
        return -1;
    if (check_own(own, err) < 0)
        return err_wrap(err, "%s", path);
    add_strings(&s->mirrors, json_object_get(json_object_get(own, "mirrors"), registry));
    take(s, own, hub);
    /* One that is missing, or wrong in Docker's eyes, says nothing. */
    if (json_read(DOCKER_FILE, &docker, NULL) == 0)
        take(s, docker, hub);
    add_words(&s->insecure, getenv("COMPOSE_INSECURE_REGISTRIES"));
    if (hub)
        add_words(&s->mirrors, getenv("COMPOSE_REGISTRY_MIRRORS"));
    return 0;
}

/* An entry is a host with or without its port, or an IPv4 network ("10.0.0.0/8"). */
static bool entry_matches(const char *entry, const char *registry)
{
    char *host AUTOFREE = xstrndup(registry, strcspn(registry, ":"));
    if (streq(entry, registry) || streq(entry, host))
        return true;
    const char *slash = strchr(entry, '/');
    if (!slash)
        return false;
    char *network AUTOFREE = xstrndup(entry, (size_t)(slash - entry));
    struct in_addr net, addr;
    int bits = atoi(slash + 1);
    if (bits < 1 || bits > 32 || inet_pton(AF_INET, network, &net) != 1 ||
        inet_pton(AF_INET, host, &addr) != 1)
        return false;
    return (ntohl(net.s_addr) ^ ntohl(addr.s_addr)) >> (32 - bits) == 0;
}

static bool is_insecure(const struct settings *s, const char *registry)
{
    for (size_t i = 0; s->insecure && s->insecure[i]; i++)
        if (entry_matches(s->insecure[i], registry))
            return true;
    return false;
}

static void add(endpoint_list *list, const char *scheme, const char *host, const char *prefix,
                bool no_verify, bool mirror)
{
    vec_push(list, (struct endpoint){xasprintf("%s://%s", scheme, host), xstrdup(host),
                                     xstrdup(prefix), no_verify, mirror});
}

static void add_host(const struct settings *s, endpoint_list *list, const char *host,
                     const char *prefix, bool mirror)
{
    if (is_loopback(host)) {
        /* Nobody is between: plain text first, it is what runs there. */
        add(list, "http", host, prefix, true, mirror);
        add(list, "https", host, prefix, true, mirror);
    } else if (is_insecure(s, host)) {
        add(list, "https", host, prefix, true, mirror);
        add(list, "http", host, prefix, true, mirror);
    } else {
        add(list, "https", host, prefix, false, mirror);
    }
}

/* "[SCHEME://]HOST[/PREFIX][/]" */
static void add_mirror(const struct settings *s, endpoint_list *list, const char *url)
{
    const char *scheme_end = strstr(url, "://");
    const char *rest = scheme_end ? scheme_end + 3 : url;
    size_t host_n = strcspn(rest, "/"), n = strlen(rest);
    while (n > host_n && rest[n - 1] == '/')
        n--;
    char *host AUTOFREE = xstrndup(rest, host_n);
    char *prefix AUTOFREE = n > host_n
                                ? xasprintf("%.*s/", (int)(n - host_n - 1), rest + host_n + 1)
                                : xstrdup("");
    if (starts_with(url, "http://"))
        add(list, "http", host, prefix, true, true);
    else if (*host)
        add_host(s, list, host, prefix, true);
}

int endpoints_find(const char *registry, bool mirrors, endpoint_list *list, struct err *err)
{
    struct settings s = {0};
    *list = (endpoint_list){0};
    int rc = read_settings(registry, &s, err);
    for (size_t i = 0; rc == 0 && mirrors && s.mirrors && s.mirrors[i]; i++)
        add_mirror(&s, list, s.mirrors[i]);
    if (rc == 0)
        add_host(&s, list, streq(registry, "docker.io") ? "registry-1.docker.io" : registry, "",
                 false);
    strv_free(s.insecure);
    strv_free(s.mirrors);
    return rc;
}

void endpoints_release(endpoint_list *list)
{
    vec_foreach (list, e) {
        free(e->base);
        free(e->host);
        free(e->prefix);
    }
    vec_release(list);
}
