#include <sha2.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "model/decode.h"
#include "model/encode.h"

/* A copy of the mapping without some of its members; values are shared. */
static struct node *copy_without(struct arena *a, const struct node *map, const char *const *keys)
{
    struct node *copy = node_new(a, NODE_MAPPING, map->mark);
    node_reserve(a, copy, map->count);
    for (size_t i = 0; i < map->count; i++) {
        bool drop = false;
        for (const char *const *key = keys; *key && !drop; key++)
            drop = streq(*key, map->pairs[i].key);
        if (!drop)
            node_put(a, copy, map->pairs[i].key, map->pairs[i].value);
    }
    return copy;
}

/* As the reference: SHA-256 of the service's JSON without what can change while its containers
 * stay as they are. */
char *service_config_hash(const struct project *p, const struct service *s)
{
    static const char *const dropped[] = {"build",      "pull_policy", "scale",
                                          "depends_on", "profiles",    NULL};
    static const char *const dropped_deploy[] = {"replicas", NULL};
    (void)p;
    const struct node *n = s->node, *deploy = node_get(n, "deploy");
    struct arena *a = arena_new();
    struct node *copy = copy_without(a, n, dropped);
    if (node_is(deploy, NODE_MAPPING))
        node_put(a, copy, "deploy", copy_without(a, deploy, dropped_deploy));
    struct strbuf json AUTOBUF = STRBUF_INIT;
    encode_service(copy, &json, NULL);
    arena_free(a);
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)json.buf, json.len, hex);
    return xstrdup(hex);
}
