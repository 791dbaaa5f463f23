#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/explain.h"
#include "cli/image_jobs.h"
#include "cli/table.h"
#include "model/decode.h"
#include "model/encode.h"
#include "model/load.h"

static const struct option options[] = {
    OPT_BOOL("environment", 0, "Print environment used for interpolation."),
    OPT_STR("explain", 0,
            "Tell where a value comes from (services.web.image, volumes.data.name, "
            "services.web.ports[0])",
            .flags = OPTION_OURS),
    OPT_STR("format", 0, "Format the output. Values: [yaml | json]", .words = "yaml json"),
    OPT_STR("hash", 0, "Print the service config hash, one per line.", .words = "@service"),
    OPT_BOOL("images", 0, "Print the image names, one per line."),
    OPT_BOOL("lock-image-digests", 0, "Produces an override file with image digests"),
    OPT_BOOL("models", 0, "Print the model names, one per line."),
    OPT_BOOL("networks", 0, "Print the network names, one per line."),
    OPT_BOOL("no-consistency", 0,
             "Don't check model consistency - warning: may produce invalid Compose output"),
    OPT_BOOL("no-env-resolution", 0, "Don't resolve service env files"),
    OPT_BOOL("no-interpolate", 0, "Don't interpolate environment variables"),
    OPT_BOOL("no-normalize", 0, "Don't normalize compose model"),
    OPT_BOOL("no-path-resolution", 0, "Don't resolve file paths"),
    OPT_STR("output", 'o', "Save to file (default to stdout)", .words = "@file"),
    OPT_BOOL("profiles", 0, "Print the profile names, one per line."),
    OPT_BOOL("quiet", 'q', "Only validate the configuration, don't print anything"),
    OPT_BOOL("resolve-image-digests", 0, "Pin image tags to digests"),
    OPT_BOOL("services", 0, "Print the service names, one per line."),
    OPT_BOOL("variables", 0, "Print model variables and default values."),
    OPT_BOOL("volumes", 0, "Print the volume names, one per line."),
    OPTION_END,
};

static const struct {
    const char *option;
    enum config_list list;
    bool whole; /* of the project, whichever services are named */
} lists[] = {
    {"services", LIST_SERVICES, true},  {"volumes", LIST_VOLUMES, true},
    {"networks", LIST_NETWORKS, true},  {"models", LIST_MODELS, true},
    {"profiles", LIST_PROFILES, false}, {"images", LIST_IMAGES, false},
};

static bool is_whole(const struct args *args)
{
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (lists[i].whole && args_bool(args, lists[i].option))
            return true;
    return args_given(args, "hash");
}

static bool is_list(const struct args *args)
{
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (args_bool(args, lists[i].option))
            return true;
    return false;
}

static void load_options_of(struct cli *cli, const struct args *args, struct load_options *o)
{
    cli_load_options(cli, o);
    o->no_consistency = args_bool(args, "no-consistency");
    o->no_env_resolution = args_bool(args, "no-env-resolution") || is_list(args);
    o->no_interpolate = args_bool(args, "no-interpolate");
    o->no_normalize = args_bool(args, "no-normalize") || args_bool(cli->global, "compatibility");
    o->no_path_resolution = args_bool(args, "no-path-resolution");
    if (args->n && !is_whole(args)) {
        o->services = args->positional;
        o->only_services = true;
    }
}

/* The error has been told with its place. */
static int told(struct err *err)
{
    if (err)
        *err = (struct err){.kind = ERR_INVALID, .exit_code = 1};
    return -1;
}

/* As in the reference, of a project that is in order. */
static int print_environment(struct cli *cli, const struct load_options *o, struct err *err)
{
    struct diag d AUTODIAG = DIAG_INIT, again AUTODIAG = DIAG_INIT;
    struct document doc;
    int rc = document_load(o, &doc, &d);
    cli_diagnostics(cli, &d);
    if (rc < 0)
        return told(err);
    document_release(&doc);
    char *text AUTOFREE = document_environment(o, &again);
    if (!text)
        return told(err);
    cli_out(text, strlen(text));
    return 0;
}

static int print_variables(struct cli *cli, const struct load_options *o, const char *format,
                           struct err *err)
{
    struct diag d AUTODIAG = DIAG_INIT;
    struct document_variables vars;
    int rc = document_variables(o, &vars, &d);
    cli_diagnostics(cli, &d);
    if (rc < 0)
        return told(err);
    struct table t AUTOTABLE = TABLE_WIDE;
    json_t *all AUTOJSON = json_object();
    table_row(&t, "NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE", NULL);
    for (size_t i = 0; i < vars.n; i++) {
        const struct document_variable *v = &vars.v[i];
        table_row(&t, v->name, v->required ? "true" : "false", v->value, v->alternative, NULL);
        json_object_set_new(all, v->name,
                            json_pack("{s:s, s:b, s:s, s:s}", "Name", v->name, "Required",
                                      v->required, "DefaultValue", v->value, "PresenceValue",
                                      v->alternative));
    }
    if (streq(format, "json"))
        cli_out_json(all);
    else
        table_print(&t);
    document_variables_release(&vars);
    return 0;
}

/* "web,db" or "*" */
static bool in_hash_list(const char *list, const char *service)
{
    size_t n = strlen(service);
    if (streq(list, "*"))
        return true;
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',') {
        if (strcspn(at, ",") == n && memcmp(at, service, n) == 0)
            return true;
    }
    return false;
}

/* Every name in the list must be a service's. */
static int check_hash_list(const struct project *p, const char *list, struct err *err)
{
    for (const char *at = list; !streq(list, "*");) {
        char *name AUTOFREE = xstrndup(at, strcspn(at, ","));
        if (!project_service(p, name))
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", name);
        at += strlen(name);
        if (!*at++)
            break;
    }
    return 0;
}

static int print_hashes(struct cli *cli, const struct load_options *o, const char *list,
                        struct err *err)
{
    struct project *p;
    if (cli_project(cli, o, &p, err) < 0)
        return -1;
    int rc = check_hash_list(p, list, err);
    for (size_t i = 0; rc == 0 && i < p->services_n; i++) {
        if (!in_hash_list(list, p->services[i].name))
            continue;
        char *hash AUTOFREE = service_config_hash(p, &p->services[i]);
        cli_outf("%s %s\n", p->services[i].name, hash);
    }
    project_free(p);
    return rc;
}

/* A service whose image gets the digest that its registry gives it now:
 * "docker.io/library/nginx:1@sha256:...". */
struct pinning {
    struct node *node;
    struct service service;
    char *name;
};

static int resolve_all(struct cli *cli, struct pinning *list, struct image_job *jobs, size_t n,
                       struct err *err)
{
    static const struct project none;
    for (size_t i = 0; i < n; i++)
        jobs[i] = (struct image_job){
            .kind = JOB_RESOLVE,
            .service = &list[i].service,
            .image = node_get_str(list[i].node, "image"),
        };
    struct image_jobs all = {.project = &none, .v = jobs, .n = n, .quiet_pull = true};
    struct err why AUTOERR = ERR_INIT;
    if (image_jobs_run(cli, &all, "Resolving", &why) == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (jobs[i].failed)
            return err_set(err, why.kind, "failed to resolve digest for %s: %s", list[i].name,
                           why.msg);
    err_move(err, &why);
    return -1;
}

static void put_digests(struct document *doc, struct pinning *list, struct image_job *jobs,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *text AUTOFREE = xasprintf("%s@%s", list[i].name, jobs[i].digest);
        node_put(doc->arena, list[i].node, "image",
                 node_new_string(doc->arena, arena_strdup(doc->arena, text),
                                 node_get(list[i].node, "image")->mark));
    }
}

static int resolve_images(struct cli *cli, struct document *doc, struct err *err)
{
    struct node *services = node_get(doc->root, "services");
    size_t max = node_is(services, NODE_MAPPING) ? services->count : 0, n = 0;
    struct pinning *list AUTOFREE = xcalloc(max + 1, sizeof(*list));
    struct image_job *jobs AUTOFREE = xcalloc(max + 1, sizeof(*jobs));
    int rc = 0;
    for (size_t i = 0; i < max && rc == 0; i++) {
        struct node *s = services->pairs[i].value;
        const char *image = node_get_str(s, "image");
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        rc = image ? reference_parse(image, &ref, err) : 0;
        if (!image || rc < 0 || ref.digest)
            continue;
        list[n++] = (struct pinning){
            .node = s,
            .service = {.name = services->pairs[i].key, .platform = node_get_str(s, "platform")},
            .name = reference_name(&ref),
        };
    }
    if (rc == 0)
        rc = resolve_all(cli, list, jobs, n, err);
    if (rc == 0)
        put_digests(doc, list, jobs, n);
    for (size_t i = 0; i < n; i++) {
        free(list[i].name);
        free(jobs[i].digest);
    }
    return rc;
}

/* Leaves nothing but the images of the services. */
static void keep_images(struct document *doc)
{
    struct arena *a = doc->arena;
    struct node *services = node_get(doc->root, "services");
    struct node *root = node_new(a, NODE_MAPPING, doc->root->mark);
    struct node *kept = node_new(a, NODE_MAPPING, doc->root->mark);
    for (size_t i = 0; node_is(services, NODE_MAPPING) && i < services->count; i++) {
        struct node *image = node_get(services->pairs[i].value, "image");
        struct node *one = node_new(a, NODE_MAPPING, doc->root->mark);
        if (!image)
            continue;
        node_put(a, one, "image", image);
        node_put(a, kept, services->pairs[i].key, one);
    }
    node_put(a, root, "services", kept);
    doc->root = root;
}

static void take_nothing(const char *text, size_t n)
{
    (void)text;
    (void)n;
}

static int write_text(const char *path, const struct strbuf *text, struct err *err)
{
    struct stat st;
    /* A device, a pipe or what a symbolic link names is written to, not replaced. */
    if (lstat(path, &st) < 0 || S_ISREG(st.st_mode))
        return fs_write_atomic(path, text->buf, text->len, 0666, false, err);
    int fd AUTOCLOSE = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || fd_write_all(fd, text->buf, text->len) < 0)
        return err_sys(err, errno, "write %s", path);
    return 0;
}

/* A file appears whole or not at all, so its text is made first. */
static int write_document(const char *path, const struct node *root, bool json, unsigned flags,
                          struct err *err)
{
    struct strbuf text AUTOBUF = STRBUF_INIT;
    if (json && encode_json(root, flags, &text, err) < 0)
        return -1;
    if (json)
        strbuf_addch(&text, '\n');
    else
        encode_yaml(root, flags, &text);
    return write_text(path, &text, err);
}

static int encode(const struct args *args, const struct node *root, struct err *err)
{
    bool raw = args_bool(args, "no-interpolate"), quiet = args_bool(args, "quiet");
    bool json = streq(args_str(args, "format"), "json");
    unsigned flags = raw ? (unsigned)(ENCODE_UNTYPED | ENCODE_KEEP_DOLLAR) : 0;
    const char *path = args_str(args, "output");
    if (*path && !quiet)
        return write_document(path, root, json, flags, err);
    if (json)
        return encode_json_to(root, flags, quiet ? take_nothing : cli_out, err);
    if (!quiet)
        encode_yaml_to(root, flags, cli_out);
    return 0;
}

static int print_document(struct cli *cli, const struct args *args, struct document *doc,
                          struct err *err)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        if (args_bool(args, lists[i].option)) {
            encode_list(doc, lists[i].list, &out);
            cli_out(out.buf, out.len);
            return 0;
        }
    }
    bool lock = args_bool(args, "lock-image-digests");
    if ((lock || args_bool(args, "resolve-image-digests")) && resolve_images(cli, doc, err) < 0)
        return -1;
    if (lock)
        keep_images(doc);
    return encode(args, doc->root, err);
}

static int check_names(const struct args *args, const struct document *doc, struct err *err)
{
    if (is_whole(args))
        return 0;
    const struct node *services = node_get(doc->root, "services");
    for (size_t i = 0; i < args->n; i++) {
        if (!node_get(services, args->positional[i]))
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", args->positional[i]);
    }
    return 0;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *format = args_str(args, "format");
    struct load_options o;
    load_options_of(cli, args, &o);
    if (*format && !streq(format, "yaml") && !streq(format, "json"))
        return err_set(err, ERR_INVALID, "unsupported format \"%s\"", format);
    cli->json_diagnostics = streq(format, "json");
    if (args_bool(args, "environment"))
        return print_environment(cli, &o, err);
    if (args_bool(args, "variables"))
        return print_variables(cli, &o, format, err);
    if (args_given(args, "hash"))
        return print_hashes(cli, &o, args_str(args, "hash"), err);
    struct document doc;
    struct diag d AUTODIAG = DIAG_INIT;
    struct explain explain = {.path = args_str(args, "explain")};
    if (*explain.path) {
        o.explain = &explain;
        o.all_resources = true;
    }
    int rc = document_load(&o, &doc, &d);
    cli_diagnostics(cli, &d);
    if (rc < 0)
        return told(err);
    if (*explain.path) {
        rc = explain.value ? explain_print(cli, &explain, &d, streq(format, "json")) : told(err);
        document_release(&doc);
        return rc;
    }
    diag_release(&d); /* the text of the files is of no use any more, and large */
    rc = check_names(args, &doc, err);
    if (rc == 0)
        rc = print_document(cli, args, &doc, err);
    document_release(&doc);
    return rc;
}

const struct command cmd_config = {
    .name = "config",
    .aliases = "convert",
    .usage = "[OPTIONS] [SERVICE...]",
    .summary = "Parse, resolve and render compose file in canonical format",
    .details =
        "Parse, resolve and render compose file in canonical format\n\n"
        "--explain PATH tells which file, line and column gave a value, by way of which extends, "
        "include, alias or merge key, from which variables, and what it overrode, newest first. A "
        "key with dots or brackets is written [\"KEY\"].\n\n"
        "With --format json what is wrong with the files goes to stderr for programs, one object a "
        "line: level (error, warning), message, file, line, column, hint, notes (a list of the "
        "same). --quiet --format json prints nothing else.",
    .options = options,
    .args_max = ARGS_ANY,
    .complete = "@service",
    .run = run,
};
