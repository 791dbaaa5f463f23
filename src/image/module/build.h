/* What a build section says, as far as others than the build itself want to know it. */
#ifndef IMAGE_MODULE_BUILD_H
#define IMAGE_MODULE_BUILD_H

#include "image/transfer.h"

/* Its text, heap; *text NULL: it belongs to a context that is a URL. */
int build_dockerfile_text(const struct build_request *request, char **text, struct err *err);
/* The platforms to build for, NULL-terminated; NULL in the first place: this machine's alone. */
const char **build_platforms(const struct build_request *request);
/* NAME=VALUE of all that a FROM may use, for one of them: BuildKit's own names and the build
 * arguments. */
char **build_platform_args(const struct build_request *request, const char *platform);
/* Whether additional_contexts has something of that name. */
bool build_has_context(const struct build *build, const char *name);

#endif
