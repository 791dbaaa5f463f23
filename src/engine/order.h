/* Who must wait for whom among containers that exist, as the labels of their services say. */
#ifndef ENGINE_ORDER_H
#define ENGINE_ORDER_H

#include "engine/engine.h"

/* c needs other, directly or through services in between. Not where they would wait for each other. */
bool order_depends_on(struct container *c, struct container *other);
/* c shares a namespace of other by its name ("container:NAME"), which is no dependency between services. Not where
 * they would wait for each other. */
bool order_joins(struct container *c, struct container *other);

#endif
