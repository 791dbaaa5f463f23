/* Splits a command line as a shell does: quotes and backslashes, no expansion. */
#ifndef FILE_SHELLWORDS_H
#define FILE_SHELLWORDS_H

#include "base/arena.h"

/* NULL-terminated words in the arena, or NULL with *wrong set. */
const char **shellwords_split(struct arena *a, const char *line, size_t *n, const char **wrong);

#endif
