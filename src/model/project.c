#include "model/project.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

/* All sections are in byte order of their keys. */
#define FIND(p, section, member, name)                                                             \
    do {                                                                                           \
        size_t low_ = 0, high_ = (p)->section##_n;                                                 \
        while (low_ < high_) {                                                                     \
            size_t mid_ = low_ + (high_ - low_) / 2;                                               \
            int order_ = strcmp((name), (p)->section[mid_].member);                                \
            if (!order_)                                                                           \
                return &(p)->section[mid_];                                                        \
            if (order_ < 0)                                                                        \
                high_ = mid_;                                                                      \
            else                                                                                   \
                low_ = mid_ + 1;                                                                   \
        }                                                                                          \
        return NULL;                                                                               \
    } while (0)

struct service *project_service(const struct project *p, const char *name)
{
    FIND(p, services, name, name);
}

struct network *project_network(const struct project *p, const char *key)
{
    FIND(p, networks, key, key);
}

struct volume *project_volume(const struct project *p, const char *key)
{
    FIND(p, volumes, key, key);
}

struct file_object *project_secret(const struct project *p, const char *key)
{
    FIND(p, secrets, key, key);
}

struct file_object *project_config(const struct project *p, const char *key)
{
    FIND(p, configs, key, key);
}

static bool set_value(struct project *p, struct service *s, const char *name, const char *value)
{
    struct key_values *e = &s->environment;
    for (size_t i = 0; i < e->n; i++)
        if (streq(e->v[i].key, name)) {
            bool other = !e->v[i].value || !streq(e->v[i].value, value);
            e->v[i].value = value;
            return other;
        }
    struct key_value *v = arena_array(p->arena, struct key_value, e->n + 1);
    if (e->n)
        memcpy(v, e->v, e->n * sizeof(*v));
    v[e->n] = (struct key_value){name, value};
    *e = (struct key_values){v, e->n + 1};
    return false;
}

bool service_set_variable(struct project *p, struct service *s, const char *pair)
{
    size_t n = strcspn(pair, "=");
    const char *name = arena_strndup(p->arena, pair, n);
    const char *value = arena_strdup(p->arena, pair[n] ? pair + n + 1 : "");
    struct node *service = node_get(node_get(p->document, "services"), s->name);
    struct node *environment = node_get(service, "environment");
    if (!node_is(environment, NODE_MAPPING)) {
        environment = node_new(p->arena, NODE_MAPPING, s->mark);
        node_put(p->arena, service, "environment", environment);
        node_sort(service);
    }
    node_put(p->arena, environment, name, node_new_string(p->arena, value, s->mark));
    node_sort(environment);
    return set_value(p, s, name, value);
}

char **project_environ(const struct project *p)
{
    if (!p->environment.n)
        return strv_dup((const char *const *)environ);
    char **v = xcalloc(p->environment.n + 1, sizeof(*v));
    for (size_t i = 0; i < p->environment.n; i++)
        v[i] = xasprintf("%s=%s", p->environment.v[i].key, p->environment.v[i].value);
    return v;
}

void project_free(struct project *p)
{
    if (p)
        arena_free(p->arena);
}
