#include "file/load.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/vec.h"
#include "file/canonical.h"
#include "file/explain.h"
#include "file/history.h"
#include "file/loader.h"
#include "file/merge.h"
#include "file/normalize.h"
#include "file/paths.h"
#include "file/rules.h"
#include "file/select.h"
#include "file/service_files.h"
#include "file/setting.h"
#include "file/template.h"
#include "file/typed.h"
#include "file/validate.h"

int loader_read(struct loader *l, const char *path, const struct mark *mark,
                struct loaded_file *out)
{
    struct err err AUTOERR = ERR_INIT;
    char *text = NULL;
    size_t len = 0;
    bool standard_input = streq(path, "-");
    int rc = standard_input ? fs_read_fd(STDIN_FILENO, YAML_FILE_MAX, &text, &len, &err)
                            : fs_read(path, YAML_FILE_MAX, &text, &len, &err);
    out->path = path;
    out->name = standard_input ? "<stdin>" : paths_display(l->pass.arena, l->cwd, path);
    out->stream = (struct yaml_stream){0};
    if (rc) {
        pass_error(&l->pass, NULL, mark, "%s", err.msg);
        return -1;
    }
    struct stat st;
    bool lasts = !standard_input && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    if (lasts)
        diag_source_at(l->pass.diag, out->name, path);
    else
        diag_source(l->pass.diag, out->name, text, len);
    origins_file(&l->origins, l->pass.arena, out->name, mark);
    size_t errors = l->pass.diag->errors;
    rc = yaml_parse(l->pass.arena, out->name, text, len, &l->origins, &out->stream, l->pass.diag);
    if (lasts)
        free(text);
    if (l->pass.diag->errors > errors)
        origins_note(&l->pass, NULL, &(struct mark){.file = out->name});
    return rc;
}

static void check_version(struct loader *l, struct node *root, const char *file)
{
    const struct node_pair *version = node_pair(root, "version");
    if (!version)
        return;
    const struct node *v = version->value;
    if (v->kind != NODE_STRING || v->tag == TAG_TIMESTAMP)
        pass_error(&l->pass, NULL, &v->mark,
                   "version: want a string, not %s%s: remove the key, which has no effect",
                   v->kind == NODE_NULL  ? ""
                   : v->kind == NODE_INT ? "an "
                                         : "a ",
                   v->kind == NODE_NULL ? "nothing" : node_kind_name(v));
    else if (!map_set(&l->obsolete, file, l))
        pass_warning(&l->pass, NULL, &version->key_mark,
                     "the attribute \"version\" is obsolete and has no effect: remove it");
    node_del(root, "version");
}

/* Merges one document over what the ones before gave. */
static struct node *add_document(struct scope *scope, const struct loaded_file *file,
                                 const struct yaml_document *doc, struct node *model)
{
    struct loader *l = scope->loader;
    const struct pass *p = &l->pass;
    if (doc->root->kind != NODE_MAPPING) {
        pass_error(p, NULL, &doc->root->mark, "the top level must be a mapping, not %s%s",
                   doc->root->kind == NODE_NULL ? "" : "a ",
                   doc->root->kind == NODE_NULL ? "empty" : node_kind_name(doc->root));
        return model;
    }
    bool lenient = l->options->no_interpolate;
    if (!lenient)
        interpolate_document(p, doc->root, scope->env, &l->unset);
    history_document(l->origins.history, p->arena,
                     (struct history_layer){.doc = doc,
                                            .path = file->path,
                                            .dir = scope->dir,
                                            .how = "include",
                                            .by = scope->included_at});
    extends_apply(scope, file, doc);
    merge_reset(model, doc->resets, doc->resets_n);
    include_apply(scope, doc->root);
    model = merge_documents(p, model, doc->root);
    merge_unique(p, model);
    check_version(l, model, file->name);
    validate_document(p, l->schema, model);
    canonical_document(p, model, lenient);
    merge_unique(p, model);
    return model;
}

struct node *loader_model(struct scope *scope, const struct loaded_file *files, size_t n)
{
    struct loader *l = scope->loader;
    struct node *model = node_new(l->pass.arena, NODE_MAPPING,
                                  (struct mark){.file = n ? files[0].name : NULL});
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < files[i].stream.n; d++)
            model = add_document(scope, &files[i], &files[i].stream.docs[d], model);
    canonical_defaults(&l->pass, model);
    rules_check_values(&l->pass, model);
    if (scope->up || !l->options->no_path_resolution)
        paths_resolve(&l->pass, model, scope->base, l->home);
    environment_apply(scope, model);
    return model;
}

/* A load at work; ended by session_end() in any case. */
struct session {
    struct loader loader;
    struct setting setting;
    struct loaded_file *files;
    const char *name; /* of the project; NULL where it was reported */
    struct env empty;
};

/* What values in the document are completed from: nothing while variables stay as they are. */
static const struct env *session_env(const struct session *s)
{
    return s->loader.options->no_interpolate ? &s->empty : &s->setting.env;
}

/* name: of the files, the last one that has any. */
static const char *name_in_files(struct session *s)
{
    struct loader *l = &s->loader;
    const struct node *found = NULL;
    for (size_t i = 0; i < s->setting.files.n; i++)
        for (size_t d = 0; d < s->files[i].stream.n; d++) {
            const struct node *name = node_get(s->files[i].stream.docs[d].root, "name");
            const char *text = node_given(name) ? node_text(l->pass.arena, name) : NULL;
            if (text && *text)
                found = name;
        }
    if (!found)
        return NULL;
    struct node copy = {
        .kind = NODE_STRING, .mark = found->mark, .string = node_text(l->pass.arena, found)};
    const char *name = copy.string;
    if (!l->options->no_interpolate &&
        interpolate_string(&l->pass, &copy, &s->setting.env, &l->unset, &name))
        return NULL;
    if (!l->options->no_normalize)
        name = project_name_normalize(l->pass.arena, name);
    if (!*name)
        pass_error(&l->pass, NULL, &found->mark, "the project name is empty");
    return name;
}

static void find_name(struct session *s)
{
    struct loader *l = &s->loader;
    size_t errors = l->pass.diag->errors;
    bool fixed;
    s->name = setting_project_name(&l->pass, l->options, &s->setting, &fixed);
    const char *own = s->name && !fixed ? name_in_files(s) : NULL;
    if (own)
        s->name = own;
    if (s->name && !*s->name && l->pass.diag->errors == errors)
        diag_error(l->pass.diag, NULL,
                   "the project has no name: set name: in the file or use --project-name");
    if (s->name)
        env_set(l->pass.arena, &s->setting.env, "COMPOSE_PROJECT_NAME", s->name, (struct mark){0});
}

static int session_begin(struct session *s, const struct load_options *options, struct diag *d)
{
    *s = (struct session){0};
    struct loader *l = &s->loader;
    l->pass = (struct pass){.arena = arena_new(), .diag = d, .origins = &l->origins};
    l->options = options;
    if (options->explain)
        l->origins.history = history_new(l->pass.arena);
    if (setting_find(&l->pass, options, &l->unset, &s->setting))
        return -1;
    l->cwd = s->setting.cwd;
    l->home = s->setting.home;
    return 0;
}

/* Parses the project's files; a file that cannot be read does not keep the others from it. */
static void session_read(struct session *s)
{
    struct loader *l = &s->loader;
    size_t n = s->setting.files.n;
    s->files = arena_array(l->pass.arena, struct loaded_file, n);
    for (size_t i = 0; i < n; i++)
        loader_read(l, s->setting.files.v[i], NULL, &s->files[i]);
    find_name(s);
}

/* Its small pieces are spread over the heap, which gives pages back only when asked to. */
static void drop_schema(struct loader *l)
{
    if (l->schema && !l->options->schema) {
        schema_free(l->schema);
        malloc_trim(0);
    }
    l->schema = NULL;
}

static void session_end(struct session *s)
{
    history_release(s->loader.origins.history);
    origins_release(&s->loader.origins);
    vec_foreach (&s->loader.envs, it)
        env_release(*it);
    vec_release(&s->loader.envs);
    unset_seen_release(&s->loader.unset);
    extends_release(&s->loader);
    map_release(&s->loader.obsolete);
    drop_schema(&s->loader);
    env_release(&s->setting.env);
    arena_free(s->loader.pass.arena);
}

static bool is_blank(const struct node *model)
{
    return !model->count;
}

static void read_service_files(struct session *s, struct node *root)
{
    struct loader *l = &s->loader;
    bool resolve = !l->options->no_env_resolution;
    if (resolve)
        service_files_environment(&l->pass, root, &s->setting.env, &l->unset, l->cwd);
    service_files_labels(&l->pass, root, &l->unset, l->cwd, resolve);
}

/* The services with an active profile must be in order whichever the user names, and so must those
 * that are active only because they are named. */
static void select_active(struct session *s, struct node *root, struct node **disabled)
{
    const struct load_options *o = s->loader.options;
    const struct pass *p = &s->loader.pass;
    struct node *all = node_get(root, "services");
    size_t errors = p->diag->errors;
    select_profiles(p->arena, root, &s->setting.profiles, NULL, disabled);
    if (!o->no_consistency) {
        rules_check_project(p, root, *disabled);
        normalize_replicas(p, root);
    }
    read_service_files(s, root);
    size_t before = (*disabled)->count;
    if (!o->services || !before)
        return;
    node_put(p->arena, root, "services", all);
    select_profiles(p->arena, root, &s->setting.profiles, o->services, disabled);
    if ((*disabled)->count == before)
        return;
    if (!o->no_consistency && p->diag->errors == errors)
        rules_check_project(p, root, *disabled);
    read_service_files(s, root);
}

/* From the merged model to what config prints. */
static struct node *finish(struct session *s, struct node *root, struct node **disabled)
{
    struct loader *l = &s->loader;
    const struct load_options *o = l->options;
    const struct pass *p = &l->pass;
    struct node *name = node_new_string(p->arena, s->name, root->mark);
    node_put(p->arena, root, "name", name);
    if (!o->no_normalize)
        normalize_document(p, root, session_env(s), s->name);
    *disabled = node_new(p->arena, NODE_MAPPING, root->mark);
    if (o->no_interpolate)
        return root;
    typed_document(p, root);
    select_active(s, root, disabled);
    if (o->only_services)
        select_services(p, root, o->services, !o->without_dependencies, *disabled);
    if (!o->all_resources)
        select_resources(p->arena, root);
    return root;
}

static struct node *load(struct session *s, struct node **disabled)
{
    struct loader *l = &s->loader;
    struct diag *d = l->pass.diag;
    if (!s->setting.files.n) {
        diag_error(d, NULL, "no configuration file provided: not found");
        return NULL;
    }
    session_read(s);
    if (!s->name)
        s->name = ""; /* go on, to see what else is wrong */
    l->schema = l->options->schema ? l->options->schema : schema_load();
    struct scope scope = {
        .loader = l,
        .env = session_env(s),
        .dir = s->setting.working_dir,
        .base = s->setting.working_dir,
        .main_file = s->setting.files.v[0],
    };
    struct node *root = loader_model(&scope, s->files, s->setting.files.n);
    drop_schema(l); /* before the document is at its largest */
    if (is_blank(root)) {
        if (!d->errors)
            diag_error(d, &root->mark, "empty compose file");
        return NULL;
    }
    return finish(s, root, disabled);
}

int document_load(const struct load_options *options, struct document *out, struct diag *d)
{
    *out = (struct document){0};
    struct session s;
    struct node *root = NULL, *disabled = NULL;
    size_t errors = d->errors;
    if (!session_begin(&s, options, d))
        root = load(&s, &disabled);
    if (root && d->errors == errors && options->explain)
        explain_find(&s.loader.pass, root, disabled, &s.setting.env, options->explain);
    if (!root || d->errors > errors) {
        session_end(&s);
        return -1;
    }
    *out = (struct document){
        .arena = s.loader.pass.arena,
        .root = root,
        .disabled = disabled,
        .name = s.name,
        .working_dir = s.setting.working_dir,
        .files = s.setting.files,
        .env_files = s.setting.env_files,
        .profiles = s.setting.profiles,
        .env = s.setting.env,
    };
    s.loader.pass.arena = NULL;
    s.setting.env = (struct env){0};
    session_end(&s);
    return 0;
}

void document_release(struct document *doc)
{
    env_release(&doc->env);
    arena_free(doc->arena);
    *doc = (struct document){0};
}

char *project_name_find(const struct load_options *options, struct diag *d)
{
    struct session s;
    size_t errors = d->errors;
    char *name = NULL;
    if (!session_begin(&s, options, d)) {
        session_read(&s);
        if (s.name && d->errors == errors)
            name = xstrdup(s.name);
    }
    session_end(&s);
    return name;
}

char *document_environment(const struct load_options *options, struct diag *d)
{
    struct session s;
    size_t errors = d->errors;
    char *text = NULL;
    if (!session_begin(&s, options, d)) {
        session_read(&s);
        if (d->errors == errors) {
            struct strbuf out = STRBUF_INIT;
            env_print(&s.setting.env, &out);
            text = strbuf_detach(&out);
        }
    }
    session_end(&s);
    return text;
}

struct collector {
    struct arena *arena;
    struct map seen; /* name -> struct document_variable */
};

static void collect_variable(void *ctx, const struct template_variable *v)
{
    struct collector *c = ctx;
    struct document_variable *known = map_get(&c->seen, v->name);
    if (!known) {
        known = arena_new_of(c->arena, struct document_variable);
        known->value = known->alternative = "";
        known->name = arena_strdup(c->arena, v->name);
        map_set(&c->seen, v->name, known);
    }
    if (*v->value)
        known->value = arena_strdup(c->arena, v->value);
    if (*v->alternative)
        known->alternative = arena_strdup(c->arena, v->alternative);
    known->required |= v->required;
}

static void collect_variables(struct collector *c, const struct node *n)
{
    if (n->kind == NODE_STRING && strchr(n->string, '$'))
        template_variables(c->arena, n->string, collect_variable, c);
    for (size_t i = 0; n->kind == NODE_MAPPING && i < n->count; i++)
        collect_variables(c, n->pairs[i].value);
    for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++)
        collect_variables(c, n->items[i]);
}

static int compare_variables(const void *a, const void *b)
{
    const struct document_variable *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int document_variables(const struct load_options *options, struct document_variables *out,
                       struct diag *d)
{
    struct load_options raw = *options;
    raw.no_interpolate = true;
    struct document doc;
    *out = (struct document_variables){0};
    if (document_load(&raw, &doc, d))
        return -1;
    struct collector c = {.arena = arena_new()};
    collect_variables(&c, doc.root);
    document_release(&doc);
    out->arena = c.arena;
    out->v = arena_array(c.arena, struct document_variable, c.seen.live);
    map_foreach (&c.seen, it)
        out->v[out->n++] = *(const struct document_variable *)it->value;
    if (out->n)
        qsort(out->v, out->n, sizeof(*out->v), compare_variables);
    map_release(&c.seen);
    return 0;
}

void document_variables_release(struct document_variables *v)
{
    arena_free(v->arena);
    *v = (struct document_variables){0};
}
