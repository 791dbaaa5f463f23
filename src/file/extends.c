#include <string.h>

#include "base/mem.h"
#include "file/canonical.h"
#include "file/history.h"
#include "file/loader.h"
#include "file/merge.h"
#include "file/paths.h"
#include "file/remote.h"
#include "file/validate.h"

/* Where services are looked up: a document, or a whole file that another one names. */
struct extended_file {
    const char *path, *name;
    struct node *services;
    const struct yaml_document *docs; /* whose !reset and !override count */
    size_t docs_n;
    bool broken;
};

/* One step of a chain of extends, on the stack. */
struct link {
    const struct link *up;
    const struct extended_file *file;
    const char *service;
    struct mark mark; /* of the extends: that led on from it */
};

static struct node *resolve(struct scope *scope, struct extended_file *file, const char *name,
                            const struct link *chain, int depth);

static void service_place(struct place at[2], const char *name)
{
    at[0] = (struct place){.key = "services"};
    at[1] = (struct place){.up = &at[0], .key = name};
}

static struct node *fail(struct scope *scope, const char *service, struct node *n,
                         const struct mark *mark, const char *message)
{
    struct place at[2];
    service_place(at, service);
    pass_error(&scope->loader->pass, &at[1], mark, "%s", message);
    n->faulty = true;
    return n;
}

/* The file's documents merged in the long form, with paths against the project. */
static struct extended_file *read_file(struct scope *scope, const char *path,
                                       const struct mark *mark)
{
    struct loader *l = scope->loader;
    const char *base = paths_relative(l->pass.arena, scope->dir, paths_dir(l->pass.arena, path));
    const char *key = arena_printf(l->pass.arena, "%s|%s|%p", base ? base : "", path,
                                   (const void *)scope->env);
    struct extended_file *f = map_get(&l->extended, key);
    if (f)
        return f;
    f = arena_new_of(l->pass.arena, struct extended_file);
    map_set(&l->extended, key, f);
    struct loaded_file file;
    f->path = path;
    f->broken = true;
    if (loader_read(l, path, mark, &file))
        return f;
    f->name = file.name;
    f->docs = file.stream.docs;
    f->docs_n = file.stream.n;
    struct node *root = node_new(l->pass.arena, NODE_MAPPING, (struct mark){.file = file.name});
    for (size_t i = 0; i < file.stream.n; i++) {
        const struct yaml_document *doc = &file.stream.docs[i];
        if (doc->root->kind != NODE_MAPPING) {
            pass_error(&l->pass, NULL, &doc->root->mark, "the top level must be a mapping");
            return f;
        }
        if (!l->options->no_interpolate)
            interpolate_document(&l->pass, doc->root, scope->env, &l->unset);
        history_document(
            l->origins.history, l->pass.arena,
            (struct history_layer){.doc = doc, .path = path, .dir = scope->dir, .extended = true});
        merge_reset(root, doc->resets, doc->resets_n);
        root = merge_documents(&l->pass, root, doc->root);
        merge_unique(&l->pass, root);
    }
    validate_extended(&l->pass, l->schema, root);
    canonical_document(&l->pass, root, l->options->no_interpolate);
    paths_resolve(&l->pass, root, base ? base : paths_dir(l->pass.arena, path), l->home);
    f->services = node_get(root, "services");
    f->broken = !node_is(f->services, NODE_MAPPING);
    if (f->broken)
        pass_error(&l->pass, NULL, mark, "cannot extend from %s: it has no services", file.name);
    return f;
}

static bool closes_cycle(struct scope *scope, const struct link *chain,
                         const struct extended_file *file, const char *service)
{
    const struct link *at;
    for (at = chain; at; at = at->up)
        if (streq(at->service, service) && streq(at->file->path, file->path))
            break;
    if (!at)
        return false;
    const struct pass *p = &scope->loader->pass;
    char *path = xstrdup(service);
    for (const struct link *l = chain; l; l = l->up) {
        char *longer = xasprintf("%s -> %s", l->service, path);
        free(path);
        path = longer;
        if (l == at)
            break;
    }
    pass_error(p, NULL, &chain->mark, "circular extends: %s", path);
    free(path);
    for (const struct link *l = chain; l != at; l = l->up)
        diag_note(p->diag, &l->up->mark, "\"%s\" extends \"%s\" here", l->up->service, l->service);
    return true;
}

/* The lines of a service: up to the next one. */
static struct origin_range lines_of(const struct extended_file *file, const struct node_pair *pair)
{
    const struct node_pair *next = pair + 1;
    struct origin_range r = {.file = pair->key_mark.file, .first = pair->key_mark.line};
    if (next < file->services->pairs + file->services->count && r.file &&
        next->key_mark.file == r.file && next->key_mark.line >= r.first)
        r.last = next->key_mark.line > r.first ? next->key_mark.line - 1 : r.first;
    return r;
}

/* The service that extends: names, or NULL where it cannot be had (reported). */
static struct node *find_base(struct scope *scope, struct extended_file *file,
                              const struct link *here, struct node *extends, int depth)
{
    struct loader *l = scope->loader;
    struct arena *a = l->pass.arena;
    struct place at[2];
    service_place(at, here->service);
    struct node *service = extends->kind == NODE_MAPPING ? node_get(extends, "service") : extends;
    struct node *path = extends->kind == NODE_MAPPING ? node_get(extends, "file") : NULL;
    const char *ref = node_str(service);
    if (extends->faulty || (service && service->faulty))
        return NULL;
    if (!ref) {
        pass_error(&l->pass, &at[1], &extends->mark, "extends: missing key \"service\"");
        return NULL;
    }
    if (node_given(path)) {
        if (!node_str(path)) {
            pass_error(&l->pass, &at[1], &path->mark, "extends.file: want a string, not a %s",
                       node_kind_name(path));
            return NULL;
        }
        const char *where = remote_is(path->string)
                                ? remote_fetch(&l->pass, l->options, path->string, &path->mark)
                                : paths_join(a, *path->string == '/' ? "" : scope->dir,
                                             path->string);
        file = where ? read_file(scope, where, &path->mark) : NULL;
        if (!file || file->broken)
            return NULL;
    }
    if (!node_get(file->services, ref)) {
        struct closest near = {.word = ref};
        for (size_t i = 0; i < file->services->count; i++)
            closest_try(&near, file->services->pairs[i].key);
        pass_error(&l->pass, &at[1], &service->mark, "cannot extend service \"%s\": not in %s", ref,
                   file->name);
        diag_suggest(l->pass.diag, near.best);
        return NULL;
    }
    origins_extends(l->pass.origins,
                    (struct origin_extends){
                        .service = here->service,
                        .base = ref,
                        .mark = extends->mark,
                        .base_range = lines_of(file, node_pair(file->services, ref)),
                    });
    if (closes_cycle(scope, here, file, ref))
        return NULL;
    if (depth >= EXTENDS_DEPTH_MAX) {
        pass_error(&l->pass, &at[1], &extends->mark, "extends nested deeper than %d",
                   EXTENDS_DEPTH_MAX);
        return NULL;
    }
    return resolve(scope, file, ref, here, depth + 1);
}

/* Applies the file's !reset and !override to what the service starts from. */
static struct node *reset_base(struct scope *scope, const struct extended_file *file,
                               const char *name, struct node *base)
{
    struct arena *a = scope->loader->pass.arena;
    struct node *services = node_new(a, NODE_MAPPING, base->mark);
    struct node *root = node_new(a, NODE_MAPPING, base->mark);
    node_put(a, services, name, base);
    node_put(a, root, "services", services);
    for (size_t i = 0; i < file->docs_n; i++)
        merge_reset(root, file->docs[i].resets, file->docs[i].resets_n);
    struct node *rest = node_get(services, name);
    return rest ? rest : node_new(a, NODE_MAPPING, base->mark);
}

/* The service with its extends: carried out; done once for each. */
static struct node *resolve(struct scope *scope, struct extended_file *file, const char *name,
                            const struct link *chain, int depth)
{
    struct loader *l = scope->loader;
    struct node *service = node_get(file->services, name);
    if (!node_is(service, NODE_MAPPING))
        return service; /* the schema says what it must be */
    struct node *extends = node_get(service, "extends");
    if (!extends)
        return service;
    struct link here = {.up = chain, .file = file, .service = name, .mark = extends->mark};
    if (extends->kind != NODE_MAPPING && extends->kind != NODE_STRING) {
        node_del(service, "extends");
        return fail(scope, name, service, &extends->mark, "extends: want a string or a mapping");
    }
    struct node *base = find_base(scope, file, &here, extends, depth);
    if (node_is(base, NODE_NULL))
        return service; /* nothing to extend: config shows the key, as the reference does */
    node_del(service, "extends");
    if (!base) {
        service->faulty = true;
        return service;
    }
    if (base->kind != NODE_MAPPING)
        return fail(scope, name, service, &base->mark, "the service that it extends is no mapping");
    if (pass_full(&l->pass, &service->mark))
        return service;
    base = reset_base(scope, file, name, node_clone(l->pass.arena, base));
    struct node *merged = merge_services(&l->pass, name, base, service);
    merged->mark = service->mark;
    node_del(merged, "extends");
    node_pair(file->services, name)->value = merged;
    return merged;
}

void extends_apply(struct scope *scope, const struct loaded_file *file,
                   const struct yaml_document *doc)
{
    struct node *services = node_get(doc->root, "services");
    if (!node_is(services, NODE_MAPPING))
        return;
    struct extended_file self = {
        .path = file->path, .name = file->name, .services = services, .docs = doc, .docs_n = 1};
    for (size_t i = 0; i < services->count; i++)
        resolve(scope, &self, services->pairs[i].key, NULL, 0);
}

void extends_release(struct loader *l)
{
    map_release(&l->extended);
}
