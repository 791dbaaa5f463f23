#include "model/graph.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"

static long index_of(const struct project *p, const char *name)
{
    const struct service *s = project_service(p, name);
    return s ? (long)(s - p->services) : -1;
}

/* Edges to services that are not there (disabled, not required) are left out. */
static void connect(struct graph *g, const struct project *p)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct service *s = &p->services[i];
        g->nodes[i].service = &p->services[i];
        g->nodes[i].needs = xcalloc(s->depends_on_n + 1, sizeof(size_t));
        for (size_t k = 0; k < s->depends_on_n; k++) {
            long j = index_of(p, s->depends_on[k].service);
            if (j < 0)
                continue;
            g->nodes[i].needs[g->nodes[i].needs_n++] = (size_t)j;
            g->nodes[j].needed_by_n++;
        }
    }
    for (size_t i = 0; i < g->n; i++) {
        g->nodes[i].needed_by = xcalloc(g->nodes[i].needed_by_n + 1, sizeof(size_t));
        g->nodes[i].needed_by_n = 0;
    }
    for (size_t i = 0; i < g->n; i++)
        for (size_t k = 0; k < g->nodes[i].needs_n; k++) {
            struct graph_node *other = &g->nodes[g->nodes[i].needs[k]];
            other->needed_by[other->needed_by_n++] = i;
        }
}

/* A heap with the smallest index on top. */
struct heap {
    size_t *v;
    size_t n;
};

static void heap_push(struct heap *h, size_t x)
{
    size_t i = h->n++;
    while (i && h->v[(i - 1) / 2] > x) {
        h->v[i] = h->v[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->v[i] = x;
}

static size_t heap_pop(struct heap *h)
{
    size_t top = h->v[0], x = h->v[--h->n], i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->v[child + 1] < h->v[child])
            child++;
        if (h->v[child] >= x)
            break;
        h->v[i] = h->v[child];
    }
    h->v[i] = x;
    return top;
}

/* Takes the first by name of those whose needs are met, again and again; how many were taken. */
static size_t sort(struct graph *g, size_t *open)
{
    struct heap ready = {.v = xcalloc(g->n + 1, sizeof(size_t))};
    size_t done = 0;
    for (size_t i = 0; i < g->n; i++) {
        open[i] = g->nodes[i].needs_n;
        if (!open[i])
            heap_push(&ready, i);
    }
    while (ready.n) {
        size_t i = heap_pop(&ready);
        g->order[done++] = i;
        for (size_t k = 0; k < g->nodes[i].needed_by_n; k++)
            if (--open[g->nodes[i].needed_by[k]] == 0)
                heap_push(&ready, g->nodes[i].needed_by[k]);
    }
    free(ready.v);
    return done;
}

static const struct dependency *edge(const struct graph *g, size_t from, size_t to)
{
    const struct service *s = g->nodes[from].service;
    for (size_t k = 0; k < s->depends_on_n; k++)
        if (streq(s->depends_on[k].service, g->nodes[to].service->name))
            return &s->depends_on[k];
    return NULL;
}

/* Among the services that are still open each needs another open one: walking on repeats one. */
static int report_cycle(const struct graph *g, const size_t *open, struct err *err)
{
    size_t *step AUTOFREE = xcalloc(g->n, sizeof(size_t)); /* 1 + position on the way */
    size_t *way AUTOFREE = xcalloc(g->n + 1, sizeof(size_t));
    size_t i = 0, n = 0;
    while (!open[i])
        i++;
    while (!step[i]) {
        way[n++] = i;
        step[i] = n;
        size_t k = 0;
        while (!open[g->nodes[i].needs[k]])
            k++;
        i = g->nodes[i].needs[k];
    }
    way[n] = i;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    strbuf_addstr(&text, "dependency cycle detected: ");
    for (size_t k = step[i] - 1; k <= n; k++)
        strbuf_addf(&text, "%s%s", k == step[i] - 1 ? "" : " -> ", g->nodes[way[k]].service->name);
    for (size_t k = step[i] - 1; k < n; k++) {
        const struct dependency *d = edge(g, way[k], way[k + 1]);
        strbuf_addf(&text, "\n  %s:%d:%d: \"%s\" depends on \"%s\"",
                    d->mark.file ? d->mark.file : "-", d->mark.line, d->mark.col,
                    g->nodes[way[k]].service->name, d->service);
    }
    return err_set(err, ERR_INVALID, "%s", text.buf);
}

int graph_init(struct graph *g, const struct project *p, struct err *err)
{
    *g = (struct graph){.n = p->services_n,
                        .nodes = xcalloc(p->services_n + 1, sizeof(*g->nodes)),
                        .order = xcalloc(p->services_n + 1, sizeof(*g->order))};
    connect(g, p);
    size_t *open AUTOFREE = xcalloc(g->n + 1, sizeof(size_t));
    if (sort(g, open) == g->n)
        return 0;
    report_cycle(g, open, err);
    graph_release(g);
    return -1;
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

int graph_select(const struct graph *g, const struct strings *names, bool with_dependencies,
                 bool *selected, struct err *err)
{
    memset(selected, !names->n, g->n * sizeof(*selected));
    for (size_t k = 0; k < names->n; k++) {
        bool found = false;
        for (size_t i = 0; i < g->n; i++)
            if (fnmatch(names->v[k], g->nodes[i].service->name, FNM_PATHNAME) == 0)
                found = selected[i] = true;
        if (!found)
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", names->v[k]);
    }
    /* Dependents stand after what they need, so one walk from the end reaches everything. */
    for (size_t k = g->n; with_dependencies && k-- > 0;) {
        size_t i = g->order[k];
        for (size_t m = 0; selected[i] && m < g->nodes[i].needs_n; m++)
            selected[g->nodes[i].needs[m]] = true;
    }
    return 0;
}
