/* The variables that interpolation sees: of the shell, of .env files and of --env-file. */
#ifndef FILE_ENV_H
#define FILE_ENV_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/map.h"
#include "file/node.h"

struct env_value {
    const char *value;
    struct mark origin; /* without a file: the shell's */
};

/* Strings and values live in an arena; release frees the index only. */
struct env {
    struct map vars; /* name -> struct env_value */
};

/* The value, or NULL. */
const char *env_get(const struct env *e, const char *name);
void env_set(struct arena *a, struct env *e, const char *name, const char *value,
             struct mark origin);
/* Adds what is not there yet. */
void env_merge(struct env *e, const struct env *more);
/* From "NAME=VALUE" strings, NULL-terminated; entries without "=" are skipped. */
void env_import(struct arena *a, struct env *e, char *const *environ_list);
/* "NAME=VALUE" lines sorted by name; each ends with a newline. */
struct strbuf;
void env_print(const struct env *e, struct strbuf *out);
void env_release(struct env *e);

#endif
