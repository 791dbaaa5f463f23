/* What start and restart cannot do, for want of containers: they make none. */
#ifndef ENGINE_MISSING_H
#define ENGINE_MISSING_H

#include "engine/operation.h"

/* Marks in blocked (by service) those that the operation would come to and whose dependencies have no
 * container, with what depends on them, and says in why of the first what is missing. Conditions that a
 * dependency only has to have started ask for nothing, as in the reference. */
void missing_find(struct operation *op, const struct project_ref *ref, bool *blocked,
                  struct err *why);

#endif
