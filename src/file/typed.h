/* Gives every value of a normalized document its final type and form, as file/fields.h lists them:
 * what model/decode.c reads and config prints. Values without effect (empty, zero, false, null)
 * are left out where the reference leaves them out; names are put in byte order. */
#ifndef FILE_TYPED_H
#define FILE_TYPED_H

#include "file/pass.h"

void typed_document(const struct pass *p, struct node *root);

#endif
