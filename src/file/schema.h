/* The JSON Schema that is built into the program, compiled to what validation walks: types,
 * properties, patternProperties, additionalProperties, items, required, enum, minimum, maximum,
 * pattern, uniqueItems, oneOf (whose alternatives never overlap) and $ref. */
#ifndef FILE_SCHEMA_H
#define FILE_SCHEMA_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/map.h"

enum schema_type {
    SCHEMA_NULL = 1 << 0,
    SCHEMA_BOOLEAN = 1 << 1,
    SCHEMA_INTEGER = 1 << 2,
    SCHEMA_NUMBER = 1 << 3,
    SCHEMA_STRING = 1 << 4,
    SCHEMA_ARRAY = 1 << 5,
    SCHEMA_OBJECT = 1 << 6,
};

struct schema_pattern {
    const char *text;
    regex_t regex;
    bool compiled;
};

struct schema_member {
    struct schema_pattern *pattern;
    struct schema *schema;
};

struct schema {
    unsigned types; /* enum schema_type; 0: any */
    bool closed;    /* additionalProperties: false */
    bool unique;
    bool has_min, has_max;
    double min, max;
    struct map properties; /* name -> struct schema */
    struct schema_member *members;
    size_t members_n;
    struct schema *items;
    const char **required, **values; /* NULL-terminated or NULL */
    struct schema_pattern *pattern;
    const char *want; /* "x-want": pattern in words */
    struct schema **one_of;
    size_t one_of_n;
    const char *ref;
    struct schema *target; /* of ref */
};

struct schema_set;

/* Compiled from schema/compose.schema.json; freed by schema_free. Aborts where the built-in text
 * is damaged. */
struct schema_set *schema_load(void);
void schema_free(struct schema_set *set);
const struct schema *schema_root(const struct schema_set *set);
/* Follows $ref. */
const struct schema *schema_follow(const struct schema *s);
bool schema_matches(struct schema_pattern *p, const char *s);
/* The schema of a property by name or pattern, or NULL; anything goes where *s is not closed. */
const struct schema *schema_property(const struct schema *s, const char *name);

#endif
