/* Variable references in a string: $V ${V} ${V:-d} ${V-d} ${V:?e} ${V?e} ${V:+r} ${V+r}, nested;
 * "$$" is a dollar, and a "$" before anything else stands for itself. Follows the reference where
 * the specification is silent: an operator's text reaches to the brace that closes it and not over
 * the end of its line; it is substituted even where it is not used. */
#ifndef FILE_TEMPLATE_H
#define FILE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

enum {
    TEMPLATE_DEPTH_MAX = 50,       /* nesting of references */
    TEMPLATE_RESULT_MAX = 4 << 20, /* bytes */
};

enum template_source {
    TEMPLATE_FROM_VARIABLE,
    TEMPLATE_FROM_DEFAULT,     /* the text after "-" */
    TEMPLATE_FROM_ALTERNATIVE, /* the text after "+" */
    TEMPLATE_FROM_NOTHING,     /* unset, and so blank */
};

struct template_vars {
    /* The value, or NULL. */
    const char *(*lookup)(void *ctx, const char *name);
    /* A reference without a default names an unset variable; may be NULL. */
    void (*unset)(void *ctx, const char *name);
    /* A reference became value, which stands in the result; nested ones come first. May be NULL. */
    void (*used)(void *ctx, const char *name, enum template_source from, const char *value);
    void *ctx;
};

enum template_fault {
    TEMPLATE_OK,
    TEMPLATE_INVALID,  /* what: the reference from its "${" on */
    TEMPLATE_REQUIRED, /* what: the variable; reason: the text after "?", maybe empty */
    TEMPLATE_TOO_DEEP,
    TEMPLATE_TOO_LONG,
};

struct template_error {
    enum template_fault fault;
    const char *what, *reason;
};

/* *out is s itself where it holds no "$"; else in the arena. -1 with *e set. */
int template_substitute(struct arena *a, const char *s, const struct template_vars *vars,
                        const char **out, struct template_error *e);

struct template_variable {
    const char *name;
    const char *value;       /* after "-", else "" */
    const char *alternative; /* after "+", else "" */
    bool required;
};

/* Calls found for each reference in s, nested ones too; malformed ones are passed over. */
void template_variables(struct arena *a, const char *s,
                        void (*found)(void *ctx, const struct template_variable *v), void *ctx);

#endif
