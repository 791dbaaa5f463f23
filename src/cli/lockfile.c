#include "cli/lockfile.h"

#include <stdlib.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/image_jobs.h"
#include "image/image.h"
#include "image/reference.h"

enum { LOCK_VERSION = 1 };

static void entry_release(struct lock_entry *e)
{
    free(e->image);
    free(e->platform);
    free(e->digest);
    free(e->time);
}

void lockfile_release(struct lockfile *lock)
{
    vec_foreach (&lock->entries, e)
        entry_release(e);
    vec_release(&lock->entries);
    free(lock->path);
    lock->path = NULL;
}

int lockfile_key(const char *image, const char *platform, char **key, char text[96],
                 struct err *err)
{
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    struct image_platform p;
    if (reference_parse(image, &ref, err) < 0 || image_platform_parse(platform, &p, err) < 0)
        return -1;
    image_platform_format(&p, text);
    if (ref.tag) {
        free(ref.digest);
        ref.digest = NULL;
    }
    *key = reference_familiar(&ref);
    return 0;
}

struct lock_entry *lockfile_find(const struct lockfile *lock, const char *image,
                                 const char *platform)
{
    vec_foreach (&lock->entries, e)
        if (streq(e->image, image) && streq(e->platform, platform))
            return e;
    return NULL;
}

void lockfile_set(struct lockfile *lock, const char *image, const char *platform,
                  const char *digest, const char *time)
{
    struct lock_entry *e = lockfile_find(lock, image, platform);
    if (!e) {
        vec_push(&lock->entries, (struct lock_entry){xstrdup(image), xstrdup(platform),
                                                     xstrdup(digest), xstrdup(time)});
        return;
    }
    if (streq(e->digest, digest))
        return;
    free(e->digest);
    free(e->time);
    e->digest = xstrdup(digest);
    e->time = xstrdup(time);
}

static int add_entry(struct lockfile *lock, const json_t *item, struct err *err)
{
    const char *image = jstr(item, "image", NULL), *platform = jstr(item, "platform", NULL);
    const char *digest = jstr(item, "digest", "");
    if (!image || !platform || !digest_valid(digest))
        return err_set(err, ERR_INVALID,
                       "%s: entry %zu: want image, platform and a digest of the form sha256:HEX",
                       lock->path, lock->entries.n + 1);
    if (lockfile_find(lock, image, platform))
        return err_set(err, ERR_INVALID, "%s: %s for %s is there twice", lock->path, image,
                       platform);
    lockfile_set(lock, image, platform, digest, jstr(item, "time", ""));
    return 0;
}

int lockfile_read(const struct project *p, struct lockfile *lock, bool *found, struct err *err)
{
    *lock = (struct lockfile){.path = path_join(p->working_dir, "compose.lock")};
    bool there = fs_exists(lock->path);
    if (found)
        *found = there;
    if (!there)
        return 0;
    json_t *j AUTOJSON = NULL;
    int rc = json_read(lock->path, &j, err);
    json_t *images = json_object_get(j, "images"), *item;
    size_t i;
    if (rc == 0 && (jint(j, "version", 0) != LOCK_VERSION || !json_is_array(images)))
        rc = err_set(err, ERR_INVALID, "%s: not a lock file of version %d", lock->path,
                     LOCK_VERSION);
    json_array_foreach (images, i, item)
        rc = rc == 0 ? add_entry(lock, item, err) : rc;
    if (rc < 0)
        lockfile_release(lock);
    return rc;
}

static int compare(const void *a, const void *b)
{
    const struct lock_entry *x = a, *y = b;
    int order = strcmp(x->image, y->image);
    return order ? order : strcmp(x->platform, y->platform);
}

char *lockfile_text(struct lockfile *lock)
{
    if (lock->entries.n)
        qsort(lock->entries.v, lock->entries.n, sizeof(*lock->entries.v), compare);
    json_t *images = json_array();
    vec_foreach (&lock->entries, e)
        json_array_append_new(images,
                              json_pack("{s:s, s:s, s:s, s:s}", "image", e->image, "platform",
                                        e->platform, "digest", e->digest, "time", e->time));
    json_t *j AUTOJSON = json_pack("{s:i, s:o}", "version", LOCK_VERSION, "images", images);
    char *text AUTOFREE = json_dumps(j, JSON_INDENT(2));
    return xasprintf("%s\n", text);
}

struct build_pin *lockfile_pins(const struct lockfile *lock)
{
    struct build_pin *pins = xcalloc(lock->entries.n + 1, sizeof(*pins));
    for (size_t i = 0; i < lock->entries.n; i++) {
        const struct lock_entry *e = &lock->entries.v[i];
        pins[i] = (struct build_pin){e->image, e->platform, e->digest};
    }
    return pins;
}

/* ---- up --locked */

/* "postgres:16" to "postgres:16@sha256:...", in the project's arena. */
static int pin(const struct lockfile *lock, struct project *p, const struct service *s,
               const char *image, const char *platform, const char **out, struct err *err)
{
    char *key AUTOFREE = NULL, text[96];
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    if (lockfile_key(image, platform, &key, text, err) < 0 || reference_parse(image, &ref, err) < 0)
        return err_wrap(err, "service \"%s\"", s->name);
    const struct lock_entry *e = lockfile_find(lock, key, text);
    if (!e)
        return err_set(err, ERR_NOT_FOUND,
                       "service \"%s\": image %s for %s is not in %s: run \"compose lock\"",
                       s->name, key, text, lock->path);
    if (ref.digest && !streq(ref.digest, e->digest))
        return err_set(err, ERR_CONFLICT,
                       "service \"%s\": image %s is locked to another digest in %s (%s)", s->name,
                       image, lock->path, e->digest);
    char *pinned AUTOFREE = ref.digest ? xstrdup(image) : xasprintf("%s@%s", key, e->digest);
    *out = arena_strdup(p->arena, pinned);
    return 0;
}

static void put(struct project *p, struct node *map, const char *key, const char *text)
{
    struct node *old = node_get(map, key);
    if (old)
        node_put(p->arena, map, key, node_new_string(p->arena, text, old->mark));
}

static int pin_mounts(const struct lockfile *lock, struct project *p, struct service *s,
                      struct node *section, struct err *err)
{
    struct node *list = node_get(section, "volumes");
    for (size_t i = 0; i < s->mounts_n; i++) {
        struct service_mount *m = &s->mounts[i];
        const char *old = m->source;
        if (m->type != MOUNT_IMAGE || !old || image_is_built(p, old))
            continue;
        if (pin(lock, p, s, old, NULL, &m->source, err) < 0)
            return -1;
        for (size_t k = 0; node_is(list, NODE_SEQUENCE) && k < list->count; k++) {
            const char *target = node_get_str(list->items[k], "target");
            if (target && streq(target, m->target))
                put(p, list->items[k], "source", m->source);
        }
    }
    return 0;
}

/* A step that has the service's image is pinned with it, or built. */
static int pin_pre_start(const struct lockfile *lock, struct project *p, struct service *s,
                         struct node *section, struct err *err)
{
    struct node *list = node_get(section, "pre_start");
    for (size_t i = 0; i < s->pre_start_n; i++) {
        struct hook *step = &s->pre_start[i];
        if (!step->image || image_is_built(p, step->image))
            continue;
        if (pin(lock, p, s, step->image, s->platform, &step->image, err) < 0)
            return -1;
        if (node_is(list, NODE_SEQUENCE) && i < list->count)
            put(p, list->items[i], "image", step->image);
    }
    return 0;
}

static int apply(const struct lockfile *lock, struct project *p, const bool *selected,
                 struct err *err)
{
    struct node *services = node_get(p->document, "services");
    for (size_t i = 0; i < p->services_n; i++) {
        struct service *s = &p->services[i];
        struct node *section = node_get(services, s->name);
        if (!selected[i])
            continue;
        if (s->image && !s->build) {
            if (pin(lock, p, s, s->image, s->platform, &s->image, err) < 0)
                return -1;
            put(p, section, "image", s->image);
        }
        if (pin_mounts(lock, p, s, section, err) < 0 || pin_pre_start(lock, p, s, section, err) < 0)
            return -1;
    }
    return 0;
}

int lockfile_use(struct lockfile *lock, struct project *p, const bool *selected, struct err *err)
{
    bool found;
    if (lockfile_read(p, lock, &found, err) < 0)
        return -1;
    int rc = found ? apply(lock, p, selected, err)
                   : err_set(err, ERR_NOT_FOUND, "--locked: there is no %s: run \"compose lock\"",
                             lock->path);
    if (rc < 0)
        lockfile_release(lock);
    return rc;
}
