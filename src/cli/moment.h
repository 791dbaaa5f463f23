/* --since and --until. */
#ifndef CLI_MOMENT_H
#define CLI_MOMENT_H

#include <stdint.h>

#include "base/err.h"

/* A point in time: RFC 3339 and its beginnings (in UTC), seconds since the epoch, or how long ago
 * ("42m"). *out in ns since the epoch; "" gives 0. */
int moment_parse(const char *s, int64_t *out, struct err *err);

#endif
