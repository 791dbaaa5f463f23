#include "cli/artifact.h"

#include <errno.h>
#include <sha2.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "base/version.h"
#include "file/diag.h"
#include "file/template.h"
#include "file/yaml.h"

#define TYPE_PROJECT    "application/vnd.docker.compose.project"
#define TYPE_FILE       "application/vnd.docker.compose.file+yaml"
#define TYPE_ENV_FILE   "application/vnd.docker.compose.envfile"
#define TYPE_OLD_CONFIG "application/vnd.docker.compose.config.empty.v1+json"
#define KEY_FILE        "com.docker.compose.file"
#define KEY_ENV_FILE    "com.docker.compose.envfile"
#define KEY_EXTENDS     "com.docker.compose.extends"
#define KEY_VERSION     "com.docker.compose.version"

enum { FILE_MAX = 4 << 20 };

/* ---- pack */

/* A scalar in the text that another one takes the place of. */
struct edit {
    size_t at, n;
    char *text;
};

struct packer {
    const struct project *project;
    struct artifact *out;
    bool with_env;
    char **extended;     /* files to pack after the project's, absolute */
    struct map seen;     /* files in extended; env files that are packed */
    struct arena *arena; /* of the file in work */
    const char *file, *dir, *text;
    VEC(struct edit) edits;
};

static char *hashed_name(const char *path, const char *suffix)
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)path, strlen(path), hex);
    return xasprintf("%s.%s", hex, suffix);
}

static struct artifact_file *add(struct artifact *a, const char *type, const char *key,
                                 const char *name, char *take_data, size_t n)
{
    a->files = xrealloc(a->files, (a->files_n + 1) * sizeof(*a->files));
    struct artifact_file *f = &a->files[a->files_n++];
    *f = (struct artifact_file){
        .media_type = xstrdup(type), .data = take_data, .n = n, .annotations = json_object()};
    jset_str(f->annotations, key, name);
    jset_str(f->annotations, KEY_VERSION, compose_version);
    return f;
}

void artifact_add_file(struct artifact *a, const char *name, const char *text)
{
    add(a, TYPE_FILE, KEY_FILE, name, xstrdup(text), strlen(text));
}

static const char *lookup(void *ctx, const char *name)
{
    const struct key_values *e = &((const struct project *)ctx)->environment;
    for (size_t i = 0; i < e->n; i++)
        if (streq(e->v[i].key, name))
            return e->v[i].value;
    return NULL;
}

/* Where a place of the parser, in lines and characters, is in the text. */
static size_t offset_of(const char *text, const struct mark *m)
{
    const char *c = text;
    for (int line = 1; line < m->line && (c = strchr(c, '\n')); line++)
        c++;
    for (int col = 1; c && col < m->col && *c; col++)
        do
            c++;
        while (((unsigned char)*c & 0xC0) == 0x80);
    return c ? (size_t)(c - text) : strlen(text);
}

/* Bytes of the scalar that begins here, 0: it is none that can be replaced. */
static size_t scalar_length(const char *at, const char *value)
{
    if (*at != '"' && *at != '\'')
        return starts_with(at, value) ? strlen(value) : 0;
    const char *c = at + 1;
    for (; *c && *c != '\n'; c++) {
        if (*at == '"' && *c == '\\' && c[1])
            c++;
        else if (*at == '\'' && *c == '\'' && c[1] == '\'')
            c++;
        else if (*c == *at)
            return (size_t)(c - at) + 1;
    }
    return 0;
}

/* The file that a node of a service names, absolute; heap, NULL: there is none on this machine. */
static char *named_file(struct packer *p, const struct node *n)
{
    const struct template_vars vars = {.lookup = lookup, .ctx = (void *)p->project};
    struct template_error why;
    const char *path;
    if (!node_str(n) || template_substitute(p->arena, n->string, &vars, &path, &why) < 0 || !*path)
        return NULL;
    return path_abs(p->dir, path);
}

static int replace(struct packer *p, const struct node *n, const char *name, struct err *err)
{
    size_t at = offset_of(p->text, &n->mark), length = scalar_length(p->text + at, n->string);
    if (!length)
        return err_set(err, ERR_INVALID,
                       "%s:%d:%d: a path that is written in such a way cannot be published: write "
                       "it on one line, without an anchor or a tag",
                       p->file, n->mark.line, n->mark.col);
    struct edit e = {at, length, xstrdup(name)};
    vec_push(&p->edits, e);
    return 0;
}

static int pack_env_file(struct packer *p, const struct node *n, struct err *err)
{
    char *path AUTOFREE = named_file(p, node_is(n, NODE_MAPPING) ? node_get(n, "path") : n);
    if (!path)
        return 0;
    char *name AUTOFREE = hashed_name(path, "env"), *data;
    size_t len;
    if (replace(p, node_is(n, NODE_MAPPING) ? node_get(n, "path") : n, name, err) < 0)
        return -1;
    /* One that is not there is optional, else the project had not loaded. */
    if (!p->with_env || !fs_exists(path) || map_set(&p->seen, path, ""))
        return 0;
    if (fs_read(path, FILE_MAX, &data, &len, err) < 0)
        return -1;
    add(p->out, TYPE_ENV_FILE, KEY_ENV_FILE, name, data, len);
    return 0;
}

static int pack_service(struct packer *p, const struct node *service, struct err *err)
{
    const struct node *env = node_get(service, "env_file");
    const struct node *file = node_get(node_get(service, "extends"), "file");
    if (node_is(env, NODE_SEQUENCE)) {
        for (size_t i = 0; i < env->count; i++)
            if (pack_env_file(p, env->items[i], err) < 0)
                return -1;
    } else if (node_given(env) && pack_env_file(p, env, err) < 0) {
        return -1;
    }
    char *path AUTOFREE = file ? named_file(p, file) : NULL;
    if (!path || !fs_exists(path))
        return 0; /* remote */
    char *name AUTOFREE = hashed_name(path, "yaml");
    if (!map_set(&p->seen, path, ""))
        strv_push(&p->extended, path);
    return replace(p, file, name, err);
}

static int by_place(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static char *apply_edits(struct packer *p, size_t *n)
{
    struct strbuf out = STRBUF_INIT;
    size_t from = 0;
    if (p->edits.n)
        qsort(p->edits.v, p->edits.n, sizeof(*p->edits.v), by_place);
    vec_foreach (&p->edits, e) {
        strbuf_add(&out, p->text + from, e->at - from);
        strbuf_addstr(&out, e->text);
        from = e->at + e->n;
        free(e->text);
    }
    strbuf_addstr(&out, p->text + from);
    vec_release(&p->edits);
    *n = out.len;
    return strbuf_detach(&out);
}

static int pack_documents(struct packer *p, const struct yaml_stream *stream, struct err *err)
{
    for (size_t d = 0; d < stream->n; d++) {
        const struct node *services = node_get(stream->docs[d].root, "services");
        for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++)
            if (pack_service(p, services->pairs[i].value, err) < 0)
                return -1;
    }
    return 0;
}

static int pack_file(struct packer *p, const char *path, const char *extends_name, struct err *err)
{
    char *text AUTOFREE = NULL, *dir AUTOFREE = path_dir(path);
    struct yaml_stream stream;
    struct diag diag AUTODIAG = DIAG_INIT;
    size_t n;
    if (fs_read(path, FILE_MAX, &text, &n, err) < 0)
        return -1;
    p->arena = arena_new();
    p->file = path;
    p->dir = extends_name ? dir : p->project->working_dir;
    p->text = text;
    int rc = yaml_parse(p->arena, path, text, n, NULL, &stream, &diag);
    if (rc < 0)
        err_set(err, ERR_INVALID, "%s cannot be read", path);
    else
        rc = pack_documents(p, &stream, err);
    char *edited = apply_edits(p, &n);
    struct artifact_file *f = add(p->out, TYPE_FILE, KEY_FILE,
                                  extends_name ? extends_name : path_base(path), edited, n);
    if (extends_name)
        jset_str(f->annotations, KEY_EXTENDS, "true");
    arena_free(p->arena);
    return rc;
}

/* The reader joins the layers in order, so Compose files come first and then what they refer to. */
static void sort_layers(struct artifact *a)
{
    struct artifact_file *sorted = xcalloc(a->files_n + 1, sizeof(*sorted));
    size_t n = 0;
    for (int env = 0; env < 2; env++)
        for (size_t i = 0; i < a->files_n; i++)
            if (streq(a->files[i].media_type, TYPE_ENV_FILE) == env)
                sorted[n++] = a->files[i];
    free(a->files);
    a->files = sorted;
}

int artifact_pack(const struct project *project, bool with_env, struct artifact *out,
                  struct err *err)
{
    struct packer p = {.project = project, .out = out, .with_env = with_env};
    *out = (struct artifact){0};
    int rc = 0;
    for (size_t i = 0; i < project->files.n && rc == 0; i++) {
        if (streq(project->files.v[i], "-"))
            rc = err_set(err, ERR_INVALID,
                         "a Compose file from standard input cannot be published");
        else
            rc = pack_file(&p, project->files.v[i], NULL, err);
    }
    for (size_t i = 0; p.extended && p.extended[i] && rc == 0; i++) {
        char *name AUTOFREE = hashed_name(p.extended[i], "yaml");
        rc = pack_file(&p, p.extended[i], name, err);
    }
    sort_layers(out);
    strv_free(p.extended);
    map_release(&p.seen);
    if (rc < 0)
        artifact_release(out);
    return rc;
}

int artifact_publish(struct cli *cli, const char *reference, const struct artifact *a,
                     const char *oci_version, const char *const *images, struct err *err)
{
    struct image_store *store;
    if (cli_store(cli, &store, err) < 0)
        return -1;
    json_t *annotations AUTOJSON = json_pack("{s:s}", KEY_VERSION, compose_version);
    const struct artifact_push_request q = {
        .reference = reference,
        .type = TYPE_PROJECT,
        .old_config_type = TYPE_OLD_CONFIG,
        .oci_version = oci_version,
        .files = a->files,
        .files_n = a->files_n,
        .images = images,
        .index_annotations = annotations,
    };
    return artifact_push(store, &q, err);
}

/* ---- unpack */

static char *folder_of(struct cli *cli, const char *digest)
{
    return xasprintf("%s/oci/%s", cli->paths.root, digest + strlen("sha256:"));
}

static bool is_here(void *cli, const char *digest)
{
    char *dir AUTOFREE = folder_of(cli, digest);
    return fs_is_dir(dir);
}

/* A name from the registry must stay in its folder. */
static int check_name(const char *name, struct err *err)
{
    if (*name && *name != '.' && !strchr(name, '/') && strlen(name) < 256)
        return 0;
    return err_set(err, ERR_CORRUPT, "invalid OCI artifact: the file name \"%.100s\"", name);
}

static int write_files(const char *dir, const struct artifact *a, struct err *err)
{
    struct strbuf main AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < a->files_n; i++) {
        const struct artifact_file *f = &a->files[i];
        bool extends = json_object_get(f->annotations, KEY_EXTENDS) != NULL;
        bool compose = streq(f->media_type, TYPE_FILE);
        const char *name = jstr(f->annotations, compose ? KEY_FILE : KEY_ENV_FILE, "");
        if (compose && !extends) {
            if (main.len)
                strbuf_addstr(&main, "\n---\n");
            strbuf_add(&main, f->data, f->n);
            continue;
        }
        if (!compose && !streq(f->media_type, TYPE_ENV_FILE))
            continue;
        char *path AUTOFREE = path_join(dir, name);
        if (check_name(name, err) < 0 || fs_write_atomic(path, f->data, f->n, 0600, false, err) < 0)
            return -1;
    }
    char *path AUTOFREE = path_join(dir, "compose.yaml");
    return fs_write_atomic(path, main.buf, main.len, 0600, false, err);
}

/* Appears whole: another process may fetch the same. */
static int unpack(const char *dir, const struct artifact *a, struct err *err)
{
    char *parent AUTOFREE = path_dir(dir), *made AUTOFREE = path_join(parent, "new-XXXXXX");
    if (fs_mkdir_p(parent, 0700, err) < 0)
        return -1;
    if (!mkdtemp(made))
        return err_sys(err, errno, "mkdir %s", made);
    int rc = write_files(made, a, err);
    if (rc == 0 && rename(made, dir) == 0)
        return 0;
    if (rc == 0 && !fs_is_dir(dir))
        rc = err_sys(err, errno, "rename %s", made);
    fs_remove_all(made, NULL);
    return rc;
}

char *artifact_fetch(void *ctx, const char *name, struct err *err)
{
    struct cli *cli = ctx;
    struct artifact a;
    const char *switched = getenv("COMPOSE_EXPERIMENTAL_OCI_REMOTE");
    bool on = true;
    if (switched && *switched && !bool_parse(switched, &on)) {
        err_set(err, ERR_INVALID, "COMPOSE_EXPERIMENTAL_OCI_REMOTE wants a boolean");
        return NULL;
    }
    if (!on) {
        err_set(err, ERR_INVALID, "disabled by COMPOSE_EXPERIMENTAL_OCI_REMOTE");
        return NULL;
    }
    const struct artifact_pull_request q = {
        .reference = name + strlen("oci://"),
        .type = TYPE_PROJECT,
        .old_config_type = TYPE_OLD_CONFIG,
        .have = is_here,
        .ctx = cli,
    };
    if (cli_paths(cli, err) < 0 || artifact_pull(&q, &a, err) < 0)
        return NULL;
    char *dir AUTOFREE = folder_of(cli, a.digest);
    int rc = is_here(cli, a.digest) ? 0 : unpack(dir, &a, err);
    artifact_release(&a);
    return rc < 0 ? NULL : path_join(dir, "compose.yaml");
}
