/* Dockerfile instructions applied to the config of an image (import --change, commit --change). */
#ifndef IMAGE_MODULE_CHANGES_H
#define IMAGE_MODULE_CHANGES_H

#include "base/err.h"
#include "base/json.h"

/* config: the object "config" of an OCI image config. CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK,
 * LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are known, as Docker's. */
int changes_apply(json_t *config, const char *const *changes, struct err *err);

#endif
