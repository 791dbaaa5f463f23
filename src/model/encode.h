/* Documents as config prints them, and the short lists of its options. */
#ifndef MODEL_ENCODE_H
#define MODEL_ENCODE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "file/load.h"

enum encode_flags {
    ENCODE_UNTYPED = 1 << 0, /* root was loaded with no_interpolate: printed as it is, by name */
    ENCODE_KEEP_DOLLAR = 1 << 1, /* do not write "$$" for "$" */
    ENCODE_COMPACT = 1 << 2,     /* JSON on one line */
};

/* As the reference prints them: key order, quoting, indentation. YAML ends with a newline, JSON
 * does not. encode_json fails on infinities and not-a-number, which JSON does not have. */
void encode_yaml(const struct node *root, unsigned flags, struct strbuf *out);
int encode_json(const struct node *root, unsigned flags, struct strbuf *out, struct err *err);
/* The same in pieces, both with a newline at the end: it may be larger than all that was read.
 * Where encode_json_to fails, nothing was taken. */
typedef void encode_take(const char *text, size_t n);
void encode_yaml_to(const struct node *root, unsigned flags, encode_take *take);
int encode_json_to(const struct node *root, unsigned flags, encode_take *take, struct err *err);
/* One service (a member of services) as compact JSON: what its hash is taken of. */
int encode_service(const struct node *service, struct strbuf *out, struct err *err);

enum config_list {
    LIST_SERVICES,
    LIST_VOLUMES,
    LIST_NETWORKS,
    LIST_MODELS,
    LIST_IMAGES,
    LIST_PROFILES, /* also of disabled services */
};

/* One name a line, sorted. The reference lists without reading env_file: load with
 * no_env_resolution. */
void encode_list(const struct document *doc, enum config_list what, struct strbuf *out);

#endif
