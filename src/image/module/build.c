/* Builds: what the section says becomes arguments of `buildah build`; images that it starts from
 * come through our store, so that names, logins and mirrors mean the same everywhere. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/build.h"
#include "image/module/buildah.h"
#include "image/module/calls.h"
#include "image/module/dockerfile.h"
#include "image/module/endpoint.h"
#include "image/module/isolation.h"
#include "image/module/publish.h"
#include "image/module/stream.h"

enum { DOCKERFILE_MAX = 16 << 20, TAIL = 10 };

struct building {
    struct buildah buildah;
    const struct build_request *request;
    const char *platform; /* the one that is built now, NULL: this machine's */
    bool several;         /* ... it is not the only one */
    bool from_scratch;
    char *dockerfile; /* path, NULL: the builder finds it (URL contexts) */
    char **argv;
    struct map given; /* the builder's IDs of images -> what the Dockerfile calls them, heap */
    char *step;       /* the last "STEP n/m: ..." seen */
    char *tail[TAIL]; /* the last lines, a ring */
    size_t lines;
};

static void say(struct building *b, const char *line)
{
    if (!b->request->output)
        return;
    char *prefixed AUTOFREE = b->several ? xasprintf("[%s] %s", b->platform, line) : NULL;
    b->request->output(b->request->ctx, prefixed ? prefixed : line);
}

static void arg(struct building *b, const char *text)
{
    strv_push(&b->argv, text);
}

static void arg2(struct building *b, const char *flag, const char *value)
{
    strv_push(&b->argv, flag);
    strv_push(&b->argv, value);
}

__attribute__((format(printf, 3, 4))) static void argf(struct building *b, const char *flag,
                                                       const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *value AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    arg2(b, flag, value);
}

static bool is_url(const char *context)
{
    return strstr(context, "://") || starts_with(context, "git@");
}

/* Where the Dockerfile lies, heap; *path NULL: it stands in the file itself, or belongs to a URL. */
static int build_dockerfile_path(const struct build_request *q, char **path, struct err *err)
{
    const struct build *build = q->build;
    *path = NULL;
    if (build->dockerfile_inline || is_url(build->context))
        return 0;
    if (!fs_is_dir(build->context))
        return err_set(err, ERR_NOT_FOUND, "the build context %s is not a folder", build->context);
    char *file AUTOFREE = path_join(build->context,
                                    build->dockerfile ? build->dockerfile : "Dockerfile");
    if (!fs_exists(file))
        return err_set(err, ERR_NOT_FOUND, "there is no Dockerfile at %s", file);
    *path = STEAL(file);
    return 0;
}

int build_dockerfile_text(const struct build_request *q, char **text, struct err *err)
{
    char *path AUTOFREE = NULL;
    *text = q->build->dockerfile_inline ? xstrdup(q->build->dockerfile_inline) : NULL;
    if (build_dockerfile_path(q, &path, err) < 0)
        return -1;
    return path ? fs_read(path, DOCKERFILE_MAX, text, NULL, err) : 0;
}

static int find_dockerfile(struct building *b, struct err *err)
{
    const struct build *build = b->request->build;
    if (!build->dockerfile_inline)
        return build_dockerfile_path(b->request, &b->dockerfile, err);
    b->dockerfile = work_path(&b->buildah.work, "Dockerfile");
    return fs_write_atomic(b->dockerfile, build->dockerfile_inline,
                           strlen(build->dockerfile_inline), 0600, false, err);
}

/* NAME=VALUE of all build arguments; without a value the environment's, where it has one. */
static char **build_args(const struct build_request *q)
{
    const struct key_values *lists[] = {&q->build->args, &q->args};
    char **args = xcalloc(1, sizeof(*args));
    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        for (size_t i = 0; i < lists[k]->n; i++) {
            const struct key_value *kv = &lists[k]->v[i];
            const char *value = kv->value ? kv->value : getenv(kv->key);
            if (!value)
                continue;
            char *text AUTOFREE = xasprintf("%s=%s", kv->key, value);
            strv_push(&args, text);
        }
    return args;
}

const char **build_platforms(const struct build_request *q)
{
    const struct strings *list = &q->build->platforms;
    const char **platforms = xcalloc(list->n + 2, sizeof(*platforms));
    if (q->all_platforms && list->n > 1)
        memcpy(platforms, list->v, list->n * sizeof(*platforms));
    else if (q->platform && *q->platform)
        platforms[0] = q->platform;
    else if (list->n == 1)
        platforms[0] = list->v[0];
    return platforms;
}

/* What BuildKit defines before the first FROM. */
char **build_platform_args(const struct build_request *q, const char *platform)
{
    struct image_platform own, target;
    char text[96];
    image_platform_parse(NULL, &own, NULL);
    if (image_platform_parse(platform, &target, NULL) < 0)
        target = own;
    char **args = xcalloc(1, sizeof(*args));
    const struct {
        const char *prefix;
        const struct image_platform *platform;
    } kinds[] = {{"BUILD", &own}, {"TARGET", &target}};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const struct image_platform *p = kinds[i].platform;
        char *list[] = {xasprintf("%sPLATFORM=%s", kinds[i].prefix, image_platform_format(p, text)),
                        xasprintf("%sOS=%s", kinds[i].prefix, p->os),
                        xasprintf("%sARCH=%s", kinds[i].prefix, p->architecture),
                        xasprintf("%sVARIANT=%s", kinds[i].prefix, p->variant)};
        for (size_t k = 0; k < ARRAY_SIZE(list); k++) {
            strv_push(&args, list[k]);
            free(list[k]);
        }
    }
    char **given AUTOSTRV = build_args(q);
    for (size_t i = 0; given[i]; i++)
        strv_push(&args, given[i]);
    return args;
}

static void on_pull(void *ctx, const struct image_progress *p)
{
    struct building *b = ctx;
    char *line AUTOFREE = NULL;
    if (!p->layer && p->phase == IMAGE_RESOLVING)
        line = xasprintf("Pulling %s", p->image);
    else if (p->layer && p->phase == IMAGE_DONE)
        line = xasprintf("Pulled layer %s of %s", p->layer, p->image);
    if (line)
        say(b, line);
}

/* The name with the digest that it is pinned to, heap. */
static int pinned_name(const struct build_request *q, const struct reference *ref,
                       const char *platform_text, char **out, struct err *err)
{
    struct image_platform platform;
    char text[96];
    if (image_platform_parse(platform_text, &platform, err) < 0)
        return -1;
    image_platform_format(&platform, text);
    char *name AUTOFREE = reference_familiar(ref);
    for (size_t i = 0; i < q->pins_n; i++) {
        if (!streq(q->pins[i].image, name) || !streq(q->pins[i].platform, text))
            continue;
        *out = xasprintf("%s@%s", name, q->pins[i].digest);
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND,
                   "image %s for %s is not in the lock file: run \"compose lock\"", name, text);
}

/* Gives an image to the builder, which then has it as a build context of that name: no list of
 * registries and no tag of the builder's own has a say in what it is. pinned: the lock file has. */
static int provide(struct building *b, const char *context, const char *name, const char *platform,
                   bool pinned, struct err *err)
{
    const struct build_request *q = b->request;
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    char *locked AUTOFREE = NULL;
    if (reference_parse(name, &ref, err) < 0)
        return -1;
    if (pinned && q->pins && !ref.digest && pinned_name(q, &ref, platform, &locked, err) < 0)
        return -1;
    struct pull_request pull = {
        .reference = locked ? locked : name,
        .platform = platform,
        .policy = q->pull || q->build->pull ? IMAGE_PULL_ALWAYS : IMAGE_PULL_MISSING,
        .progress = on_pull,
        .ctx = b,
        .cancel = q->cancel,
    };
    struct image *image;
    if (call_pull(b->buildah.store, &pull, &image, NULL, err) < 0)
        return -1;
    char id[65];
    int rc = buildah_take(&b->buildah, image, id, err);
    image_free(image);
    if (rc < 0)
        return err_wrap(err, "image %s", name);
    argf(b, "--build-context", "%s=docker-image://%s", context, id);
    free(map_set(&b->given, id, xstrdup(context)));
    return 0;
}

/* "service:NAME" and "docker-image://NAME" stand for an image; NULL: it is a folder or URL. */
static const char *context_image(const struct build_request *q, const char *value)
{
    if (starts_with(value, "service:"))
        for (size_t i = 0; i < q->service_images_n; i++)
            if (streq(q->service_images[i].key, value + 8))
                return q->service_images[i].value;
    return starts_with(value, "docker-image://") ? value + 15 : NULL;
}

static int add_contexts(struct building *b, struct err *err)
{
    const struct build_request *q = b->request;
    const struct key_values *contexts = &q->build->additional_contexts;
    for (size_t i = 0; i < contexts->n; i++) {
        const struct key_value *kv = &contexts->v[i];
        const char *value = kv->value ? kv->value : "";
        const char *image = context_image(q, value);
        if (!image && starts_with(value, "service:"))
            return err_set(err, ERR_INVALID, "additional context %s: %s has no image", kv->key,
                           value);
        bool pinned = !starts_with(value, "service:"); /* what is built here has no digest there */
        if (!image)
            argf(b, "--build-context", "%s=%s", kv->key, value);
        else if (provide(b, kv->key, image, b->platform, pinned, err) < 0)
            return err_wrap(err, "additional context %s", kv->key);
    }
    return 0;
}

bool build_has_context(const struct build *build, const char *name)
{
    for (size_t i = 0; i < build->additional_contexts.n; i++)
        if (streq(build->additional_contexts.v[i].key, name))
            return true;
    return false;
}

static bool is_service_image(const struct build_request *q, const char *name)
{
    for (size_t i = 0; i < q->service_images_n; i++)
        if (streq(q->service_images[i].value, name))
            return true;
    return false;
}

/* The builder fetches what a Dockerfile behind a URL names: short names mean Docker Hub, whatever
 * this machine's own registries.conf says, as everywhere in a Compose file. */
static int leave_bases_to_builder(struct building *b, struct err *err)
{
    static const char conf[] = "unqualified-search-registries = [\"docker.io\"]\n"
                               "short-name-mode = \"disabled\"\n";
    const struct build_request *q = b->request;
    char *path AUTOFREE = work_path(&b->buildah.work, "registries.conf");
    if (fs_write_atomic(path, conf, sizeof(conf) - 1, 0600, false, err) < 0)
        return -1;
    arg2(b, "--registries-conf", path);
    arg(b, q->pull || q->build->pull ? "--pull=always" : "--pull=missing");
    return 0;
}

static const char *platform_for(const struct building *b, const struct base_image *base)
{
    return base->platform ? base->platform : b->platform;
}

/* The builder knows a context by its name alone. */
static int one_platform(const struct building *b, const base_images *bases,
                        const struct base_image *base, struct err *err)
{
    struct image_platform platform;
    char want[96], have[96];
    if (image_platform_parse(platform_for(b, base), &platform, err) < 0)
        return -1;
    image_platform_format(&platform, want);
    vec_foreach (bases, other)
        if (streq(other->name, base->name) &&
            image_platform_parse(platform_for(b, other), &platform, NULL) == 0 &&
            !streq(image_platform_format(&platform, have), want))
            return err_set(err, ERR_INVALID,
                           "image %s is wanted for %s and for %s: the builder takes a name for one "
                           "platform only",
                           base->name, want, have);
    return 0;
}

/* Images that the Dockerfile names: afterwards the builder needs no registry. */
static int add_bases(struct building *b, struct err *err)
{
    const struct build_request *q = b->request;
    char *text AUTOFREE = NULL;
    if (!b->dockerfile)
        return leave_bases_to_builder(b, err);
    if (fs_read(b->dockerfile, DOCKERFILE_MAX, &text, NULL, err) < 0)
        return -1;
    char **args AUTOSTRV = build_platform_args(q, b->platform);
    b->from_scratch = dockerfile_from_scratch(text, (const char *const *)args, q->build->target);
    base_images bases;
    dockerfile_bases(text, (const char *const *)args, &bases);
    int rc = 0;
    vec_foreach (&bases, base) {
        if (rc < 0 || build_has_context(q->build, base->name))
            continue;
        rc = one_platform(b, &bases, base, err);
        if (rc == 0)
            rc = provide(b, base->name, base->name, platform_for(b, base),
                         !is_service_image(q, base->name), err);
    }
    base_images_release(&bases);
    if (rc == 0)
        arg(b, "--pull=never");
    return rc;
}

static void add_secrets(struct building *b)
{
    for (size_t i = 0; i < b->request->secrets_n; i++) {
        const struct build_secret *s = &b->request->secrets[i];
        if (s->file)
            argf(b, "--secret", "id=%s,src=%s", s->id, s->file);
        else
            argf(b, "--secret", "id=%s,type=env,env=%s", s->id, s->environment);
    }
}

static void add_ssh(struct building *b)
{
    const struct key_values *ssh = &b->request->build->ssh;
    for (size_t i = 0; i < ssh->n; i++) {
        if (ssh->v[i].value && *ssh->v[i].value)
            argf(b, "--ssh", "%s=%s", ssh->v[i].key, ssh->v[i].value);
        else
            arg2(b, "--ssh", ssh->v[i].key);
    }
    for (size_t i = 0; b->request->ssh && b->request->ssh[i]; i++)
        arg2(b, "--ssh", b->request->ssh[i]);
}

/* Steps run in the host's network unless they shall have none: a build needs no ports of its own,
 * and no bridge has to be set up for it. host-gateway is then the host itself. */
static int add_network(struct building *b, struct err *err)
{
    const struct build *build = b->request->build;
    const char *network = build->network ? build->network : "default";
    if (streq(network, "none"))
        arg2(b, "--network", "none");
    else if (streq(network, "default") || streq(network, "host"))
        arg2(b, "--network", "host");
    else
        return err_set(err, ERR_INVALID, "network \"%s\": a build knows default, host and none",
                       network);
    for (size_t i = 0; i < build->extra_hosts.n; i++) {
        char *entry AUTOFREE = xstrdup(build->extra_hosts.v[i]);
        char *separator = strpbrk(entry, "=:");
        if (!separator)
            return err_set(err, ERR_INVALID, "extra host \"%s\": want HOST=ADDRESS", entry);
        *separator = '\0';
        const char *address = separator + 1;
        argf(b, "--add-host", "%s:%s", entry,
             streq(address, "host-gateway") ? "127.0.0.1" : address);
    }
    return 0;
}

/* With the host's devices comes its network, and there is nothing that could keep a limit. */
static bool gets_devices(struct building *b)
{
    const struct build *build = b->request->build;
    bool possible = !streq(build->network ? build->network : "", "none") && build->shm_size <= 0 &&
                    b->request->memory <= 0;
    if (build->privileged && !possible)
        say(b, "privileged: steps get no devices beside network none, shm_size and --memory");
    return build->privileged && possible;
}

static void add_limits(struct building *b)
{
    const struct build *build = b->request->build;
    if (build->shm_size > 0)
        argf(b, "--shm-size", "%lld", (long long)build->shm_size);
    if (b->request->memory > 0)
        argf(b, "--memory", "%lldb", (long long)b->request->memory);
    for (size_t i = 0; i < build->ulimits_n; i++)
        argf(b, "--ulimit", "%s=%lld:%lld", build->ulimits[i].name,
             (long long)build->ulimits[i].soft, (long long)build->ulimits[i].hard);
    if (build->privileged) {
        arg2(b, "--cap-add", "all");
        arg2(b, "--security-opt", "seccomp=unconfined");
    }
}

/* The repository that "type=registry,ref=NAME" or "NAME" stands for, full and without its tag (the
 * builder files its layers under tags of its own), heap; NULL: a kind of cache that it does not
 * know. */
static char *cache_repository(const char *text, struct reference *ref)
{
    char *copy AUTOFREE = xstrdup(text), *save = NULL;
    const char *name = strchr(text, '=') ? NULL : text;
    for (char *part = strtok_r(copy, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
        if (starts_with(part, "type=") && !streq(part, "type=registry"))
            return NULL;
        if (starts_with(part, "ref="))
            name = part + 4;
    }
    return name && reference_parse(name, ref, NULL) == 0 ? reference_repository(ref) : NULL;
}

/* One remote repository each way is what the builder takes; what is left out is said. */
static int add_cache(struct building *b, const char *flag, const char *key,
                     const struct strings *caches, bool *insecure, struct err *err)
{
    bool given = false;
    for (size_t i = 0; i < caches->n; i++) {
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        char *repository AUTOFREE = cache_repository(caches->v[i], &ref);
        if (!repository || given) {
            char *line AUTOFREE = xasprintf("%s %s is not used: %s", key, caches->v[i],
                                            given ? "the builder takes one"
                                                  : "the builder knows caches in registries only");
            say(b, line);
            continue;
        }
        endpoint_list endpoints;
        if (endpoints_find(ref.registry, false, &endpoints, err) < 0)
            return -1;
        vec_foreach (&endpoints, e)
            *insecure = *insecure || e->no_verify || starts_with(e->base, "http:");
        endpoints_release(&endpoints);
        arg2(b, flag, repository);
        given = true;
    }
    return 0;
}

/* Its own layers are a cache anyhow. */
static int add_caches(struct building *b, struct err *err)
{
    const struct build *build = b->request->build;
    bool insecure = false;
    if (add_cache(b, "--cache-from", "cache_from", &build->cache_from, &insecure, err) < 0 ||
        add_cache(b, "--cache-to", "cache_to", &build->cache_to, &insecure, err) < 0)
        return -1;
    if (insecure) /* of all that it does, only the cache is spoken to over the network */
        arg(b, "--tls-verify=false");
    return 0;
}

static int make_command(struct building *b, const char *id_file, struct err *err)
{
    const struct build_request *q = b->request;
    const struct build *build = q->build;
    b->argv = buildah_command(&b->buildah, "build");
    arg(b, "--layers");
    arg(b, "--force-rm"); /* a failed step leaves no mounted container behind */
    arg(b, "--identity-label=false");
    arg2(b, "--format", "docker"); /* OCI's has no HEALTHCHECK, SHELL and ONBUILD */
    arg2(b, "--iidfile", id_file);
    isolation_arguments(&b->argv, gets_devices(b));
    char *runtime AUTOFREE = buildah_runtime_root(&b->buildah);
    argf(b, "--runtime-flag", "root=%s", runtime);
    if (b->dockerfile)
        arg2(b, "--file", b->dockerfile);
    else if (build->dockerfile)
        arg2(b, "--file", build->dockerfile);
    if (q->no_cache || build->no_cache)
        arg(b, "--no-cache");
    if (build->target)
        arg2(b, "--target", build->target);
    if (b->platform)
        arg2(b, "--platform", b->platform);
    char **args AUTOSTRV = build_args(q);
    for (size_t i = 0; args[i]; i++)
        arg2(b, "--build-arg", args[i]);
    add_secrets(b);
    add_ssh(b);
    add_limits(b);
    if (add_caches(b, err) < 0 || add_network(b, err) < 0 || add_contexts(b, err) < 0 ||
        add_bases(b, err) < 0)
        return -1;
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (q->names[0]) {
        if (reference_parse(q->names[0], &ref, err) < 0)
            return -1;
        char *name AUTOFREE = reference_name(&ref);
        arg2(b, "--tag", name);
    }
    arg(b, build->context);
    return 0;
}

/* "FROM ID" with the name that the Dockerfile has there, heap. */
static char *with_name(const struct building *b, const char *line)
{
    const char *id = strstr(line, ": FROM ");
    id = id ? id + strlen(": FROM ") : line;
    size_t n = strcspn(id, " ");
    char *word AUTOFREE = xstrndup(id, n);
    const char *name = map_get(&b->given, word);
    return name ? xasprintf("%.*s%s%s", (int)(id - line), line, name, id + n) : xstrdup(line);
}

static void on_line(void *ctx, const char *text)
{
    struct building *b = ctx;
    char *line AUTOFREE = with_name(b, text);
    /* "STEP 2/5: RUN ...", in builds of several stages "[1/2] STEP 2/5: ...". */
    const char *step = line[0] == '[' ? strstr(line, "] STEP ") : NULL;
    step = step ? step + 2 : line;
    if (starts_with(step, "STEP ")) {
        free(b->step);
        b->step = xstrdup(step);
    }
    size_t slot = b->lines++ % TAIL;
    free(b->tail[slot]);
    b->tail[slot] = xstrdup(line);
    say(b, line);
}

/* A step of another machine's: the kernel runs it where binfmt_misc knows an interpreter. */
static bool is_foreign(const struct building *b)
{
    struct image_platform own, target;
    return image_platform_parse(NULL, &own, NULL) == 0 &&
           image_platform_parse(b->platform, &target, NULL) == 0 &&
           !image_platform_match(&own, &target);
}

static int build_failed(struct building *b, int status, struct err *err)
{
    struct strbuf tail AUTOBUF = STRBUF_INIT;
    size_t first = b->lines > TAIL ? b->lines - TAIL : 0;
    for (size_t i = first; i < b->lines; i++)
        strbuf_addf(&tail, "\n  | %s", b->tail[i % TAIL]);
    if (is_foreign(b) && strcasestr(tail.buf, "exec format error"))
        strbuf_addf(&tail,
                    "\nthis machine runs no programs of %s: apt-get install qemu-user-static",
                    b->platform);
    char how[64];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof(how), "ended by signal %d", WTERMSIG(status));
    else
        snprintf(how, sizeof(how), "exit code %d", WEXITSTATUS(status));
    return err_set(err, ERR_INVALID, "%s%sthe builder failed with %s%s", b->step ? b->step : "",
                   b->step ? ": " : "", how, tail.buf);
}

static int full_names(const struct build_request *q, char ***names, struct err *err)
{
    *names = xcalloc(1, sizeof(**names));
    size_t tags = q->build->tags.n;
    for (size_t i = 0; i < tags + strv_len(q->names); i++) {
        const char *text = i < tags ? q->build->tags.v[i] : q->names[i - tags];
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        if (reference_parse(text, &ref, err) < 0)
            return -1;
        if (ref.digest)
            return err_set(err, ERR_INVALID, "image name \"%s\": a build cannot have a digest",
                           text);
        char *name AUTOFREE = reference_name(&ref);
        strv_push(names, name);
    }
    return 0;
}

/* The image is here already, as after a build whose steps all came from the cache. */
static int name_existing(struct image_store *store, const struct image *image, char **names,
                         struct err *err)
{
    for (size_t i = 0; names[i]; i++) {
        bool has = false;
        for (size_t k = 0; image->names[k] && !has; k++)
            has = streq(image->names[k], names[i]);
        if (!has && image_tag(store, image->id, names[i], err) < 0)
            return -1;
    }
    return 0;
}

static void set_labels(json_t *labels, const struct key_values *list)
{
    for (size_t i = 0; i < list->n; i++)
        json_object_set_new(labels, list->v[i].key,
                            json_text(list->v[i].value ? list->v[i].value : ""));
}

/* Layers upon nothing are the same for all platforms, and so buildah takes them from its cache with
 * the config of another one. */
static void set_platform(json_t *config, const char *text)
{
    struct image_platform p;
    if (image_platform_parse(text, &p, NULL) < 0)
        return;
    jset_str(config, "os", p.os);
    jset_str(config, "architecture", p.architecture);
    if (p.variant[0])
        jset_str(config, "variant", p.variant);
    else
        json_object_del(config, "variant");
}

/* The config that buildah made, with the labels of the build: given to buildah each would be a step
 * of its own. *id is its digest. */
static int labelled_config(struct building *b, const char *built, char **text, char id[72],
                           struct err *err)
{
    char *plain AUTOFREE = NULL;
    if (buildah_config(&b->buildah, built, &plain, err) < 0)
        return -1;
    json_t *config AUTOJSON = json_loads(plain, 0, NULL);
    json_t *section = json_object_get(config, "config");
    if (!json_is_object(section))
        return err_set(err, ERR_CORRUPT, "the builder's image has no config");
    if (!json_is_object(json_object_get(section, "Labels")))
        json_object_set_new(section, "Labels", json_object());
    json_t *labels = json_object_get(section, "Labels");
    set_labels(labels, &b->request->build->labels);
    set_labels(labels, &b->request->labels);
    if (b->from_scratch)
        set_platform(config, b->platform);
    *text = json_dumps(config, JSON_COMPACT);
    digest_of(*text, strlen(*text), id);
    return 0;
}

/* The image that the builder has made, into the store; manifests: where it is one of several. */
static int take_result(struct building *b, const char *id_file, char **names, json_t *manifests,
                       struct err *err)
{
    struct image_store *store = b->buildah.store;
    struct manifest_descriptor m;
    struct image *image = NULL;
    char *built AUTOFREE = NULL, *config AUTOFREE = NULL, id[72];
    if (fs_read(id_file, 256, &built, NULL, err) < 0)
        return -1;
    built[strcspn(built, "\n")] = '\0';
    if (!digest_valid(built))
        return err_set(err, ERR_CORRUPT, "the builder names its image \"%s\"", built);
    if (labelled_config(b, built, &config, id, err) < 0)
        return -1;
    if (!manifests && image_find(store, id, NULL, &image, NULL) == 0 && image->layer_dirs) {
        int rc = name_existing(store, image, names, err);
        image_free(image);
        return rc;
    }
    image_free(image);
    if (buildah_give(&b->buildah, built, config, &m, err) < 0)
        return -1;
    if (!manifests)
        return publish_entry(store, MEDIA_OCI_MANIFEST, m.digest, m.size,
                             (const char *const *)names, NULL, false, NULL, err);
    json_t *parsed AUTOJSON = json_loads(config, 0, NULL), *platform = json_object();
    static const char *const members[] = {"architecture", "os", "variant"};
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        jset_str(platform, members[i], jstr(parsed, members[i], NULL));
    json_array_append_new(manifests,
                          json_pack("{s:s,s:s,s:I,s:o}", "mediaType", MEDIA_OCI_MANIFEST, "digest",
                                    m.digest, "size", (json_int_t)m.size, "platform", platform));
    return 0;
}

static int build_one(struct building *b, char **names, json_t *manifests, struct err *err)
{
    char *id_file AUTOFREE = work_path(&b->buildah.work, "id");
    if (make_command(b, id_file, err) < 0)
        return -1;
    struct stream_command c = {.argv = (const char *const *)b->argv,
                               .env = (const char *const *)b->buildah.env,
                               .line = on_line,
                               .ctx = b,
                               .cancel = b->request->cancel};
    if (stream_run(&c, err) < 0)
        return -1;
    if (!WIFEXITED(c.status) || WEXITSTATUS(c.status))
        return build_failed(b, c.status, err);
    return take_result(b, id_file, names, manifests, err);
}

static void forget_output(struct building *b)
{
    strv_free(b->argv);
    free(b->step);
    for (size_t i = 0; i < TAIL; i++)
        free(b->tail[i]);
    b->argv = NULL;
    b->step = NULL;
    memset(b->tail, 0, sizeof(b->tail));
    b->lines = 0;
}

/* One platform after the other, each from the cache of its own; nothing has a name before all are
 * made. */
static int run(struct building *b, struct err *err)
{
    const char **platforms AUTOFREE = build_platforms(b->request);
    char **names AUTOSTRV = NULL;
    if (full_names(b->request, &names, err) < 0 || find_dockerfile(b, err) < 0)
        return -1;
    b->several = platforms[0] && platforms[1];
    json_t *manifests AUTOJSON = b->several ? json_array() : NULL;
    size_t i = 0;
    do {
        b->platform = platforms[i];
        int rc = build_one(b, names, manifests, err);
        forget_output(b);
        if (rc < 0)
            return b->several ? err_wrap(err, "platform %s", b->platform) : -1;
    } while (platforms[i] && platforms[++i]);
    return manifests ? publish_index(&b->buildah.work, manifests, (const char *const *)names, err)
                     : 0;
}

int call_build(struct image_store *store, const struct build_request *q, struct err *err)
{
    struct building b = {.request = q};
    int rc = buildah_open(store, q->cancel, &b.buildah, err);
    if (rc == 0)
        rc = run(&b, err);
    buildah_release(&b.buildah);
    free(b.dockerfile);
    map_foreach (&b.given, it)
        free(it->value);
    map_release(&b.given);
    return rc < 0 ? err_wrap(err, "build of service \"%s\"", q->service) : 0;
}
