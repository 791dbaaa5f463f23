/* Compose files that are not on this machine: "oci://NAME" in -f, include: and extends:. Who
 * fetches them stands in the load options. */
#ifndef FILE_REMOTE_H
#define FILE_REMOTE_H

#include "file/load.h"
#include "file/pass.h"

/* oci://, git://, https://, ... */
bool remote_is(const char *path);
/* The local file that stands for it, in the arena; NULL where that was reported, at mark. */
const char *remote_fetch(const struct pass *pass, const struct load_options *options,
                         const char *path, const struct mark *mark);

#endif
