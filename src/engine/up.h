/* Pieces of `up` that `run` needs too. */
#ifndef ENGINE_UP_H
#define ENGINE_UP_H

#include "engine/operation.h"

/* Makes the request's project the engine's and keeps it on disk. */
int operation_take_project(struct operation *op, struct err *err);

#endif
