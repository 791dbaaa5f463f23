#include "model/project.h"

#include "base/mem.h"

#define FIND(array, count, member, wanted)                                                         \
    for (size_t i = 0; i < (count); i++)                                                           \
        if (streq((array)[i].member, (wanted)))                                                    \
            return &(array)[i];                                                                    \
    return NULL

struct service *project_service(const struct project *p, const char *name)
{
    FIND(p->services, p->services_n, name, name);
}

struct network *project_network(const struct project *p, const char *key)
{
    FIND(p->networks, p->networks_n, key, key);
}

struct volume *project_volume(const struct project *p, const char *key)
{
    FIND(p->volumes, p->volumes_n, key, key);
}

struct file_object *project_secret(const struct project *p, const char *key)
{
    FIND(p->secrets, p->secrets_n, key, key);
}

struct file_object *project_config(const struct project *p, const char *key)
{
    FIND(p->configs, p->configs_n, key, key);
}

void project_free(struct project *p)
{
    if (p)
        arena_free(p->arena);
}
