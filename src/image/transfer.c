#include "image/transfer.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/mem.h"
#include "image/module.h"

/* Loaded once and kept: a module with threads and atexit handlers is not unloaded safely. */
static struct {
    pthread_once_t once;
    const struct image_module *module;
    struct err err;
} loaded = {.once = PTHREAD_ONCE_INIT};

static void load(void)
{
    char *path AUTOFREE = paths_companion("compose-image.so");
    if (!path) {
        err_set(&loaded.err, ERR_UNAVAILABLE,
                "compose-image.so is missing: it belongs beside the compose program or in "
                "../libexec/compose");
        return;
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct image_module *module = handle ? dlsym(handle, "image_module") : NULL;
    if (!module)
        err_set(&loaded.err, ERR_UNAVAILABLE, "the image module cannot be loaded: %s", dlerror());
    else if (module->version != IMAGE_MODULE_VERSION)
        err_set(&loaded.err, ERR_UNAVAILABLE, "%s is of another version than this program", path);
    else
        loaded.module = module;
}

static const struct image_module *module_get(struct err *err)
{
    pthread_once(&loaded.once, load);
    if (!loaded.module)
        err_set(err, loaded.err.kind, "%s", loaded.err.msg);
    return loaded.module;
}

int image_pull(struct image_store *store, const struct pull_request *request, struct image **image,
               bool *changed, struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->pull(store, request, image, changed, err) : -1;
}

int image_resolve(const struct resolve_request *request, char **digest, struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->resolve(request, digest, err) : -1;
}

int image_push(struct image_store *store, const struct push_request *request, char **digest,
               struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->push(store, request, digest, err) : -1;
}

int image_unpack(struct image_store *store, struct image **image, image_cancel cancel,
                 struct err *err)
{
    if ((*image)->layer_dirs)
        return 0;
    const struct image_module *m = module_get(err);
    return m ? m->unpack(store, image, cancel, err) : -1;
}

int image_compare(struct image_store *store, bool mend, void (*report)(void *ctx, const char *line),
                  void *ctx, size_t *findings, image_cancel cancel, struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->compare(store, mend, report, ctx, findings, cancel, err) : -1;
}

int image_load(struct image_store *store, const struct load_request *request, char ***names,
               struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->load(store, request, names, err) : -1;
}

int image_import(struct image_store *store, const struct import_request *request, char **id,
                 struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->import(store, request, id, err) : -1;
}

int image_save(struct image_store *store, const struct save_request *request, struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->save(store, request, err) : -1;
}

int image_commit(struct image_store *store, const struct commit_request *request, char **id,
                 struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->commit(store, request, id, err) : -1;
}

int image_export(struct image_store *store, const char *dir, int fd, image_cancel cancel,
                 struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->export(store, dir, fd, cancel, err) : -1;
}

int image_bases(const struct build_request *request, struct build_base **bases, size_t *n,
                struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->bases(request, bases, n, err) : -1;
}

int image_lint(struct image_store *store, const struct build_request *request,
               void (*warn)(void *ctx, const char *rule, const char *message, size_t line),
               void *ctx, struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->lint(store, request, warn, ctx, err) : -1;
}

int image_build(struct image_store *store, const struct build_request *request, struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->build(store, request, err) : -1;
}

int artifact_push(struct image_store *store, const struct artifact_push_request *request,
                  struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->artifact_push(store, request, err) : -1;
}

int artifact_pull(const struct artifact_pull_request *request, struct artifact *artifact,
                  struct err *err)
{
    const struct image_module *m = module_get(err);
    return m ? m->artifact_pull(request, artifact, err) : -1;
}

void artifact_release(struct artifact *a)
{
    for (size_t i = 0; i < a->files_n; i++) {
        free(a->files[i].media_type);
        free(a->files[i].data);
        json_decref(a->files[i].annotations);
    }
    free(a->files);
    *a = (struct artifact){0};
}
