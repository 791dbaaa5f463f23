/* The document tree: what YAML says, with the place of every node kept through interpolation,
 * extends, include and merge. All of it lives in one arena. */
#ifndef FILE_NODE_H
#define FILE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum node_kind { NODE_NULL, NODE_BOOL, NODE_INT, NODE_FLOAT, NODE_STRING, NODE_SEQUENCE, NODE_MAPPING };

/* Where a node stands; line and col count from 1, 0: not from a file. */
struct mark {
    const char *file;
    int line, col;
};

struct node_pair {
    const char *key;
    struct mark key_mark;
    struct node *value;
};

struct node {
    enum node_kind kind;
    struct mark mark;
    union {
        bool boolean;
        int64_t integer;
        double number;
        const char *string;
        struct {
            struct node **v;
            size_t n, cap;
        } seq;
        struct {
            struct node_pair *v; /* in the order of the file */
            size_t n, cap;
        } map;
    };
    /* more fields as the front end needs them: style, tag (!reset, !override), raw text, origin */
};

/* The value of key in a mapping, or NULL (also where n is NULL or no mapping). */
struct node *node_get(const struct node *n, const char *key);
/* The string of a string node, else NULL. */
const char *node_str(const struct node *n);

#endif
