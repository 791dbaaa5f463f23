#include "engine/mounts.h"

#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"
#include "volume/volume.h"

typedef VEC(struct container_mount) mount_list;

static char *dup_or_null(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

struct container_mount container_mount_copy(const struct container_mount *m)
{
    return (struct container_mount){
        .type = dup_or_null(m->type),
        .name = dup_or_null(m->name),
        .source = dup_or_null(m->source),
        .target = dup_or_null(m->target),
        .read_only = m->read_only,
        .anonymous = m->anonymous,
    };
}

void container_mounts_free(struct container_mount *mounts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(mounts[i].type);
        free(mounts[i].name);
        free(mounts[i].source);
        free(mounts[i].target);
    }
    free(mounts);
}

const struct service_mount *service_mount_at(const struct service *s, const char *target)
{
    for (size_t i = 0; i < s->mounts_n; i++)
        if (streq(s->mounts[i].target, target))
            return &s->mounts[i];
    return NULL;
}

static bool has_target(const mount_list *list, const char *target)
{
    for (size_t i = 0; i < list->n; i++)
        if (streq(list->v[i].target, target))
            return true;
    return false;
}

static bool tmpfs_at(const struct service *s, const char *target)
{
    size_t len = strlen(target);
    for (size_t i = 0; i < s->tmpfs.n; i++)
        if (strncmp(s->tmpfs.v[i], target, len) == 0 &&
            (s->tmpfs.v[i][len] == '\0' || s->tmpfs.v[i][len] == ':'))
            return true;
    return false;
}

/* The anonymous volume that the container (or the one it replaces) already has there, or a new one.
 */
static int anonymous_volume(const struct prepare_job *j, const char *target, bool read_only,
                            mount_list *list, struct err *err)
{
    struct volume_state v = {0};
    const struct container_mount *kept = NULL;
    for (size_t i = 0; i < j->record.mounts_n; i++) {
        const struct container_mount *m = &j->record.mounts[i];
        if (m->anonymous && m->name && streq(m->target, target))
            kept = m;
    }
    if (!kept || volume_load(j->paths, kept->name, &v, NULL) < 0) {
        if (volume_create_anonymous(j->paths, j->record.project, &v, err) < 0)
            return -1;
    }
    struct container_mount m = {
        .type = xstrdup("volume"),
        .name = xstrdup(v.name),
        .source = xstrdup(v.mountpoint),
        .target = xstrdup(target),
        .read_only = read_only,
        .anonymous = true,
    };
    volume_state_release(&v);
    vec_push(list, m);
    return 0;
}

static int named_volume(const struct prepare_job *j, const struct service_mount *sm,
                        mount_list *list, struct err *err)
{
    const struct volume *def = project_volume(j->project, sm->source);
    struct volume implicit = {.key = sm->source, .name = sm->source};
    struct volume_state v;
    if (volume_ensure(j->paths, j->record.project, def ? def : &implicit, NULL, &v, err) < 0)
        return -1;
    struct container_mount m = {
        .type = xstrdup("volume"),
        .name = xstrdup(v.name),
        .source = xstrdup(v.mountpoint), /* subpath: the bundle's, which resolves it safely */
        .target = xstrdup(sm->target),
        .read_only = sm->read_only,
    };
    volume_state_release(&v);
    vec_push(list, m);
    return 0;
}

static int bind_mount(const struct service_mount *sm, mount_list *list, struct err *err)
{
    if (!fs_exists(sm->source)) {
        if (!sm->create_host_path)
            return err_set(err, ERR_NOT_FOUND,
                           "invalid mount config for type \"bind\": bind source path does not "
                           "exist: %s",
                           sm->source);
        if (fs_mkdir_p(sm->source, 0755, err) < 0)
            return -1;
    }
    struct container_mount m = {
        .type = xstrdup("bind"),
        .source = xstrdup(sm->source),
        .target = xstrdup(sm->target),
        .read_only = sm->read_only,
    };
    vec_push(list, m);
    return 0;
}

static int image_mount(const struct prepare_job *j, const struct service_mount *sm,
                       mount_list *list, struct err *err)
{
    struct image *image = NULL;
    char *path = NULL;
    int rc = image_find(j->images, sm->source, NULL, &image, err);
    if (rc == 0)
        rc = bundle_mount_image(j->paths, j->record.id, list->n, image, &path, err);
    if (rc == 0) {
        struct container_mount m = {
            .type = xstrdup("image"),
            .name = xstrdup(image->id), /* says that the image is in use */
            .source = path,
            .target = xstrdup(sm->target),
            .read_only = true,
        };
        vec_push(list, m);
    }
    image_free(image);
    return rc < 0 ? err_wrap(err, "image mount at %s (%s)", sm->target, sm->source) : 0;
}

static int check_target(const char *target, struct err *err)
{
    if (target[0] != '/')
        return err_set(err, ERR_INVALID, "invalid mount path: '%s': it must be absolute", target);
    return target[1] ? 0 : err_set(err, ERR_INVALID, "invalid mount path: it can't be '/'");
}

static int add_service_mount(const struct prepare_job *j, const struct service_mount *sm,
                             mount_list *list, struct err *err)
{
    if (check_target(sm->target, err) < 0)
        return -1;
    switch (sm->type) {
    case MOUNT_BIND:
        return bind_mount(sm, list, err);
    case MOUNT_VOLUME:
        return sm->source ? named_volume(j, sm, list, err)
                          : anonymous_volume(j, sm->target, sm->read_only, list, err);
    case MOUNT_TMPFS: {
        struct container_mount m = {
            .type = xstrdup("tmpfs"), .target = xstrdup(sm->target), .read_only = sm->read_only};
        vec_push(list, m);
        return 0;
    }
    case MOUNT_IMAGE:
        return image_mount(j, sm, list, err);
    case MOUNT_NPIPE:
    case MOUNT_CLUSTER:
        break;
    }
    return err_set(err, ERR_INVALID, "mount %s: type %s does not exist on Linux", sm->target,
                   sm->type == MOUNT_NPIPE ? "npipe" : "cluster");
}

int mounts_resolve(const struct prepare_job *j, struct container_mount **out, size_t *n,
                   struct err *err)
{
    mount_list list = {0};
    int rc = 0;
    for (size_t i = 0; i < j->service->mounts_n && rc == 0; i++)
        rc = add_service_mount(j, &j->service->mounts[i], &list, err);
    for (size_t i = 0; i < j->inherited_n && rc == 0; i++)
        if (!has_target(&list, j->inherited[i].target)) {
            struct container_mount m = container_mount_copy(&j->inherited[i]);
            vec_push(&list, m);
        }
    char **volumes = j->image->config.volumes;
    for (size_t i = 0; volumes && volumes[i] && rc == 0; i++)
        if (!has_target(&list, volumes[i]) && !tmpfs_at(j->service, volumes[i]))
            rc = anonymous_volume(j, volumes[i], false, &list, err);
    if (rc < 0) {
        container_mounts_free(list.v, list.n);
        return -1;
    }
    *out = list.v;
    *n = list.n;
    return 0;
}

static enum mount_type mount_type_of(const char *name)
{
    if (streq(name, "bind"))
        return MOUNT_BIND;
    if (streq(name, "tmpfs"))
        return MOUNT_TMPFS;
    return streq(name, "image") ? MOUNT_IMAGE : MOUNT_VOLUME;
}

struct bundle_mount *bundle_mounts_of(const struct service *s, const struct container_mount *mounts,
                                      size_t n)
{
    struct bundle_mount *out = xcalloc(n, sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = (struct bundle_mount){
            .type = mount_type_of(mounts[i].type),
            .source = mounts[i].source,
            .target = mounts[i].target,
            .read_only = mounts[i].read_only,
            .from = service_mount_at(s, mounts[i].target),
        };
    return out;
}
