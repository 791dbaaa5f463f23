/* Relative paths against the folder that they are relative to. */
#ifndef FILE_PATHS_H
#define FILE_PATHS_H

#include <stdbool.h>

#include "file/pass.h"

/* dir may itself be relative: then a later call with its parent completes the paths. home: for a
 * leading "~", may be NULL. */
void paths_resolve(const struct pass *p, struct node *root, const char *dir, const char *home);

/* Go's filepath.Join, Rel (both relative or both absolute; NULL where there is none) and Dir in
 * an arena. */
const char *paths_join(struct arena *a, const char *dir, const char *name);
const char *paths_relative(struct arena *a, const char *base, const char *target);
const char *paths_dir(struct arena *a, const char *path);
/* As the user would write it: relative to cwd where it lies below. */
const char *paths_display(struct arena *a, const char *cwd, const char *path);

#endif
