/* Decodes one service of a normalized document. */
#ifndef MODEL_DECODE_SERVICE_H
#define MODEL_DECODE_SERVICE_H

#include "model/project.h"

/* name and pair are borrowed from the document, which lives in the same arena. */
void decode_service(struct arena *a, const char *name, const struct node *n, struct mark mark,
                    struct service *out);

#endif
