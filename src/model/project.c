#include "model/project.h"

#include <stdlib.h>
#include <string.h>

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

void project_free(struct project *p)
{
    if (p)
        arena_free(p->arena);
}
