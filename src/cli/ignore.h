/* Patterns of .dockerignore and of develop.watch's ignore and include: "*", "?", "[a-z]", "**", "!"
 * for exceptions; the last that matches decides. A pattern that names a folder covers what is in it. */
#ifndef CLI_IGNORE_H
#define CLI_IGNORE_H

#include <stdbool.h>
#include <stddef.h>

struct ignore {
    char **patterns;
};

#define IGNORE_INIT                                                                                \
    {                                                                                              \
        .patterns = NULL                                                                           \
    }

void ignore_add(struct ignore *i, const char *pattern);
/* Lines of a .dockerignore; a missing file is empty. */
void ignore_read(struct ignore *i, const char *file);
/* path: relative to the folder of the patterns. */
bool ignore_matches(const struct ignore *i, const char *path);
void ignore_release(struct ignore *i);
/* One pattern against a whole relative path. */
bool glob_matches(const char *pattern, const char *path);

#endif
