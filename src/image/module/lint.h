/* `build --check`: what BuildKit would warn about in a Dockerfile, by the same rules and with the same
 * words (docs.docker.com/reference/build-checks). UndefinedVar is not among them: it needs the
 * environment of the base images. */
#ifndef IMAGE_MODULE_LINT_H
#define IMAGE_MODULE_LINT_H

#include <stddef.h>

/* line counts from 1; rule: "StageNameCasing". */
typedef void (*lint_warning)(void *ctx, const char *rule, const char *message, size_t line);

void dockerfile_lint(const char *text, lint_warning warn, void *ctx);

#endif
