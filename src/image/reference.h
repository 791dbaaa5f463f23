/* Names of images as Docker reads them (the grammar of distribution/reference):
 *
 *     [registry[:port]/]path[/path...][:tag][@algorithm:hex]
 *
 * "nginx" is docker.io/library/nginx:latest. A first component is a registry when it holds a dot
 * or a colon, is "localhost", or has an upper-case letter. */
#ifndef IMAGE_REFERENCE_H
#define IMAGE_REFERENCE_H

#include <stdbool.h>

#include "base/err.h"

enum { REFERENCE_MAX = 4096 };

struct reference {
    char *registry;   /* "docker.io", "localhost:5000" */
    char *repository; /* "library/nginx" */
    char *tag;        /* "latest" unless given; NULL: only a digest was given */
    char *digest;     /* "sha256:..."; NULL: none */
};

#define REFERENCE_INIT                                                                             \
    {                                                                                              \
        0                                                                                          \
    }
#define AUTOREFERENCE __attribute__((cleanup(reference_release)))

/* Fills ref; on failure ERR_INVALID names the text and what is wrong with it. A bare name of 64
 * hex digits is refused, as Docker does: it is an image ID. */
int reference_parse(const char *text, struct reference *ref, struct err *err);
void reference_release(struct reference *ref);

/* "docker.io/library/nginx:1.25"; with a digest "docker.io/library/nginx@sha256:..." (a tag beside
 * a digest is for people only and does not take part). What the store files an image under; heap.
 */
char *reference_name(const struct reference *ref);
/* "docker.io/library/nginx"; heap. */
char *reference_repository(const struct reference *ref);
/* The shortest form that means the same: "nginx:1.25", "grafana/loki:3"; heap. */
char *reference_familiar(const struct reference *ref);
/* The familiar form of a full name; a text that is no reference is returned as it is; heap. */
char *reference_shorten(const char *name);

/* "sha256:" and 64 lower-case hex digits. */
bool digest_valid(const char *s);
/* 1 to 64 lower-case hex digits, after "sha256:" or bare: may be an image ID or its beginning. */
bool reference_is_id(const char *s);

#endif
