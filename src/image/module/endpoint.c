#include "image/module/endpoint.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"

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

static char **setting(const char *key, const char *variable)
{
    static const char *const files[] = {"/etc/docker/daemon.json", "/etc/compose/registries.json"};
    char **list = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        json_t *j AUTOJSON = NULL, *item;
        size_t k;
        /* A file that is missing or not ours to judge says nothing. */
        if (json_read(files[i], &j, NULL) < 0)
            continue;
        json_array_foreach (json_object_get(j, key), k, item)
            if (json_is_string(item))
                strv_push(&list, json_string_value(item));
    }
    add_words(&list, getenv(variable));
    return list;
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

static bool is_insecure(const char *registry)
{
    char **list AUTOSTRV = setting("insecure-registries", "COMPOSE_INSECURE_REGISTRIES");
    for (size_t i = 0; list && list[i]; i++)
        if (entry_matches(list[i], registry))
            return true;
    return false;
}

static void add(endpoint_list *list, const char *scheme, const char *host, bool no_verify,
                bool mirror)
{
    vec_push(list, (struct endpoint){xasprintf("%s://%s", scheme, host), xstrdup(host), no_verify,
                                     mirror});
}

static void add_host(endpoint_list *list, const char *host, bool mirror)
{
    if (is_loopback(host)) {
        /* Nobody is between: plain text first, it is what runs there. */
        add(list, "http", host, true, mirror);
        add(list, "https", host, true, mirror);
    } else if (is_insecure(host)) {
        add(list, "https", host, true, mirror);
        add(list, "http", host, true, mirror);
    } else {
        add(list, "https", host, false, mirror);
    }
}

static void add_mirrors(endpoint_list *list)
{
    char **mirrors AUTOSTRV = setting("registry-mirrors", "COMPOSE_REGISTRY_MIRRORS");
    for (size_t i = 0; mirrors && mirrors[i]; i++) {
        char *scheme_end = strstr(mirrors[i], "://");
        char *host AUTOFREE = xstrdup(scheme_end ? scheme_end + 3 : mirrors[i]);
        size_t n = strlen(host);
        while (n && host[n - 1] == '/')
            host[--n] = '\0';
        if (scheme_end && starts_with(mirrors[i], "http://"))
            add(list, "http", host, true, true);
        else if (*host)
            add_host(list, host, true);
    }
}

void endpoints_find(const char *registry, bool mirrors, endpoint_list *list)
{
    *list = (endpoint_list){0};
    bool hub = streq(registry, "docker.io");
    if (hub && mirrors) /* as Docker's: mirrors are the Hub's */
        add_mirrors(list);
    add_host(list, hub ? "registry-1.docker.io" : registry, false);
}

void endpoints_release(endpoint_list *list)
{
    vec_foreach (list, e) {
        free(e->base);
        free(e->host);
    }
    vec_release(list);
}
