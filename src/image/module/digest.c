/* What a name stands for at its registry, and what a build starts from: questions that move no layer. */
#include "base/fs.h"
#include "base/mem.h"
#include "image/module/build.h"
#include "image/module/calls.h"
#include "image/module/dockerfile.h"
#include "image/module/lint.h"
#include "image/module/registry.h"

static int ask(struct registry_client *client, const struct reference *ref,
               const struct image_platform *platform, char digest[72], struct err *err)
{
    struct manifest m;
    char text[96];
    int rc = 0;
    if (registry_manifest(client, ref->digest ? ref->digest : ref->tag, &m, err) < 0)
        return -1;
    if (media_is_index(m.media_type) && !index_choose(m.json, platform))
        rc = err_set(err, ERR_NOT_FOUND, "it is not there for platform %s",
                     image_platform_format(platform, text));
    memcpy(digest, m.digest, sizeof(m.digest));
    manifest_release(&m);
    return rc;
}

/* Mirrors first, each may fail. */
static int ask_endpoints(struct registry *registry, const struct reference *ref,
                         const struct image_platform *platform, char digest[72], struct err *err)
{
    for (;;) {
        struct err why AUTOERR = ERR_INIT;
        struct registry_client *client = registry_client_new(registry);
        int rc = ask(client, ref, platform, digest, &why);
        registry_client_free(client);
        if (rc == 0)
            return 0;
        if (why.kind == ERR_CANCELLED || !registry_leave_mirror(registry)) {
            err_move(err, &why);
            return -1;
        }
    }
}

int call_resolve(const struct resolve_request *q, char **digest, struct err *err)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    struct image_platform platform;
    const struct stop stop = {q->cancel, NULL};
    char found[72];
    if (reference_parse(q->reference, &ref, err) < 0 ||
        image_platform_parse(q->platform, &platform, err) < 0)
        return -1;
    struct registry *registry = registry_new(&ref, q->auth_file, false, &stop, err);
    if (!registry)
        return -1;
    int rc = ask_endpoints(registry, &ref, &platform, found, err);
    registry_free(registry);
    if (rc < 0)
        return err_wrap(err, "image %s", q->reference);
    *digest = xstrdup(found);
    return 0;
}

struct linting {
    struct image_store *store;
    const struct build_request *request;
    const char *platform; /* to build for, NULL: this machine's */
};

/* Of an image that is here: nothing is fetched for a look. */
static char **environment(void *ctx, const char *name, const char *platform)
{
    struct linting *l = ctx;
    struct image *image;
    if (build_has_context(l->request->build, name) ||
        image_find(l->store, name, platform ? platform : l->platform, &image, NULL) < 0)
        return NULL;
    char **env = image->config.env ? strv_dup((const char *const *)image->config.env)
                                   : xcalloc(1, sizeof(*env));
    image_free(image);
    return env;
}

int call_lint(struct image_store *store, const struct build_request *q,
              void (*warn)(void *ctx, const char *rule, const char *message, size_t line),
              void *ctx, struct err *err)
{
    char *text AUTOFREE = NULL;
    if (build_dockerfile_text(q, &text, err) < 0)
        return -1;
    if (!text)
        return err_set(err, ERR_UNAVAILABLE, "its Dockerfile is not on this machine");
    const char **platforms AUTOFREE = build_platforms(q);
    char **args AUTOSTRV = build_platform_args(q, platforms[0]);
    struct linting l = {store, q, platforms[0]};
    const struct lint_source source = {text, (const char *const *)args, environment, &l};
    dockerfile_lint(&source, warn, ctx);
    return 0;
}

static void add_bases(const struct build_request *q, const char *text, const char *platform,
                      struct build_base **bases, size_t *n)
{
    base_images found;
    char **args AUTOSTRV = build_platform_args(q, platform);
    dockerfile_bases(text, (const char *const *)args, &found);
    *bases = xrealloc(*bases, (*n + found.n + 1) * sizeof(**bases));
    vec_foreach (&found, base) {
        if (build_has_context(q->build, base->name))
            continue;
        const char *want = base->platform ? base->platform : platform;
        (*bases)[(*n)++] = (struct build_base){xstrdup(base->name), want ? xstrdup(want) : NULL};
    }
    base_images_release(&found);
}

/* ERR_UNAVAILABLE: the Dockerfile is somewhere else, its images are not known. */
int call_bases(const struct build_request *q, struct build_base **bases, size_t *n, struct err *err)
{
    char *text AUTOFREE = NULL;
    *bases = NULL;
    *n = 0;
    if (build_dockerfile_text(q, &text, err) < 0)
        return -1;
    if (!text)
        return err_set(err, ERR_UNAVAILABLE, "its Dockerfile is not on this machine");
    const char **platforms AUTOFREE = build_platforms(q);
    size_t i = 0;
    do {
        add_bases(q, text, platforms[i], bases, n);
    } while (platforms[i] && platforms[++i]);
    return 0;
}
