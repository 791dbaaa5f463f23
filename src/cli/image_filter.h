/* --filter of `image ls` and `image prune`, with docker's words: dangling, reference, label, label!,
 * before, since, until. */
#ifndef CLI_IMAGE_FILTER_H
#define CLI_IMAGE_FILTER_H

#include <stdbool.h>

#include "base/err.h"
#include "image/store.h"

struct image_filter {
    const char *const *words; /* "KEY=VALUE", NULL-terminated; the caller's */
    int dangling;             /* -1: either */
    int64_t after, before;    /* times of creation, ns, exclusive; 0: no limit */
};

/* ERR_INVALID: `invalid filter 'F'`; ERR_NOT_FOUND: before= or since= names no image. */
int image_filter_init(struct image_filter *filter, struct image_store *store,
                      const char *const *words, struct err *err);
/* name NULL: the image has none. Several references are alternatives, all else must hold. */
bool image_filter_takes(const struct image_filter *filter, const struct image *image,
                        const char *name);
/* "nginx", "nginx:1.25", "*" and "?" in the name as a person writes it. */
bool image_reference_matches(const char *name, const char *pattern);

#endif
