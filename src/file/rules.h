/* What a document must fulfil beyond the schema. */
#ifndef FILE_RULES_H
#define FILE_RULES_H

#include "file/pass.h"

/* Within single values; on a model in the long form, before types and names are filled in. */
void rules_check_values(const struct pass *p, struct node *root);
/* Between the parts of a project: references, cycles, keys that exclude each other. root: typed,
 * with the enabled services only; disabled: the others. */
void rules_check_project(const struct pass *p, const struct node *root,
                         const struct node *disabled);

#endif
