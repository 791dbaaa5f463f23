/* A whole project, from its files to what config prints, read back once more.
 *
 * The input is a block of a .case file (tests/unit/test_cases.c): "=== PATH" begins a file.
 * compose.yaml and override.yaml are loaded one over the other; whatever else there is they may
 * extend, include or name as env_file. A first line "#### NAME OPTIONS" may hold options. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "file/explain.h"
#include "file/schema.h"
#include "model/decode.h"
#include "model/encode.h"
#include "model/load.h"

enum { FILES_MAX = 8, NAME_MAX_LENGTH = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char *const environment[] = {"HOME=/home/user", "SET=value", "EMPTY=", "PORT=80", NULL};
static char folder[64]; /* of the inputs, one for the whole run */
static struct schema_set *schema;

static void remove_folder(void)
{
    fs_remove_all(folder, NULL);
}

static void begin_once(void)
{
    if (schema)
        return;
    schema = schema_load();
    snprintf(folder, sizeof(folder), "%s/compose-fuzz-XXXXXX",
             fs_is_dir("/dev/shm") ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder))
        abort();
    atexit(remove_folder);
}

/* Nothing is written outside of the folder. */
static bool is_harmless(const char *name)
{
    size_t n = strlen(name);
    return n && n <= NAME_MAX_LENGTH && *name != '/' && name[n - 1] != '/' && !strstr(name, "..") &&
           !strstr(name, "//") && !strstr(name, "./") &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-./") == n;
}

static void write_file(const char *dir, const char *name, const char *text, size_t n)
{
    char *path AUTOFREE = path_join(dir, name);
    char *parent AUTOFREE = path_dir(path);
    if (fs_mkdir_p(parent, 0755, NULL) == 0)
        fs_write_atomic(path, text, n, 0644, false, NULL);
}

/* Cuts the input into files; how many. */
static size_t write_files(const char *dir, const char *text, size_t len)
{
    const char *end = text + len, *content = NULL;
    char name[NAME_MAX_LENGTH + 2] = "";
    size_t files = 0;
    for (const char *line = text; line <= end;) {
        const char *nl = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
        const char *next = nl ? nl + 1 : end + 1;
        bool marker = end - line > 4 && memcmp(line, "=== ", 4) == 0;
        if ((marker || next > end) && content && is_harmless(name) && files < FILES_MAX) {
            write_file(dir, name, content, (size_t)((marker ? line : end) - content));
            files++;
        }
        if (marker) {
            size_t n = (size_t)((nl ? nl : end) - line - 4);
            snprintf(name, sizeof(name), "%.*s", n < sizeof(name) ? (int)n : 0, line + 4);
            content = nl ? next : end;
        }
        line = next;
    }
    return files;
}

static void read_options(const char *text, struct load_options *o)
{
    char *line AUTOFREE = xstrndup(text, starts_with(text, "####") ? strcspn(text, "\n") : 0);
    o->no_interpolate = strstr(line, "--no-interpolate");
    o->no_normalize = strstr(line, "--no-normalize");
    o->no_path_resolution = strstr(line, "--no-path-resolution");
    o->no_consistency = strstr(line, "--no-consistency");
    o->no_env_resolution = strstr(line, "--no-env-resolution");
}

/* What config prints is a file again. */
static void read_back(const char *dir, const struct strbuf *text)
{
    char *path AUTOFREE = path_join(dir, "printed.yaml");
    const char *const files[] = {path, NULL}, *const all[] = {"*", NULL};
    struct load_options o = {
        .environ = environment, .cwd = dir, .files = files, .profiles = all, .schema = schema};
    struct diag d AUTODIAG = DIAG_INIT;
    struct project *p = NULL;
    fs_write_atomic(path, text->buf, text->len, 0644, false, NULL);
    if (project_load(&o, &p, &d) == 0)
        project_free(p);
    else if (!d.errors)
        __builtin_trap();
}

static void encode_all(const char *dir, const struct load_options *o, struct document *doc)
{
    struct strbuf yaml AUTOBUF = STRBUF_INIT, json AUTOBUF = STRBUF_INIT;
    struct err err AUTOERR = ERR_INIT;
    unsigned flags = o->no_interpolate ? ENCODE_UNTYPED | ENCODE_KEEP_DOLLAR : 0;
    encode_yaml(doc->root, flags, &yaml);
    encode_json(doc->root, flags, &json, &err);
    for (enum config_list list = LIST_SERVICES; list <= LIST_PROFILES; list++) {
        struct strbuf names AUTOBUF = STRBUF_INIT;
        encode_list(doc, list, &names);
    }
    if (!flags && !o->no_normalize)
        read_back(dir, &yaml);
}

/* To the typed project, and through the JSON in which it travels to the supervisor. */
static void decode_all(const struct load_options *o)
{
    struct diag d AUTODIAG = DIAG_INIT;
    struct err err AUTOERR = ERR_INIT;
    struct project *p = NULL, *again = NULL;
    if (project_load(o, &p, &d))
        return;
    json_t *j AUTOJSON = project_to_json(p);
    for (size_t i = 0; i < p->services_n; i++) {
        char *hash AUTOFREE = service_config_hash(p, &p->services[i]);
        if (!hash)
            __builtin_trap();
    }
    if (j && project_from_json(j, &again, &err) == 0)
        project_free(again);
    project_free(p);
}

/* A path to somewhere in the document, by the bytes of the input; heap. */
static char *some_path(const struct node *n, const uint8_t *data, size_t len)
{
    struct strbuf path = STRBUF_INIT;
    for (size_t i = 0; i < len && i < 6; i++) {
        size_t pick = data[len - 1 - i];
        if (n->kind == NODE_MAPPING && n->count) {
            const struct node_pair *pair = &n->pairs[pick % n->count];
            strbuf_addf(&path, "%s%s", path.len ? "." : "", pair->key);
            n = pair->value;
        } else if (n->kind == NODE_SEQUENCE && n->count) {
            strbuf_addf(&path, "[%zu]", pick % n->count);
            n = n->items[pick % n->count];
        } else {
            break;
        }
    }
    return strbuf_detach(&path);
}

static void explain(const struct load_options *options, const char *path)
{
    struct load_options o = *options;
    struct explain e = {.path = path};
    struct diag d AUTODIAG = DIAG_INIT;
    struct document doc;
    o.explain = &e;
    if (document_load(&o, &doc, &d) == 0) {
        if (!e.value)
            __builtin_trap();
        document_release(&doc);
    } else if (!d.errors) {
        __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    begin_once();
    char *text AUTOFREE = xstrndup((const char *)data, n);
    char *dir AUTOFREE = path_join(folder, "case");
    fs_remove_all(dir, NULL);
    fs_mkdir_p(dir, 0755, NULL);
    if (!write_files(dir, (const char *)data, n))
        return -1;
    char *over AUTOFREE = path_join(dir, "override.yaml");
    const char *files[] = {"compose.yaml", fs_exists(over) ? "override.yaml" : NULL, NULL};
    const char *const all[] = {"*", NULL};
    struct load_options o = {
        .environ = environment, .cwd = dir, .files = files, .profiles = all, .schema = schema};
    read_options(text, &o);
    struct diag d AUTODIAG = DIAG_INIT;
    struct document doc;
    int rc = document_load(&o, &doc, &d);
    if (rc < 0 && !d.errors)
        __builtin_trap();
    struct strbuf out AUTOBUF = STRBUF_INIT;
    diag_render(&d, DIAG_ERROR, false, &out);
    diag_render(&d, DIAG_WARNING, true, &out);
    json_t *j AUTOJSON = diag_to_json(&d);
    if (!json_is_array(j))
        __builtin_trap();
    if (rc == 0) {
        encode_all(dir, &o, &doc);
        char *path AUTOFREE = some_path(doc.root, data, n);
        document_release(&doc);
        if (*path)
            explain(&o, path);
        if (!o.no_interpolate && !o.no_normalize && !o.no_consistency)
            decode_all(&o);
    }
    return 0;
}
