/* The document tree: what YAML says, with the place of every node kept through interpolation,
 * extends, include and merge. All of it lives in one arena. */
#ifndef FILE_NODE_H
#define FILE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum node_kind {
    NODE_NULL,
    NODE_BOOL,
    NODE_INT,
    NODE_FLOAT,
    NODE_STRING,
    NODE_SEQUENCE,
    NODE_MAPPING
};

/* !reset and !override, and what a plain scalar resolves to besides the kinds above. */
enum node_tag {
    TAG_NONE,
    TAG_RESET,
    TAG_OVERRIDE,
    TAG_TIMESTAMP, /* of a string: an unquoted date, which the format has no use for */
    TAG_FLOAT32,   /* of a number: single precision, which shows when it is printed */
    TAG_UINT64,    /* of a number: an integer over INT64_MAX, whose digits are raw */
};

/* Lines and columns of the largest file fit (YAML_FILE_MAX); more aliases are not told of. */
enum { MARK_BITS = 25, ALIAS_BITS = 14, MARK_MAX = (1 << MARK_BITS) - 1, ALIASES_MAX = 16383 };

/* Where a node stands; line and col count from 1, 0: not from a file. alias: the one that put a
 * copy of it where it is (origins_alias()), 0: none. */
struct mark {
    const char *file;
    uint64_t line : MARK_BITS, col : MARK_BITS, alias : ALIAS_BITS;
};

/* The same place, by way of whichever alias. False where either is not from a file. */
bool mark_equal(const struct mark *a, const struct mark *b);

/* Pairs and nodes are 32 bytes each: a project of ten thousand services has more than half a million
 * of either. */
struct node_pair {
    const char *key;
    struct mark key_mark;
    struct node *value;
};

struct node {
    enum node_kind kind : 8;
    uint8_t tag;      /* enum node_tag */
    bool faulty : 1;  /* an error inside was reported; later passes leave it alone */
    bool implied : 1; /* not written by the user: a default that a pass put in */
    uint8_t field;    /* where field_of() found its key the last time */
    uint32_t count;   /* of the items or pairs */
    struct mark mark;
    union {
        bool boolean;
        int64_t integer;
        double number;
        uint64_t whole; /* of a number with TAG_UINT64 */
        const char *string;
        struct node **items;     /* made by node_reserve(), as pairs are */
        struct node_pair *pairs; /* in the order of the file */
    };
};

/* The value of key in a mapping, or NULL (also where n is NULL or no mapping). */
struct node *node_get(const struct node *n, const char *key);
/* The pair of key, or NULL. It moves when pairs are added or removed. */
struct node_pair *node_pair(const struct node *n, const char *key);
/* The string of a string node, else NULL. */
const char *node_str(const struct node *n);
/* The string of a string member, else NULL. */
const char *node_get_str(const struct node *n, const char *key);
/* The value of a NODE_FLOAT. */
double node_number(const struct node *n);
/* The boolean of a boolean member, else the fallback. */
bool node_get_bool(const struct node *n, const char *key, bool fallback);

static inline bool node_is(const struct node *n, enum node_kind kind)
{
    return n && n->kind == kind;
}

/* A value that counts as given: neither missing nor null. */
static inline bool node_given(const struct node *n)
{
    return n && n->kind != NODE_NULL;
}

/* New nodes; strings are not copied, so they must live as long as the arena. */
struct node *node_new(struct arena *a, enum node_kind kind, struct mark mark);
struct node *node_new_string(struct arena *a, const char *s, struct mark mark);
struct node *node_new_int(struct arena *a, int64_t v, struct mark mark);
struct node *node_new_bool(struct arena *a, bool v, struct mark mark);

/* Makes room for n members or elements in all, and no more than that. */
void node_reserve(struct arena *a, struct node *n, size_t members);
/* Sets or replaces; a replaced key keeps its place in the order. */
void node_set(struct arena *a, struct node *map, const char *key, struct mark key_mark,
              struct node *value);
/* Like node_set for a key that is not from a file: it gets the mark of its value. */
void node_put(struct arena *a, struct node *map, const char *key, struct node *value);
bool node_del(struct node *map, const char *key);
/* Removes pair i, keeping the order. */
void node_del_at(struct node *map, size_t i);
/* For those who moved or removed pairs by hand: from then on keys are searched linearly. */
void node_moved(struct node *map);
void node_append(struct arena *a, struct node *seq, struct node *value);
/* Deep copy; strings are shared. */
struct node *node_clone(struct arena *a, const struct node *n);
bool node_equal(const struct node *a, const struct node *b);
/* Pairs by key, byte order: how the reference prints every mapping of names. */
void node_sort(struct node *map);

/* "null", "boolean", "integer", "number", "string", "list", "mapping" */
const char *node_kind_name(const struct node *n);
/* The scalar as Go's fmt.Sprint writes it (1e6 is "1e+06", 1.50 is "1.5", null is "<nil>"); a
 * string is returned as it is. NULL for a sequence or mapping. */
const char *node_text(struct arena *a, const struct node *n);
/* The shortest digits that read back as v; bits is 32 or 64. With an exponent below 1e-4 and from
 * 10^exponent_from on: 6 as Go prints numbers, 21 as its JSON has them. */
void node_format_float(double v, int bits, int exponent_from, char out[40]);

#endif
