/* Inside of the encoder: the walk over a document on one side, the formats on the other. */
#ifndef MODEL_SINK_H
#define MODEL_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "file/node.h"

enum { SINK_DEPTH_MAX = 512 }; /* documents are not nested deeper than YAML_DEPTH_MAX */

/* A format. The walk calls mapping(n), then n times key() and a value, then end(); sequences the
 * same with item(). Empty ones have no end(). */
struct sink {
    void (*mapping)(struct sink *s, size_t members);
    void (*key)(struct sink *s, const char *key);
    void (*sequence)(struct sink *s, size_t items);
    void (*item)(struct sink *s);
    void (*end)(struct sink *s);
    void (*scalar)(struct sink *s, const struct node *n);
    struct strbuf *out;
    void (*take)(const char *text, size_t n); /* of encode_yaml_to(); NULL: all stays in out */
    bool taken;                               /* something was */
    unsigned flags;                           /* enum encode_flags */
    bool json;
    bool failed; /* met a value that the format does not have */
};

struct json_sink {
    struct sink sink;
    int depth;
    bool first[SINK_DEPTH_MAX]; /* by depth: nothing was written at this level yet */
    bool sequence[SINK_DEPTH_MAX];
};

struct yaml_sink {
    struct sink sink;
    int depth;
    bool sequence[SINK_DEPTH_MAX];
    bool first[SINK_DEPTH_MAX];
    bool inline_next; /* the next key or item goes on the line of a "- " */
};

void json_sink_init(struct json_sink *s, struct strbuf *out, unsigned flags);
void yaml_sink_init(struct yaml_sink *s, struct strbuf *out, unsigned flags);

/* The order in which go-yaml prints keys: digits by value, letters after everything else. */
int yaml_key_compare(const char *a, const char *b);

#endif
