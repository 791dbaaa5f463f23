/* What each file said before the files were joined: kept for `config --explain` only. Every
 * function takes h NULL and then does nothing. */
#ifndef FILE_HISTORY_H
#define FILE_HISTORY_H

#include "base/vec.h"
#include "file/env.h"
#include "file/yaml.h"

/* A document, or the variables that a file gave to a service. */
struct history_layer {
    const struct yaml_document *doc; /* its !reset and !override; NULL: variables */
    const struct node *root;         /* as interpolated, with extends: and the short forms */
    const char *path;                /* of the file, absolute */
    const char *dir;                 /* against which extends.file is looked for */
    const char *how;                 /* it came in: "include", "env file", "label file" */
    struct mark by;                  /* the include, or where the file of variables is named */
    bool extended;                   /* read because of an extends.file */
};

/* Two elements of a list were the same by the rule of the list. */
struct history_replaced {
    struct mark winner, loser;
};

struct history {
    VEC(struct history_layer) layers; /* in the order in which they were joined */
    VEC(struct history_replaced) replaced;
    VEC(struct yaml_merge) merges;
};

struct history *history_new(struct arena *a);
/* Frees what is not the arena's. */
void history_release(struct history *h);
/* Adds the layer, with a copy of its document. */
void history_document(struct history *h, struct arena *a, struct history_layer layer);
void history_replaced(struct history *h, const struct mark *winner, const struct mark *loser);
void history_merge(struct history *h, struct yaml_merge merge);
/* Those of vars that file gave, as services.SERVICE.KEY. by: where the file is named. */
void history_variables(struct history *h, struct arena *a, const char *service, const char *key,
                       const struct mark *by, const char *file, const struct env *vars);

#endif
