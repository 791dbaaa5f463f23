/* YAML text to document trees: libyaml's events composed with marks, anchors, merge keys and the
 * tags !reset and !override.
 *
 * Bounds for hostile input: YAML_FILE_MAX bytes, YAML_DEPTH_MAX levels, YAML_NODES_MAX nodes as
 * written and YAML_ALIAS_NODES_MAX more made by aliases. */
#ifndef FILE_YAML_H
#define FILE_YAML_H

#include <stddef.h>

#include "file/diag.h"
#include "file/node.h"

enum {
    YAML_FILE_MAX = 32 << 20,
    YAML_DEPTH_MAX = 200,
    YAML_NODES_MAX = 3000000,
    YAML_ALIAS_NODES_MAX = 1000000,
};

/* Where !reset or !override stands: the keys from the top. List elements are numbers. */
struct node_path {
    const char **keys;
    size_t n;
    struct mark mark;
    bool replaces; /* !override */
};

/* What a merge key did: "<<" at `at` brought key into the mapping at map, or would have, had the
 * mapping (or a merge before) not had the key itself. */
struct yaml_merge {
    struct mark map, at;
    const char *key;
    const struct node *value;
    bool lost;
};

struct yaml_document {
    struct node *root; /* NODE_NULL for an empty document */
    struct node_path *resets;
    size_t resets_n;
};

struct yaml_stream {
    struct yaml_document *docs;
    size_t n;
};

struct origins;

/* Duplicate and non-string keys are reported and left out. file must live as long as the tree.
 * origins: where aliases and merge keys are recorded, NULL: nowhere. -1 where the syntax does not
 * allow to read on; the errors are in d in any case. */
int yaml_parse(struct arena *a, const char *file, const char *text, size_t len,
               struct origins *origins, struct yaml_stream *out, struct diag *d);

#endif
