/* Reading nodes into plain values: what decode_*.c share. Everything is put in one arena; a missing or
 * null member gives the value that project.h names for "unset". */
#ifndef MODEL_READER_H
#define MODEL_READER_H

#include "model/project.h"

/* A scalar member as text (numbers and booleans too), NULL where unset. */
const char *read_text(struct arena *a, const struct node *map, const char *key);
bool read_bool(const struct node *map, const char *key, bool fallback);
/* 1, 0 or UNSET. */
int read_tristate(const struct node *map, const char *key);
/* An integer, also as a string of digits. */
int64_t read_int(const struct node *map, const char *key, int64_t fallback);
double read_number(const struct node *map, const char *key, double fallback);
/* Bytes ("64m", "67108864", 67108864), nanoseconds ("10s"); UNSET. */
int64_t read_size(const struct node *map, const char *key);
int64_t read_duration(const struct node *map, const char *key);
/* A list of scalars, or a single one as a list of one. */
struct strings read_strings(struct arena *a, const struct node *map, const char *key);
/* A mapping of scalars, or a list of "K=V". */
struct key_values read_pairs(struct arena *a, const struct node *map, const char *key);

#endif
