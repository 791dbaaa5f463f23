#include "cli/run_spec.h"

#include <stdio.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/client.h"
#include "file/dotenv.h"
#include "file/port_spec.h"
#include "file/shellwords.h"
#include "file/volume_spec.h"

json_t *environment_of(const char *const *items)
{
    json_t *out = json_array();
    for (; *items; items++) {
        const char *own = strchr(*items, '=') ? NULL : getenv(*items);
        if (strchr(*items, '=')) {
            json_array_append_new(out, json_text(*items));
        } else if (own) {
            char *pair AUTOFREE = xasprintf("%s=%s", *items, own);
            json_array_append_new(out, json_text(pair));
        }
    }
    return out;
}

static int add_env_files(const char *const *files, json_t *out, struct err *err)
{
    struct arena *a = arena_new();
    struct diag d AUTODIAG = DIAG_INIT;
    const struct pass p = {.arena = a, .diag = &d};
    struct env vars = {0}, shell = {0};
    struct unset_seen seen = {0};
    env_import(a, &shell, environ);
    int rc = 0;
    for (; *files && rc == 0; files++)
        rc = dotenv_load(&p, *files, *files, NULL, &shell, NULL, &vars, &seen);
    if (rc < 0) {
        char *first AUTOFREE = diag_first_error(&d);
        err_set(err, ERR_INVALID, "%s", first ? first : "a file of variables that can't be read");
    }
    map_foreach (&vars.vars, it) {
        const struct env_value *v = it->value;
        char *pair AUTOFREE = xasprintf("%s=%s", it->key, v->value);
        json_array_append_new(out, json_text(pair));
    }
    env_release(&vars);
    env_release(&shell);
    unset_seen_release(&seen);
    arena_free(a);
    return rc;
}

static json_t *volume_json(const struct volume_spec *v)
{
    json_t *j = json_object();
    jset_str(j, "type", v->bind ? "bind" : "volume");
    if (v->bind) {
        char *source AUTOFREE = path_abs(NULL, v->source);
        jset_str(j, "source", source);
        json_t *bind = json_pack("{s:b}", "create_host_path", 1);
        jset_str(bind, "propagation", v->propagation);
        jset_str(bind, "selinux", v->selinux);
        json_object_set_new(j, "bind", bind);
    } else {
        jset_str(j, "source", v->source);
        json_object_set_new(j, "volume",
                            v->nocopy ? json_pack("{s:b}", "nocopy", 1) : json_object());
    }
    jset_str(j, "target", v->target);
    if (v->read_only)
        json_object_set_new(j, "read_only", json_true());
    return j;
}

static int add_volumes(const char *const *specs, json_t *request, struct err *err)
{
    struct arena *a = arena_new();
    json_t *out = json_array();
    int rc = 0;
    for (; *specs && rc == 0; specs++) {
        struct volume_spec v;
        const char *wrong = volume_spec_parse(a, *specs, &v);
        if (wrong)
            rc = err_set(err, ERR_INVALID, "invalid volume \"%s\": %s", *specs, wrong);
        else
            json_array_append_new(out, volume_json(&v));
    }
    request_json(request, "volumes", out);
    arena_free(a);
    return rc;
}

/* A range is published port by port. */
static void add_port(const struct port_spec *p, json_t *out)
{
    unsigned n = (unsigned)(p->last - p->first) + 1;
    for (unsigned i = 0; i < n; i++) {
        json_t *j = json_object();
        jset_str(j, "mode", "ingress");
        json_object_set_new(j, "target", json_integer(p->first + i));
        jset_str(j, "protocol", p->protocol);
        if (p->address && *p->address)
            jset_str(j, "host_ip", p->address);
        char published[24];
        if (n == 1 && p->host_first != p->host_last)
            snprintf(published, sizeof(published), "%u-%u", p->host_first, p->host_last);
        else
            snprintf(published, sizeof(published), "%u", p->host_first + i);
        if (p->published)
            jset_str(j, "published", published);
        json_array_append_new(out, j);
    }
}

static int add_ports(const char *const *specs, json_t *request, struct err *err)
{
    struct arena *a = arena_new();
    json_t *out = json_array();
    int rc = 0;
    for (; *specs && rc == 0; specs++) {
        struct port_spec p;
        const char *wrong = port_spec_parse(a, *specs, &p);
        if (wrong)
            rc = err_set(err, ERR_INVALID, "invalid port \"%s\": %s", *specs, wrong);
        else
            add_port(&p, out);
    }
    request_json(request, "publish", out);
    arena_free(a);
    return rc;
}

static int add_entrypoint(const char *text, json_t *request, struct err *err)
{
    struct arena *a = arena_new();
    size_t n;
    const char *wrong = NULL;
    const char **words = shellwords_split(a, text, &n, &wrong);
    if (words)
        request_json(request, "entrypoint", jarray_from_strv(words));
    else
        err_set(err, ERR_INVALID, "invalid entrypoint \"%s\": %s", text, wrong ? wrong : "");
    arena_free(a);
    return words ? 0 : -1;
}

static void add_labels(const char *const *items, json_t *request)
{
    json_t *out = json_object();
    for (; *items; items++) {
        size_t n = strcspn(*items, "=");
        char *key AUTOFREE = xstrndup(*items, n);
        jset_str(out, key, (*items)[n] ? *items + n + 1 : "");
    }
    request_json(request, "labels", out);
}

static void add_text(const struct args *args, json_t *request, const char *option,
                     const char *member)
{
    if (args_given(args, option))
        request_str(request, member, args_str(args, option));
}

int run_request(const struct args *args, json_t *request, struct err *err)
{
    json_t *environment = json_array();
    request_json(request, "environment", environment);
    if (add_env_files(args_list(args, "env-from-file"), environment, err) < 0)
        return -1;
    json_t *given AUTOJSON = environment_of(args_list(args, "env"));
    json_array_extend(environment, given);
    if (args->n > 1)
        request_json(request, "command", jarray_from_strv(args->positional + 1));
    if (args_given(args, "entrypoint") &&
        add_entrypoint(args_str(args, "entrypoint"), request, err) < 0)
        return -1;
    add_text(args, request, "name", "name");
    add_text(args, request, "user", "user");
    add_text(args, request, "workdir", "working_dir");
    request_bool(request, "service_ports", args_bool(args, "service-ports"));
    request_bool(request, "use_aliases", args_bool(args, "use-aliases"));
    request_bool(request, "no_deps", args_bool(args, "no-deps"));
    request_bool(request, "remove", args_bool(args, "rm"));
    request_bool(request, "detach", args_bool(args, "detach"));
    request_bool(request, "stdin_open",
                 args_bool(args, "interactive") && !args_bool(args, "detach"));
    request_json(request, "cap_add", jarray_from_strv(args_list(args, "cap-add")));
    request_json(request, "cap_drop", jarray_from_strv(args_list(args, "cap-drop")));
    if (args_bool(args, "service-ports") && *args_list(args, "publish"))
        return err_set(err, ERR_INVALID, "--service-ports and --publish are incompatible");
    add_labels(args_list(args, "label"), request);
    if (add_volumes(args_list(args, "volume"), request, err) < 0)
        return -1;
    return add_ports(args_list(args, "publish"), request, err);
}
