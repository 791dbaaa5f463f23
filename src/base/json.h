/* Small helpers over jansson. Getters borrow: nothing they return is the caller's. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

void json_decref_ptr(json_t **j);
#define AUTOJSON __attribute__((cleanup(json_decref_ptr)))

/* The member, or the default where it is missing or of another type. o may be NULL. */
const char *jstr(const json_t *o, const char *key, const char *fallback);
json_int_t jint(const json_t *o, const char *key, json_int_t fallback);
bool jbool(const json_t *o, const char *key, bool fallback);

/* A string, NULL for NULL. Bytes that are not UTF-8 become U+FFFD, as Go's encoder and so the reference
 * has it: jansson would give none at all. */
json_t *json_text(const char *s);
/* Sets a member, whose key is as json_text() takes it. */
void jput(json_t *o, const char *key, json_t *take_value);
/* Sets a string member, as json_text() makes it; a NULL value sets nothing. */
void jset_str(json_t *o, const char *key, const char *value);
/* A new array of strings from a NULL-terminated vector (NULL: empty array). */
json_t *jarray_from_strv(const char *const *v);
/* Heap vector of an array's strings; NULL where j is no array. */
/* Is the string in the array? */
bool jarray_has(const json_t *array, const char *text);
char **jarray_to_strv(const json_t *j);

/* Reads an object from a file of at most 64 MiB; errors name the file and the place. */
int json_read(const char *path, json_t **out, struct err *err);
/* Writes compact JSON and a newline, atomically; see fs_write_atomic. */
int json_write(const char *path, const json_t *j, bool durable, struct err *err);

#endif
