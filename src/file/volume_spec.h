/* The short form of a service's volume: [SOURCE:]TARGET[:OPTION,...]. */
#ifndef FILE_VOLUME_SPEC_H
#define FILE_VOLUME_SPEC_H

#include <stdbool.h>

#include "base/arena.h"

struct volume_spec {
    const char *source; /* NULL: anonymous */
    const char *target;
    bool bind;  /* source is a path */
    bool brief; /* one or two bytes: nothing but a target, in whatever form */
    bool read_only, nocopy;
    const char *propagation, *selinux;
};

/* NULL, or what is wrong with spec. "C:" and one letter more count as a Windows drive; colons
 * inside ${...} do not count, so that a spec can be read before interpolation. */
const char *volume_spec_parse(struct arena *a, const char *spec, struct volume_spec *out);
/* The target of a well-formed spec, else NULL. */
const char *volume_spec_target(struct arena *a, const char *spec);

#endif
