/* What a YAML scalar means: the core schema as go-yaml v3, and so the reference, understands it.
 *
 * "yes" and "on" are strings; 0o17, 0x1f, 0b11 and also 0777 are integers, underscores in numbers
 * are skipped; an unquoted date is a timestamp, which no Compose key takes. */
#ifndef FILE_SCALAR_H
#define FILE_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file/node.h"

/* Fills kind and value of n from a scalar's text (which must live as long as n). tag: the resolved
 * YAML tag, NULL where none is written. quoted: written with quotes or as a block.
 * False where the text does not fit an explicit tag such as !!int. */
bool scalar_resolve(struct arena *a, struct node *n, const char *text, size_t len, const char *tag,
                    bool quoted);
/* Whether a plain scalar of this text is read as a string: else a printer must quote it. */
bool scalar_is_plain_string(const char *text);

/* Go's strconv: ParseInt(s, base, 64) with base 0 (0x, 0o, 0b, 0 prefixes), 8 or 10; ParseFloat. */
bool scalar_parse_int(const char *s, int base, int64_t *v);
bool scalar_parse_float(const char *s, double *v);

#endif
