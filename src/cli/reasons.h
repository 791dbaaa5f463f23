/* Why something is replaced, for people: fields with their old and new values, and the place of the
 * new one in the files. */
#ifndef CLI_REASONS_H
#define CLI_REASONS_H

#include "base/json.h"
#include "model/project.h"

/* reasons: as of engine/protocol.h. Array of objects of strings: "field", "old", "new", "text", "at"
 * ("compose.yaml:7"), where known. p NULL: no places. NULL for NULL; new reference. */
json_t *reasons_resolve(const json_t *reasons, const struct project *p);

/* The place in the files of what the path leads to, or of the nearest thing around it: "compose.yaml:7".
 * NULL: not known. Heap. */
char *place_of_path(const struct project *p, const json_t *path);

/* Puts that place after the first line of the message: "no such thing (compose.yaml:7)". Returns -1. */
int err_at_path(struct err *err, const struct project *p, const json_t *path);

/* One of them in a line: `environment.A: "1" -> "2" (compose.yaml:7)`. Heap. */
char *reason_line(const json_t *reason);

#endif
