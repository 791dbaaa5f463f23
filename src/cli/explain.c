#include "cli/explain.h"

#include <string.h>

#include "base/mem.h"
#include "model/node_json.h"

enum { VALUE_SHOWN = 200 };

static const char *const actions[] = {
    [EXPLAIN_SET] = "set",
    [EXPLAIN_PART] = "part",
    [EXPLAIN_OVERRIDDEN] = "overridden",
    [EXPLAIN_REMOVED] = "removed",
    [EXPLAIN_REPLACED] = "replaced",
};

static void put_mark(json_t *o, const struct mark *mark)
{
    if (!mark->file)
        return;
    json_object_set_new(o, "file", json_text(mark->file));
    json_object_set_new(o, "line", json_integer(mark->line));
    json_object_set_new(o, "column", json_integer(mark->col));
}

static json_t *variable_to_json(const struct origin_variable *v)
{
    static const char *const sources[] = {
        [TEMPLATE_FROM_VARIABLE] = "environment",
        [TEMPLATE_FROM_DEFAULT] = "default",
        [TEMPLATE_FROM_ALTERNATIVE] = "alternative",
        [TEMPLATE_FROM_NOTHING] = "unset",
    };
    json_t *o = json_pack("{s:s, s:s*, s:s}", "name", v->name, "value", v->value, "source",
                          v->mark.file ? "file" : sources[v->from]);
    put_mark(o, &v->mark);
    return o;
}

static json_t *step_to_json(const struct explain_step *step)
{
    json_t *o = json_pack("{s:s}", "action", actions[step->kind]);
    put_mark(o, &step->mark);
    if (step->value)
        json_object_set_new(o, "value", node_to_json(step->value));
    if (step->text)
        json_object_set_new(o, "text", json_text(step->text));
    json_t *via = json_array(), *variables = json_array();
    for (size_t i = 0; i < step->ways_n; i++) {
        json_t *way = json_pack("{s:s}", "how", step->ways[i].how);
        put_mark(way, &step->ways[i].mark);
        json_array_append_new(via, way);
    }
    for (size_t i = 0; i < step->variables_n; i++)
        json_array_append_new(variables, variable_to_json(&step->variables[i]));
    if (step->ways_n)
        json_object_set(o, "via", via);
    if (step->variables_n)
        json_object_set(o, "variables", variables);
    json_decref(via);
    json_decref(variables);
    return o;
}

static void print_json(const struct explain *e)
{
    json_t *o AUTOJSON = json_pack("{s:s}", "path", e->path);
    json_object_set_new(o, "value", node_to_json(e->value));
    put_mark(o, &e->mark);
    json_t *steps = json_array();
    for (size_t i = 0; i < e->n; i++)
        json_array_append_new(steps, step_to_json(&e->steps[i]));
    json_object_set_new(o, "steps", steps);
    cli_out_json(o);
}

/* The value on one line, cut where it is long; heap. */
static char *value_text(const struct node *n)
{
    json_t *j AUTOJSON = node_to_json(n);
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text && strlen(text) > VALUE_SHOWN) {
        size_t end = VALUE_SHOWN;
        while (end && ((unsigned char)text[end] & 0xc0) == 0x80)
            end--;
        char *cut = xasprintf("%.*s...", (int)end, text);
        free(text);
        text = cut;
    }
    return text ? text : xstrdup("?");
}

struct printer {
    const struct cli *cli;
    const struct diag *d;
    struct arena *arena;
    struct strbuf out;
};

static void print_step(struct printer *p, const struct explain_step *step)
{
    static const char *const words[] = {
        [EXPLAIN_SET] = "set here",
        [EXPLAIN_PART] = "joined from here",
        [EXPLAIN_OVERRIDDEN] = "overridden",
        [EXPLAIN_REMOVED] = "!reset drops what was said before",
        [EXPLAIN_REPLACED] = "!override drops what was said before",
    };
    bool given = node_given(step->value); /* "NAME:" takes the value of a variable */
    char *value AUTOFREE = given ? value_text(step->value) : NULL;
    char *msg AUTOFREE = xasprintf("%s%s%s", words[step->kind], value ? ": " : "",
                                   value ? value : "");
    diag_render_place(p->d, &step->mark, p->cli->color_out, msg, &p->out);
    for (size_t i = 0; i < step->variables_n; i++)
        diag_render_place(p->d, &step->variables[i].mark, p->cli->color_out,
                          origin_variable_text(p->arena, &step->variables[i]), &p->out);
    for (size_t i = 0; i < step->ways_n; i++) {
        char *way AUTOFREE = xasprintf("by way of this %s", step->ways[i].how);
        diag_render_place(p->d, &step->ways[i].mark, p->cli->color_out, way, &p->out);
    }
}

static void print_text(struct printer *p, const struct explain *e)
{
    char *value AUTOFREE = value_text(e->value);
    strbuf_addf(&p->out, "%s: %s\n", e->path, value);
    for (size_t i = 0; i < e->n; i++)
        print_step(p, &e->steps[i]);
    if (!e->n)
        diag_render_place(p->d, &e->mark, p->cli->color_out,
                          e->mark.file ? "follows from this; it is not written in any file"
                                       : "a default: it is not written in any file",
                          &p->out);
}

int explain_print(const struct cli *cli, const struct explain *e, const struct diag *d, bool json)
{
    if (json) {
        print_json(e);
        return 0;
    }
    struct printer p = {.cli = cli, .d = d, .arena = arena_new(), .out = STRBUF_INIT};
    print_text(&p, e);
    cli_out(p.out.buf, p.out.len);
    strbuf_release(&p.out);
    arena_free(p.arena);
    return 0;
}
