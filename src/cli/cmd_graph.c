#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "model/graph.h"

static const struct option options[] = {
    OPT_STR("format", 0, "Format the output. Values: [text | dot | json]", .fallback = "text",
            .words = "text dot json"),
    OPTION_END,
};

static const char *condition_name(enum depends_condition c)
{
    switch (c) {
    case DEPENDS_STARTED:
        return "service_started";
    case DEPENDS_HEALTHY:
        return "service_healthy";
    case DEPENDS_COMPLETED:
        return "service_completed_successfully";
    }
    return "";
}

/* Steps from the bottom: a service is one above the highest that it needs. */
static size_t *levels_of(const struct graph *g)
{
    size_t *level = xcalloc(g->n + 1, sizeof(*level));
    for (size_t i = 0; i < g->n; i++) {
        const struct graph_node *n = &g->nodes[g->order[i]];
        size_t *own = &level[g->order[i]];
        for (size_t k = 0; k < n->needs_n; k++) {
            if (level[n->needs[k]] + 1 > *own)
                *own = level[n->needs[k]] + 1;
        }
    }
    return level;
}

/* What may start at the same time stands in one block. */
static void print_text(const struct graph *g)
{
    size_t *level AUTOFREE = levels_of(g);
    size_t left = g->n;
    for (size_t l = 0; left; l++) {
        cli_outf("%zu.\n", l + 1);
        for (size_t i = 0; i < g->n; i++) {
            const struct service *s = g->nodes[g->order[i]].service;
            if (level[g->order[i]] != l)
                continue;
            left--;
            cli_outf("   %s\n", s->name);
            for (size_t k = 0; k < s->depends_on_n; k++) {
                const struct dependency *d = &s->depends_on[k];
                cli_outf("     needs %s: %s%s%s\n", d->service, condition_name(d->condition),
                         d->required ? "" : ", not required",
                         d->restart ? ", restarts with it" : "");
            }
        }
    }
}

static void print_dot(const struct graph *g, const char *project)
{
    static const char *const styles[] = {"solid", "bold", "dashed"};
    cli_outf("digraph \"%s\" {\n  rankdir=LR;\n  node [shape=box];\n", project);
    for (size_t i = 0; i < g->n; i++) {
        const struct service *s = g->nodes[i].service;
        cli_outf("  \"%s\";\n", s->name);
        for (size_t k = 0; k < s->depends_on_n; k++)
            cli_outf("  \"%s\" -> \"%s\" [label=\"%s\", style=%s];\n", s->name,
                     s->depends_on[k].service, condition_name(s->depends_on[k].condition),
                     styles[s->depends_on[k].condition]);
    }
    cli_outf("}\n");
}

static void print_json(const struct graph *g)
{
    size_t *level AUTOFREE = levels_of(g);
    json_t *all AUTOJSON = json_array();
    for (size_t i = 0; i < g->n; i++) {
        const struct service *s = g->nodes[g->order[i]].service;
        json_t *needs = json_array();
        for (size_t k = 0; k < s->depends_on_n; k++) {
            const struct dependency *d = &s->depends_on[k];
            json_array_append_new(needs, json_pack("{s:s, s:s, s:b, s:b}", "service", d->service,
                                                   "condition", condition_name(d->condition),
                                                   "required", d->required, "restart", d->restart));
        }
        json_array_append_new(all, json_pack("{s:s, s:i, s:o}", "service", s->name, "level",
                                             (int)level[g->order[i]], "depends_on", needs));
    }
    char *text AUTOFREE = json_dumps(all, JSON_INDENT(2));
    cli_outf("%s\n", text);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *format = args_str(args, "format");
    struct project *p;
    struct graph g;
    if (!streq(format, "text") && !streq(format, "dot") && !streq(format, "json"))
        return err_set(err, ERR_INVALID, "unsupported format \"%s\"", format);
    if (cli_project(cli, NULL, &p, err) < 0)
        return -1;
    int rc = graph_init(&g, p, err);
    if (rc == 0) {
        if (streq(format, "dot"))
            print_dot(&g, p->name);
        else if (streq(format, "json"))
            print_json(&g);
        else
            print_text(&g);
        graph_release(&g);
    }
    project_free(p);
    return rc;
}

const struct command cmd_graph = {
    .name = "graph",
    .usage = "[OPTIONS]",
    .summary = "Print the dependency graph: what starts after what",
    .options = options,
    .flags = COMMAND_OURS,
    .run = run,
};
