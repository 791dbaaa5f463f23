/* Which images a Dockerfile starts from or copies from. Only as much of the language as that needs:
 * line continuation, comments, here-documents, ARG before FROM, variables in FROM. */
#ifndef IMAGE_MODULE_DOCKERFILE_H
#define IMAGE_MODULE_DOCKERFILE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/vec.h"

struct base_image {
    char *name;     /* as it stands, variables replaced */
    char *platform; /* of FROM --platform=, variables replaced; NULL: none */
};

typedef VEC(struct base_image) base_images;

/* args: "NAME=VALUE" of --build-arg, NULL-terminated; they replace the defaults of ARG. Stages of
 * the file, "scratch" and stage numbers are left out, each name is there once. */
void dockerfile_bases(const char *text, const char *const *args, base_images *bases);
void base_images_release(base_images *bases);

/* Whether the stage that is built (its name or number, NULL: the last) starts from nothing in the
 * end, and so says of no platform by itself. */
bool dockerfile_from_scratch(const char *text, const char *const *args, const char *target);

#endif
