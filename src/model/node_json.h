/* Documents as JSON and back: how a project travels between processes, without its places. */
#ifndef MODEL_NODE_JSON_H
#define MODEL_NODE_JSON_H

#include "base/json.h"
#include "file/node.h"

/* New reference. A mapping keeps its order; infinities become null, bytes that are no UTF-8 U+FFFD. */
json_t *node_to_json(const struct node *n);
/* Strings are copied into the arena. */
struct node *node_from_json(struct arena *a, const json_t *j);

#endif
