/* The instructions of a Dockerfile: lines joined, comments and here-documents taken out, the escape
 * directive obeyed. */
#ifndef IMAGE_MODULE_INSTRUCTIONS_H
#define IMAGE_MODULE_INSTRUCTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct instruction {
    const char *name;  /* "COPY", as it is written */
    const char *rest;  /* what follows, without blanks around it */
    const char *body;  /* of its here-documents in which variables count; NULL: none */
    size_t line, last; /* the numbers of its lines, from 1; without here-documents */
    bool hole;         /* it goes on over an empty line */
    char escape;
};

/* Calls each in their order. */
void dockerfile_instructions(const char *text, void (*each)(void *ctx, const struct instruction *i),
                             void *ctx);

#endif
