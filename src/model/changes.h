/* What differs between two versions of a document or a part of it, field by field. */
#ifndef MODEL_CHANGES_H
#define MODEL_CHANGES_H

#include "base/json.h"

/* Appends to list (an array) one object a field that differs: {"path": [KEY or INDEX, ...], "old":
 * V, "new": V}; "old" is missing where the field is new, "new" where it is gone. path: where a and
 * b stand, borrowed; NULL: at the root. a or b NULL: not there. */
void changes_add(json_t *list, const json_t *path, const json_t *a, const json_t *b);

/* A new path of strings, for changes_add(). */
json_t *changes_path(const char *first, ...) __attribute__((sentinel));

#endif
