/* How long the turns of the loop take: what the supervisor does between two waits, during which nobody else is
 * served. Always counted; told by the request "turns". */
#ifndef ENGINE_TURNS_H
#define ENGINE_TURNS_H

#include <uv.h>

#include "base/json.h"

struct turns;

/* Before anything else is started on the loop. */
struct turns *turns_new(uv_loop_t *loop);
/* {"ms": [upper bounds...], "turns": [one more: how many...], "worst": ms, "worst_cpu": ms} since the last time. */
json_t *turns_take(struct turns *t);
void turns_close(struct turns *t);

#endif
