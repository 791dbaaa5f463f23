/* Checks a merged document against the schema and says all that is wrong, each at its place.
 *
 * What is wrong is taken out of the tree afterwards, and the service, network, ... around it is
 * marked faulty, so that the later passes find only what they expect and report what else there
 * is without repeating themselves. */
#ifndef FILE_VALIDATE_H
#define FILE_VALIDATE_H

#include "file/pass.h"
#include "file/schema.h"

void validate_document(const struct pass *p, const struct schema_set *schema, struct node *root);
/* A file that services are extended from: they are validated where they end up, and those that
 * nothing extends never. What is checked in all of them, as in the reference, is what short forms
 * and repetitions are told by. */
void validate_extended(const struct pass *p, const struct schema_set *schema, struct node *root);

#endif
