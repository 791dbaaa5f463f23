/* Short forms to long ones, so that what comes after knows one form of each key. */
#ifndef FILE_CANONICAL_H
#define FILE_CANONICAL_H

#include "file/pass.h"

/* lenient: values that cannot be read yet, because their variables are not substituted, stay as
 * they are. */
void canonical_document(const struct pass *p, struct node *root, bool lenient);
/* Puts in what the reference puts in where a value is missing. */
void canonical_defaults(const struct pass *p, struct node *root);

#endif
