#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "base/mem.h"
#include "image/decode.h"
#include "image/image.h"

static const struct {
    const char *alias, *architecture, *variant;
} aliases[] = {
    {"x86_64", "amd64", ""}, {"x86-64", "amd64", ""}, {"aarch64", "arm64", ""},
    {"i386", "386", ""},     {"i486", "386", ""},     {"i586", "386", ""},
    {"i686", "386", ""},     {"armhf", "arm", "v7"},  {"armel", "arm", "v6"},
    {"armv8l", "arm", "v7"}, {"armv7l", "arm", "v7"}, {"armv6l", "arm", "v6"},
};

/* The variant that a bare architecture means. */
static const char *default_variant(const char *architecture)
{
    if (streq(architecture, "arm64"))
        return "v8";
    return streq(architecture, "arm") ? "v7" : "";
}

static void normalise(struct image_platform *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (streq(p->architecture, aliases[i].alias)) {
            snprintf(p->architecture, sizeof(p->architecture), "%s", aliases[i].architecture);
            if (!p->variant[0])
                snprintf(p->variant, sizeof(p->variant), "%s", aliases[i].variant);
        }
    if (streq(p->architecture, "arm64") && streq(p->variant, "v8"))
        p->variant[0] = '\0';
    if (streq(p->architecture, "arm") && !p->variant[0])
        snprintf(p->variant, sizeof(p->variant), "v7");
    if (streq(p->architecture, "amd64") && streq(p->variant, "v1"))
        p->variant[0] = '\0';
}

static void own_platform(struct image_platform *p)
{
    struct utsname u;
    uname(&u);
    snprintf(p->os, sizeof(p->os), "linux");
    snprintf(p->architecture, sizeof(p->architecture), "%.31s", u.machine);
    p->variant[0] = '\0';
    normalise(p);
}

int image_platform_parse(const char *text, struct image_platform *p, struct err *err)
{
    own_platform(p);
    if (!text || !*text)
        return 0;
    char os[32] = "", architecture[32] = "", variant[16] = "";
    int end = 0;
    int n = sscanf(text, "%31[a-zA-Z0-9_-]%n/%31[a-zA-Z0-9_-]%n/%15[a-zA-Z0-9_.-]%n", os, &end,
                   architecture, &end, variant, &end);
    if (n < 1 || text[end])
        return err_set(err, ERR_INVALID,
                       "invalid platform \"%.100s\": want os/architecture[/variant]", text);
    /* One word is an operating system or an architecture (containerd's rule). */
    bool os_only = n == 1 && (streq(os, "linux") || streq(os, "windows") || streq(os, "darwin") ||
                              streq(os, "freebsd"));
    if (n == 1 && !os_only)
        snprintf(architecture, sizeof(architecture), "%s", os);
    if (n > 1 || os_only)
        snprintf(p->os, sizeof(p->os), "%s", os);
    if (!os_only) {
        snprintf(p->architecture, sizeof(p->architecture), "%s", architecture);
        snprintf(p->variant, sizeof(p->variant), "%s", variant);
    }
    normalise(p);
    return 0;
}

char *image_platform_format(const struct image_platform *p, char out[96])
{
    snprintf(out, 96, "%s/%s%s%s", p->os, p->architecture, p->variant[0] ? "/" : "", p->variant);
    return out;
}

static int variant_number(const struct image_platform *p)
{
    const char *v = p->variant[0] ? p->variant : default_variant(p->architecture);
    return v[0] == 'v' ? atoi(v + 1) : 1;
}

int image_platform_match(const struct image_platform *want, const struct image_platform *offer)
{
    struct image_platform w = *want, o = *offer;
    normalise(&w);
    normalise(&o);
    if (!streq(w.os, o.os))
        return 0;
    /* A processor runs what its predecessors ran, as containerd's platforms.Only has it. */
    if (streq(w.architecture, "amd64") && streq(o.architecture, "386"))
        return 1;
    if (streq(w.architecture, "arm64") && streq(o.architecture, "arm"))
        return variant_number(&o);
    if (!streq(w.architecture, o.architecture))
        return 0;
    if (streq(w.variant, o.variant))
        return IMAGE_PLATFORM_SAME;
    return variant_number(&o) <= variant_number(&w) ? 50 + variant_number(&o) : 0;
}

const char *manifest_media_type(const json_t *manifest)
{
    const char *type = jstr(manifest, "mediaType", NULL);
    if (type)
        return type;
    /* mediaType is optional in OCI manifests and indexes. */
    if (json_is_array(json_object_get(manifest, "manifests")))
        return MEDIA_OCI_INDEX;
    if (json_is_array(json_object_get(manifest, "layers")))
        return MEDIA_OCI_MANIFEST;
    return NULL;
}

bool media_is_index(const char *media_type)
{
    return streq(media_type, MEDIA_OCI_INDEX) || streq(media_type, MEDIA_DOCKER_LIST);
}

const json_t *index_choose(const json_t *index, const struct image_platform *platform)
{
    json_t *list = json_object_get(index, "manifests"), *item;
    const json_t *best = NULL;
    int best_match = 0;
    size_t i;
    json_array_foreach (list, i, item) {
        const json_t *p = json_object_get(item, "platform");
        struct image_platform offer;
        if (!p) {
            /* A lone entry without a platform serves everybody. */
            if (json_array_size(list) == 1)
                return item;
            continue;
        }
        snprintf(offer.os, sizeof(offer.os), "%s", jstr(p, "os", ""));
        snprintf(offer.architecture, sizeof(offer.architecture), "%s", jstr(p, "architecture", ""));
        snprintf(offer.variant, sizeof(offer.variant), "%s", jstr(p, "variant", ""));
        int match = image_platform_match(platform, &offer);
        if (match > best_match) {
            best = item;
            best_match = match;
        }
    }
    return best;
}
