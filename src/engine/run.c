/* `run`: one more container of a service, changed by the command line, for one task. Its
 * dependencies were brought up by the client with `up` before. */
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "engine/container.h"
#include "engine/oneoff.h"
#include "engine/up.h"

struct run {
    struct oneoff task;
    struct container *c;
    bool over; /* it ran under a supervisor that died, and is gone */
};

static void replace(json_t *service, const char *key, const json_t *options, const char *option)
{
    json_t *value = json_object_get(options, option);
    if (value && !json_is_null(value))
        json_object_set(service, key, value);
}

static void append(json_t *service, const char *key, const json_t *options, const char *option)
{
    json_t *more = json_object_get(options, option), *have = json_object_get(service, key);
    if (!json_array_size(more))
        return;
    json_t *all = json_is_array(have) ? json_copy(have) : json_array();
    json_array_extend(all, more);
    json_object_set_new(service, key, all);
}

/* "K=V" over the service's mapping; "K" takes the client's value, which the client resolved. */
static void merge_environment(json_t *service, const json_t *options)
{
    json_t *have = json_object_get(service, "environment");
    json_t *env = json_is_object(have) ? json_copy(have) : json_object();
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(options, "environment"), i, item) {
        char *pair AUTOFREE = xstrdup(json_string_value(item) ? json_string_value(item) : "");
        char *eq = strchr(pair, '=');
        if (!eq)
            continue;
        *eq = '\0';
        json_object_set_new(env, pair, json_string(eq + 1));
    }
    json_object_set_new(service, "environment", env);
}

/* docker compose: pkg/compose/run.go, applyRunOptions */
static json_t *changed_service(const json_t *original, const json_t *options)
{
    json_t *s = json_deep_copy(original);
    json_t *entrypoint = json_object_get(options, "entrypoint");
    replace(s, "command", options, "command");
    if (json_is_array(entrypoint)) {
        json_object_set(s, "entrypoint", entrypoint);
        if (!json_array_size(json_object_get(options, "command")))
            json_object_set_new(s, "command", json_array());
    }
    merge_environment(s, options);
    replace(s, "user", options, "user");
    replace(s, "working_dir", options, "working_dir");
    append(s, "volumes", options, "volumes");
    if (!jbool(options, "service_ports", false))
        json_object_del(s, "ports");
    append(s, "ports", options, "publish");
    append(s, "cap_add", options, "cap_add");
    append(s, "cap_drop", options, "cap_drop");
    json_object_del(s, "container_name");
    json_object_del(s, "healthcheck");
    json_object_del(s, "restart");
    json_object_del(s, "pre_start");
    json_object_del(s, "post_start");
    json_object_del(s, "pre_stop");
    json_object_set_new(s, "tty", json_boolean(jbool(options, "tty", false)));
    json_object_set_new(s, "stdin_open", json_boolean(jbool(options, "stdin_open", false)));
    return s;
}

static void tell_created(struct operation *op, const struct container *c)
{
    operation_send(op, json_pack("{s:s, s:s, s:s}", "event", "created", "id", c->record.id, "name",
                                 c->record.name));
}

/* The supervisor before us has made it: it runs once, whoever dies. */
static bool take_up(struct operation *op, struct run *r)
{
    const char *id = jstr(op->options, "id", NULL);
    r->c = id ? engine_container(op->engine, id) : NULL;
    r->over = !r->c && operation_flag(op, "created");
    if (!r->c)
        return r->over;
    tell_created(op, r->c);
    r->c->await_attach = !operation_flag(op, "detach");
    if (!r->c->record.started && !container_is_starting(r->c))
        container_start(r->c);
    return true;
}

static int run_begin(struct operation *op, struct err *err)
{
    const char *name = jstr(op->request, "service", NULL), *id = jstr(op->options, "id", NULL);
    if (!name)
        return err_set(err, ERR_INVALID, "run: no service given");
    if (id && (strlen(id) != 64 || id[strspn(id, "0123456789abcdef")]))
        return err_set(err, ERR_INVALID, "run: an ID that is none: %s", id);
    if (operation_take_project(op, err) < 0)
        return -1;
    struct engine *e = op->engine;
    json_t *services = project_services(e->project->json);
    if (!project_service(e->project->project, name))
        return err_set(err, ERR_NOT_FOUND, "no such service: %s", name);
    if (project_service(e->project->project, name)->provider)
        return err_set(err, ERR_INVALID, "service \"%s\" has a provider, and no image to run",
                       name);
    struct run *r = xcalloc(1, sizeof(*r));
    op->data = r;
    op->attach = true;
    if (take_up(op, r))
        return 0;
    return oneoff_begin(&r->task, op, e->project, name,
                        changed_service(json_object_get(services, name), op->options), err);
}

static int next_oneoff_number(const struct engine *e, const char *service)
{
    int most = 0;
    for (size_t i = 0; i < e->containers.n; i++) {
        const struct container_record *c = &e->containers.v[i]->record;
        if (c->oneoff && streq(c->service, service) && c->number > most)
            most = c->number;
    }
    return most + 1;
}

static int create(struct operation *op, struct run *r)
{
    const struct project *p = r->task.ref->project;
    const struct service *s = &p->services[0];
    char suffix[13];
    random_hex(6, suffix);
    const char *sep = p->separator;
    char *name AUTOFREE = xasprintf("%s%s%s%srun%s%s", op->engine->project_name, sep, s->name, sep,
                                    sep, suffix);
    struct container_spec spec = {
        .id = jstr(op->options, "id", NULL),
        .number = next_oneoff_number(op->engine, s->name),
        .name = jstr(op->options, "name", name),
        .labels = json_object_get(op->options, "labels"),
    };
    struct err err AUTOERR = ERR_INIT;
    r->c = oneoff_create(&r->task, op->engine, &spec, &err);
    if (!r->c) {
        operation_fail(op, &err);
        return -1;
    }
    r->c->record.hide_aliases = !operation_flag(op, "use_aliases");
    r->c->record.auto_remove = operation_flag(op, "remove");
    r->c->await_attach = !operation_flag(op, "detach");
    container_save(r->c);
    engine_container_event(op->engine, r->c, "create", NULL);
    tell_created(op, r->c);
    return 0;
}

static bool run_step(struct operation *op)
{
    struct run *r = op->data;
    if (r->over)
        return true;
    if (!r->c) {
        struct err err AUTOERR = ERR_INIT;
        if (!r->task.resources)
            return true;
        if (!oneoff_ready(&r->task, &err))
            return false;
        if (err.msg)
            operation_fail(op, &err);
        if (op->failure.msg || op->cancelled || create(op, r) < 0)
            return true;
        container_start(r->c);
        return false;
    }
    if (container_is_starting(r->c))
        return false;
    if (r->c->launch_failed) {
        struct err err AUTOERR = ERR_INIT;
        err_set(&err, ERR_INVALID, "%s", r->c->record.error);
        if (r->c->record.exit_code != EXIT_NOT_STARTED)
            err.exit_code = r->c->record.exit_code;
        operation_fail(op, &err);
        return r->c->state == C_GONE || !r->c->record.auto_remove;
    }
    return true;
}

static void run_release(struct operation *op)
{
    struct run *r = op->data;
    if (!r)
        return;
    oneoff_release(&r->task);
    free(r);
}

const struct operation_kind op_run = {
    .name = "run", .begin = run_begin, .step = run_step, .release = run_release};
