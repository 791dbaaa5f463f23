/* What the files imply, made explicit: the default network, names of resources, values of
 * variables given without one, dependencies that follow from other keys. */
#ifndef FILE_NORMALIZE_H
#define FILE_NORMALIZE_H

#include "file/env.h"
#include "file/pass.h"

void normalize_document(const struct pass *p, struct node *root, const struct env *env,
                        const char *project);
/* What scale says, where deploy is given: of services that were found to be in order. As the
 * reference, not of those that are active only because they are named. */
void normalize_replicas(const struct pass *p, struct node *root);

#endif
