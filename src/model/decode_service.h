/* Inside of the decoder: one service of a normalized document. */
#ifndef MODEL_DECODE_SERVICE_H
#define MODEL_DECODE_SERVICE_H

#include "model/project.h"

void decode_service(struct arena *a, const struct node_pair *from, struct service *s);

/* Members of a typed mapping; missing ones give NULL, empty lists or the fallback. */
const char *decode_string(const struct node *n, const char *key);
struct key_values decode_pairs(struct arena *a, const struct node *map);
/* 1, 0 or UNSET */
int decode_flag(const struct node *n, const char *key);

#endif
