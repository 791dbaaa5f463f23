/* The last events of a project's containers, on disk: ROOT/projects/P/events, one JSON object a line
 * (engine/protocol.h, "container", without labels), so that they outlive the supervisor. When the file is
 * full it becomes events.1 in the place of the one before. */
#ifndef ENGINE_HISTORY_H
#define ENGINE_HISTORY_H

#include "base/json.h"
#include "engine/engine.h"

/* A failure loses the event for later and nothing else. */
void history_add(const struct engine *e, const json_t *event);
/* Calls found for the events from since to until (ns since the epoch; until 0: no end), in order. */
void history_read(const struct engine *e, int64_t since, int64_t until,
                  void (*found)(void *ctx, const json_t *event), void *ctx);

#endif
