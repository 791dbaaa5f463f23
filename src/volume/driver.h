/* The local driver's options (type, o, device): a volume that stands for a mount. */
#ifndef VOLUME_DRIVER_H
#define VOLUME_DRIVER_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/* Refuses options that the local driver does not know. */
int driver_check(const json_t *options, struct err *err);
bool driver_wants_mount(const json_t *options);
/* Mounts on target unless something is mounted there already. */
int driver_mount(const json_t *options, const char *target, struct err *err);

#endif
