/* The dependency graph of a project: order and cycles. */
#ifndef MODEL_GRAPH_H
#define MODEL_GRAPH_H

#include "base/err.h"
#include "model/project.h"

struct graph_node {
    struct service *service;
    size_t *needs; /* indices of the services that it depends on */
    size_t needs_n;
    size_t *needed_by;
    size_t needed_by_n;
};

struct graph {
    struct graph_node *nodes; /* index = index in project->services */
    size_t n;
    size_t *order; /* dependencies before dependents; ties by name */
};

/* ERR_INVALID on a cycle, whose path is printed with the places of its edges:
 * "dependency cycle detected: a -> b -> a" and a line for each. */
int graph_init(struct graph *g, const struct project *p, struct err *err);
void graph_release(struct graph *g);
/* Marks (selected[i] = true) each service in names and what it depends on. names empty: all. */
int graph_select(const struct graph *g, const struct strings *names, bool with_dependencies,
                 bool *selected, struct err *err);

#endif
