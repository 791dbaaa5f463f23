/* `build --check`: what BuildKit would warn about in a Dockerfile, by the same rules and with the same
 * words (docs.docker.com/reference/build-checks). */
#ifndef IMAGE_MODULE_LINT_H
#define IMAGE_MODULE_LINT_H

#include <stddef.h>

/* line counts from 1; rule: "StageNameCasing". */
typedef void (*lint_warning)(void *ctx, const char *rule, const char *message, size_t line);

struct lint_source {
    const char *text;
    const char *const
        *args; /* "NAME=VALUE" of --build-arg, and what BuildKit defines; NULL: none */
    /* The variables that an image gives its containers, heap; NULL: not known, and then nothing is
     * said of those of a stage that starts from it. platform: of FROM, may be NULL. */
    char **(*environment)(void *ctx, const char *image, const char *platform);
    void *ctx;
};

void dockerfile_lint(const struct lint_source *source, lint_warning warn, void *ctx);

#endif
