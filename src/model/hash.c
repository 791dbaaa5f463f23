#include <sha2.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "model/decode.h"
#include "model/encode.h"

/* A copy of the mapping without some of its members; values are shared. */
static struct node copy_without(struct node_pair *pairs, const struct node *map,
                                const char *const *keys)
{
    struct node copy = {.kind = NODE_MAPPING};
    copy.map.v = pairs;
    for (size_t i = 0; i < map->map.n; i++) {
        bool drop = false;
        for (const char *const *key = keys; *key && !drop; key++)
            drop = streq(*key, map->map.v[i].key);
        if (!drop)
            pairs[copy.map.n++] = map->map.v[i];
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
    struct node_pair *pairs AUTOFREE = xcalloc(n->map.n + 1, sizeof(*pairs));
    struct node_pair *deploy_pairs AUTOFREE = xcalloc(deploy ? deploy->map.n + 1 : 1,
                                                      sizeof(*deploy_pairs));
    struct node copy = copy_without(pairs, n, dropped), deploy_copy;
    if (node_is(deploy, NODE_MAPPING)) {
        deploy_copy = copy_without(deploy_pairs, deploy, dropped_deploy);
        node_pair(&copy, "deploy")->value = &deploy_copy;
    }
    struct strbuf json AUTOBUF = STRBUF_INIT;
    encode_service(&copy, &json, NULL);
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)json.buf, json.len, hex);
    return xstrdup(hex);
}
