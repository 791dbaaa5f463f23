#include <stdio.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "base/subprocess.h"
#include "cli/progress.h"
#include "cli/provider.h"

struct models {
    struct project *project;
    char *program;
    char **environment;
    struct progress progress;
};

/* Runs the plugin; *out (may be NULL) is its stdout. */
static int ask(struct models *m, const char *const *args, struct strbuf *out, struct err *err)
{
    char **argv AUTOSTRV = NULL;
    struct strbuf complaint AUTOBUF = STRBUF_INIT;
    strv_push(&argv, m->program);
    for (; *args; args++)
        strv_push(&argv, *args);
    struct subprocess run = {
        .argv = (const char *const *)argv,
        .env = (const char *const *)m->environment,
        .out = out,
        .err = &complaint,
    };
    if (subprocess_run(&run, err) < 0)
        return -1;
    while (complaint.len && complaint.buf[complaint.len - 1] == '\n')
        strbuf_setlen(&complaint, complaint.len - 1);
    if (run.status != 0)
        return err_set(err, ERR_IO, "docker-model %s: exit status %d%s%s", argv[1],
                       WIFEXITED(run.status) ? WEXITSTATUS(run.status) : 128,
                       complaint.len ? "\n" : "", complaint.buf);
    return 0;
}

static int ask_json(struct models *m, const char *verb, json_t **out, struct err *err)
{
    struct strbuf text AUTOBUF = STRBUF_INIT;
    const char *args[] = {verb, "--json", NULL};
    json_error_t why;
    if (ask(m, args, &text, err) < 0)
        return -1;
    *out = json_loadb(text.buf, text.len, 0, &why);
    return *out ? 0 : err_set(err, ERR_INVALID, "docker-model %s: no JSON: %s", verb, why.text);
}

static bool is_here(const json_t *list, const char *model)
{
    size_t i, k;
    json_t *one, *tag;
    json_array_foreach ((json_t *)list, i, one)
        json_array_foreach (json_object_get(one, "tags"), k, tag)
            if (json_is_string(tag) && streq(json_string_value(tag), model))
                return true;
    return false;
}

static void show(struct models *m, const char *name, const char *text, enum progress_state state)
{
    progress_event(&m->progress,
                   &(struct progress_event){.id = name, .text = text, .state = state});
    progress_tick(&m->progress);
}

static int bring(struct models *m, const struct node_pair *pair, const json_t *list,
                 struct err *err)
{
    const struct node *n = pair->value, *size = node_get(n, "context_size");
    const struct node *flags = node_get(n, "runtime_flags");
    const char *model = node_get_str(n, "model");
    if (!is_here(list, model)) {
        const char *args[] = {"pull", model, NULL};
        show(m, pair->key, "Pulling", PROGRESS_WORKING);
        if (ask(m, args, NULL, err) < 0)
            return -1;
        show(m, pair->key, "Pulled", PROGRESS_WORKING);
    }
    show(m, pair->key, "Configuring", PROGRESS_WORKING);
    char **args AUTOSTRV = NULL;
    strv_push(&args, "configure");
    if (node_given(size)) {
        strv_push(&args, "--context-size");
        strv_push(&args, node_text(m->project->arena, size));
    }
    strv_push(&args, model);
    for (size_t i = 0; node_is(flags, NODE_SEQUENCE) && i < flags->count; i++) {
        if (i == 0)
            strv_push(&args, "--");
        strv_push(&args, node_text(m->project->arena, flags->items[i]));
    }
    if (ask(m, (const char *const *)args, NULL, err) < 0)
        return -1;
    show(m, pair->key, "Configured", PROGRESS_DONE);
    return 0;
}

/* "${REF}_MODEL" unless the service names the variable. */
static void set_variable(struct models *m, struct service *s, const struct node_pair *ref,
                         const char *member, const char *suffix, const char *value)
{
    const char *given = node_get_str(ref->value, member);
    char *name AUTOFREE = given ? xstrdup(given) : xasprintf("%s_%s", ref->key, suffix);
    for (char *c = given ? name + strlen(name) : name; *c; c++)
        *c = *c == '-' ? '_' : *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    char *pair AUTOFREE = xasprintf("%s=%s", name, value);
    service_set_variable(m->project, s, pair);
}

static int run(struct models *m, const bool *used, struct err *err)
{
    json_t *list AUTOJSON = NULL, *status AUTOJSON = NULL;
    const struct node *models = node_get(m->project->document, "models");
    if (ask_json(m, "ls", &list, err) < 0 || ask_json(m, "status", &status, err) < 0)
        return -1;
    for (size_t i = 0; i < models->count; i++)
        if (used[i] && bring(m, &models->pairs[i], list, err) < 0)
            return -1;
    for (size_t i = 0; i < m->project->services_n; i++) {
        struct service *s = &m->project->services[i];
        for (size_t k = 0; node_is(s->models, NODE_MAPPING) && k < s->models->count; k++) {
            const struct node_pair *ref = &s->models->pairs[k];
            const char *model = node_get_str(node_get(models, ref->key), "model");
            set_variable(m, s, ref, "model_var", "MODEL", model ? model : "");
            set_variable(m, s, ref, "endpoint_var", "URL", jstr(status, "endpoint", ""));
        }
    }
    return 0;
}

int models_run(struct cli *cli, struct project *p, const bool *selected, bool quiet,
               struct err *err)
{
    const struct node *models = node_get(p->document, "models");
    if (!node_is(models, NODE_MAPPING))
        return 0;
    bool *used AUTOFREE = xcalloc(models->count + 1, sizeof(*used)), any = false;
    for (size_t i = 0; i < p->services_n; i++)
        for (size_t k = 0; selected[i] && k < models->count; k++) {
            bool needs = node_pair(p->services[i].models, models->pairs[k].key) != NULL;
            used[k] |= needs;
            any |= needs;
        }
    if (!any || cli->dry_run)
        return 0;
    struct models m = {.project = p, .program = docker_plugin_find("model")};
    if (!m.program)
        return err_set(err, ERR_UNAVAILABLE, "'models' support requires Docker Model plugin");
    m.environment = project_environ(p);
    struct cli quietly = *cli;
    if (quiet)
        quietly.progress = PROGRESS_QUIET;
    progress_init(&m.progress, &quietly, "Running");
    int rc = run(&m, used, err);
    progress_flush(&m.progress);
    progress_release(&m.progress);
    strv_free(m.environment);
    free(m.program);
    return rc;
}
