/* .env files: NAME=VALUE lines with quotes, escapes, comments, "export", values over several lines
 * and variable references; NAME alone takes the value of the environment. As the reference reads
 * them. */
#ifndef FILE_DOTENV_H
#define FILE_DOTENV_H

#include <stddef.h>

#include "file/diag.h"
#include "file/env.h"
#include "file/interpolate.h"

enum { DOTENV_FILE_MAX = 8 << 20 };

/* Reads path into vars; later values replace earlier ones. References see first, then second (each
 * may be NULL), then what vars holds. format: NULL or "", ".env" as above; "raw": values are taken
 * as they stand. name: how messages call the file; must live as long as vars. -1 where errors were
 * reported. */
int dotenv_load(const struct pass *p, const char *path, const char *name, const char *format,
                const struct env *first, const struct env *second, struct env *vars,
                struct unset_seen *seen);
/* The same on a text. */
int dotenv_parse(const struct pass *p, const char *name, const char *text, size_t len,
                 const struct env *first, const struct env *second, struct env *vars,
                 struct unset_seen *seen);

#endif
