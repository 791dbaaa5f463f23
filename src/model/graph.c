#include "model/graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"

enum color { WHITE, GREY, BLACK };

struct walk {
    const struct graph *g;
    enum color *colors;
    size_t *path; /* grey nodes from the start of the walk */
    size_t path_n;
    size_t order_n;
};

static const struct dependency *edge(const struct service *from, const char *to)
{
    for (size_t i = 0; i < from->depends_on_n; i++)
        if (streq(from->depends_on[i].service, to))
            return &from->depends_on[i];
    return NULL;
}

/* "dependency cycle detected: a -> b -> a", then a line for each edge with its place. */
static int tell_cycle(const struct walk *w, size_t again, struct err *err)
{
    struct strbuf head AUTOBUF = STRBUF_INIT, edges AUTOBUF = STRBUF_INIT;
    size_t first = 0;
    while (w->path[first] != again)
        first++;
    for (size_t i = first; i <= w->path_n; i++) {
        size_t node = i < w->path_n ? w->path[i] : again;
        strbuf_addf(&head, "%s%s", i == first ? "" : " -> ", w->g->nodes[node].service->name);
        if (i == w->path_n)
            break;
        size_t next = i + 1 < w->path_n ? w->path[i + 1] : again;
        const struct dependency *d = edge(w->g->nodes[node].service,
                                          w->g->nodes[next].service->name);
        if (d && d->mark.file)
            strbuf_addf(&edges, "\n  %s:%d:%d: \"%s\" depends on \"%s\"", d->mark.file,
                        d->mark.line, d->mark.col, w->g->nodes[node].service->name, d->service);
    }
    return err_set(err, ERR_INVALID, "dependency cycle detected: %s%s", head.buf, edges.buf);
}

static int visit(struct walk *w, size_t i, size_t *order, struct err *err)
{
    w->colors[i] = GREY;
    w->path[w->path_n++] = i;
    const struct graph_node *node = &w->g->nodes[i];
    for (size_t k = 0; k < node->needs_n; k++) {
        size_t next = node->needs[k];
        if (w->colors[next] == GREY)
            return tell_cycle(w, next, err);
        if (w->colors[next] == WHITE && visit(w, next, order, err) < 0)
            return -1;
    }
    w->path_n--;
    w->colors[i] = BLACK;
    order[w->order_n++] = i;
    return 0;
}

static void link_nodes(struct graph *g, const struct project *p)
{
    struct map index AUTOMAP = MAP_INIT;
    for (size_t i = 0; i < p->services_n; i++)
        map_set(&index, p->services[i].name, &g->nodes[i]);
    for (size_t i = 0; i < g->n; i++) {
        struct graph_node *node = &g->nodes[i];
        node->service = &p->services[i];
        node->needs = xcalloc(node->service->depends_on_n, sizeof(*node->needs));
        for (size_t k = 0; k < node->service->depends_on_n; k++) {
            struct graph_node *to = map_get(&index, node->service->depends_on[k].service);
            if (!to)
                continue; /* not required, or not enabled */
            node->needs[node->needs_n++] = (size_t)(to - g->nodes);
            to->needed_by = xrealloc(to->needed_by, (to->needed_by_n + 1) * sizeof(size_t));
            to->needed_by[to->needed_by_n++] = i;
        }
    }
}

int graph_init(struct graph *g, const struct project *p, struct err *err)
{
    *g = (struct graph){.n = p->services_n};
    g->nodes = xcalloc(g->n, sizeof(*g->nodes));
    g->order = xcalloc(g->n, sizeof(*g->order));
    link_nodes(g, p);
    enum color *colors AUTOFREE = xcalloc(g->n, sizeof(*colors));
    size_t *path AUTOFREE = xcalloc(g->n + 1, sizeof(*path));
    struct walk w = {.g = g, .colors = colors, .path = path};
    for (size_t i = 0; i < g->n; i++) {
        w.path_n = 0;
        if (colors[i] == WHITE && visit(&w, i, g->order, err) < 0) {
            graph_release(g);
            return -1;
        }
    }
    return 0;
}

void graph_release(struct graph *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->nodes[i].needs);
        free(g->nodes[i].needed_by);
    }
    free(g->nodes);
    free(g->order);
    *g = (struct graph){0};
}

static void select_from(const struct graph *g, size_t i, bool with_dependencies, bool *selected)
{
    if (selected[i])
        return;
    selected[i] = true;
    for (size_t k = 0; with_dependencies && k < g->nodes[i].needs_n; k++)
        select_from(g, g->nodes[i].needs[k], true, selected);
}

int graph_select(const struct graph *g, const struct strings *names, bool with_dependencies,
                 bool *selected, struct err *err)
{
    for (size_t i = 0; !names->n && i < g->n; i++)
        selected[i] = true;
    for (size_t k = 0; k < names->n; k++) {
        bool found = false;
        for (size_t i = 0; i < g->n; i++)
            if (streq(g->nodes[i].service->name, names->v[k])) {
                select_from(g, i, with_dependencies, selected);
                found = true;
            }
        if (!found)
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", names->v[k]);
    }
    return 0;
}
