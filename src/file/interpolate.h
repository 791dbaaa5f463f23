/* Substitutes variables in all string values of a document and casts the strings of numeric and
 * boolean keys. */
#ifndef FILE_INTERPOLATE_H
#define FILE_INTERPOLATE_H

#include "file/env.h"
#include "file/pass.h"

/* Variables for which "is not set" was said already: once a project is enough. */
struct unset_seen {
    struct map names;
};

void unset_seen_release(struct unset_seen *s);

/* Changes the tree in place; a value that cannot be substituted is reported and marked faulty. */
void interpolate_document(const struct pass *p, struct node *root, const struct env *env,
                          struct unset_seen *seen);
/* One string on its own (name:). -1 where it was reported. */
int interpolate_string(const struct pass *p, const struct node *n, const struct env *env,
                       struct unset_seen *seen, const char **out);
/* The words that a boolean key takes as a string: true, yes, on, y and their opposites. */
bool interpolate_bool(const char *s, bool *v);

#endif
