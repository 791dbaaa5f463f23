#include <sha2.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "model/decode.h"
#include "model/node_json.h"

/* Keys that change nothing about a container that exists (compose: pkg/compose/hash.go). */
static const char *const irrelevant[] = {"build", "pull_policy", "scale", "depends_on", "profiles",
                                         "attach", "develop"};

/* What secrets and configs hold is part of what a container is made from. */
static void add_files(const struct project *p, const struct file_mount *uses, size_t n,
                      struct file_object *(*find)(const struct project *, const char *),
                      SHA2_CTX *ctx)
{
    for (size_t i = 0; i < n; i++) {
        const struct file_object *o = find(p, uses[i].source);
        const char *parts[] = {o ? o->file : NULL, o ? o->content : NULL, o ? o->environment : NULL};
        for (size_t k = 0; k < ARRAY_SIZE(parts); k++)
            if (parts[k])
                SHA256Update(ctx, (const uint8_t *)parts[k], strlen(parts[k]) + 1);
    }
}

char *service_config_hash(const struct project *p, const struct service *s)
{
    json_t *j AUTOJSON = node_to_json(s->node);
    for (size_t i = 0; i < ARRAY_SIZE(irrelevant); i++)
        json_object_del(j, irrelevant[i]);
    json_object_del(json_object_get(j, "deploy"), "replicas");
    char *text AUTOFREE = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    SHA2_CTX ctx;
    SHA256Init(&ctx);
    SHA256Update(&ctx, (const uint8_t *)text, strlen(text));
    add_files(p, s->secrets, s->secrets_n, project_secret, &ctx);
    add_files(p, s->configs, s->configs_n, project_config, &ctx);
    char *hex = xmalloc(SHA256_DIGEST_STRING_LENGTH);
    return SHA256End(&ctx, hex);
}
