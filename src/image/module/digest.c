/* What a name stands for at its registry, and what a build starts from: questions that move no layer. */
#include "base/fs.h"
#include "base/mem.h"
#include "image/module/build.h"
#include "image/module/calls.h"
#include "image/module/dockerfile.h"
#include "image/module/lint.h"
#include "image/module/registry.h"

/* What is asked of a registry, and its answer. */
struct question {
    const struct reference *ref;
    const struct image_platform *platform;
    int (*ask)(struct registry_client *client, struct question *q, struct err *err);
    char digest[72]; /* ask_digest */
    json_t *config;  /* ask_config; new reference */
};

/* For the platform, one out of an index. */
static int fetch_manifest(struct registry_client *client, const struct question *q, bool whole,
                          struct manifest *m, struct err *err)
{
    const struct reference *ref = q->ref;
    char text[96];
    if (registry_manifest(client, ref->digest ? ref->digest : ref->tag, m, err) < 0)
        return -1;
    if (!media_is_index(m->media_type))
        return 0;
    const char *chosen = jstr(index_choose(m->json, q->platform), "digest", "");
    struct manifest one;
    int rc = 0;
    if (!digest_valid(chosen))
        rc = err_set(err, ERR_NOT_FOUND, "it is not there for platform %s",
                     image_platform_format(q->platform, text));
    else if (!whole)
        rc = registry_manifest(client, chosen, &one, err);
    if (rc == 0 && whole)
        return 0;
    manifest_release(m);
    if (rc == 0)
        *m = one;
    return rc;
}

static int ask_digest(struct registry_client *client, struct question *q, struct err *err)
{
    struct manifest m;
    if (fetch_manifest(client, q, true, &m, err) < 0)
        return -1;
    memcpy(q->digest, m.digest, sizeof(m.digest));
    manifest_release(&m);
    return 0;
}

static int ask_config(struct registry_client *client, struct question *q, struct err *err)
{
    struct manifest m;
    char *text AUTOFREE = NULL;
    if (fetch_manifest(client, q, false, &m, err) < 0)
        return -1;
    const json_t *descriptor = json_object_get(m.json, "config");
    const char *id = jstr(descriptor, "digest", "");
    json_int_t size = jint(descriptor, "size", -1);
    int rc = -1;
    if (!digest_valid(id) || size < 0 || size > CONFIG_MAX)
        err_set(err, ERR_CORRUPT, "the manifest has no valid config");
    else
        rc = registry_blob_text(client, id, size, &text, err);
    manifest_release(&m);
    if (rc == 0)
        q->config = json_loadb(text, (size_t)size, 0, NULL);
    return rc;
}

/* Mirrors first, each may fail. */
static int ask_endpoints(struct registry *registry, struct question *q, struct err *err)
{
    for (;;) {
        struct err why AUTOERR = ERR_INIT;
        struct registry_client *client = registry_client_new(registry);
        int rc = q->ask(client, q, &why);
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
    struct question question = {.ref = &ref, .platform = &platform, .ask = ask_digest};
    if (reference_parse(q->reference, &ref, err) < 0 ||
        image_platform_parse(q->platform, &platform, err) < 0)
        return -1;
    struct registry *registry = registry_new(&ref, q->auth_file, false, &stop, err);
    if (!registry)
        return -1;
    int rc = ask_endpoints(registry, &question, err);
    registry_free(registry);
    if (rc < 0)
        return err_wrap(err, "image %s", q->reference);
    *digest = xstrdup(question.digest);
    return 0;
}

struct linting {
    struct image_store *store;
    const struct build_request *request;
    const char *platform; /* to build for, NULL: this machine's */
};

static void give_up(void *ctx, const char *why, int64_t ms)
{
    atomic_bool *failed = ctx;
    (void)why;
    (void)ms;
    *failed = true;
}

/* Of an image that is not here: its config alone is fetched. What does not answer at once is not
 * waited for. */
static char **fetch_environment(const struct linting *l, const char *name, const char *platform)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    struct image_platform wanted;
    atomic_bool failed = false;
    const struct stop stop = {l->request->cancel, &failed};
    struct question q = {.ref = &ref, .platform = &wanted, .ask = ask_config};
    char **env = NULL;
    if (reference_parse(name, &ref, NULL) < 0 || image_platform_parse(platform, &wanted, NULL) < 0)
        return NULL;
    struct registry *registry = registry_new(&ref, NULL, false, &stop, NULL);
    if (!registry)
        return NULL;
    registry_on_retry(registry, give_up, &failed);
    if (ask_endpoints(registry, &q, NULL) == 0 && json_is_object(q.config)) {
        size_t i;
        json_t *item;
        env = xcalloc(1, sizeof(*env));
        json_array_foreach (json_object_get(json_object_get(q.config, "config"), "Env"), i, item)
            if (json_is_string(item))
                strv_push(&env, json_string_value(item));
    }
    json_decref(q.config);
    registry_free(registry);
    return env;
}

static char **environment(void *ctx, const char *name, const char *platform)
{
    struct linting *l = ctx;
    struct image *image;
    const char *wanted = platform ? platform : l->platform;
    if (build_has_context(l->request->build, name))
        return NULL;
    if (image_find(l->store, name, wanted, &image, NULL) < 0)
        return fetch_environment(l, name, wanted);
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
