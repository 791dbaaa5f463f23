/* Where a value of the document comes from: what `config --explain PATH` tells. */
#ifndef FILE_EXPLAIN_H
#define FILE_EXPLAIN_H

#include "file/env.h"
#include "file/origin.h"
#include "file/pass.h"

enum explain_kind {
    EXPLAIN_SET,        /* this is the value */
    EXPLAIN_PART,       /* one of those that a list or mapping was joined from */
    EXPLAIN_OVERRIDDEN, /* another one came over it */
    EXPLAIN_REMOVED,    /* !reset: nothing from before stays */
    EXPLAIN_REPLACED,   /* !override: the same, with a value of its own */
};

/* How a place came into the project: "alias", "merge key", "extends", "include", "env file",
 * "label file". */
struct explain_way {
    const char *how;
    struct mark mark;
};

enum { EXPLAIN_WAYS_MAX = 16 };

/* One place that has said something about the value. */
struct explain_step {
    enum explain_kind kind;
    struct mark mark;
    const struct node *value; /* with its variables substituted, in the form of the file; or NULL */
    const char *text;         /* as it is written, where that has variables; else NULL */
    struct explain_way ways[EXPLAIN_WAYS_MAX];
    size_t ways_n;
    struct origin_variable *variables; /* that the text refers to */
    size_t variables_n;
};

struct explain {
    const char *path; /* in: "services.web.ports[0]", "services.web.labels[\"a.b\"]" */
    /* out, in the arena of the document; value NULL: there is no such path, which is reported */
    const struct node *value;
    struct mark mark; /* of the value; no file: nothing that the files say brought it in */
    struct explain_step *steps; /* the value that counts first, then back to the oldest; none: a
                                   default */
    size_t n;
};

/* Uses the history in p->origins. env: the project's variables. */
void explain_find(const struct pass *p, const struct node *root, const struct node *disabled,
                  const struct env *env, struct explain *e);

#endif
