/* The Compose model as one table: for every key its type and the rules that the passes of the
 * loader apply to it. A new key is one row here, one property in the schema and, where the engine
 * acts on it, one line in model/decode.c. */
#ifndef FILE_FIELDS_H
#define FILE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file/node.h"

/* What typed.c makes of a value. In the normalized document:
 *   strings, commands, lists   sequence of strings
 *   mappings                   mapping of strings; of an environment also null
 *   bytes, durations, modes    string as the reference prints it: "1048576", "1m30s", "0444" */
enum field_type {
    TYPE_ANY, /* kept as it is */
    TYPE_STRING,
    TYPE_BOOL,
    TYPE_INT,
    TYPE_UINT,
    TYPE_FLOAT, /* single precision */
    TYPE_CPUS,  /* a float that may also be written as a string */
    TYPE_BYTES,
    TYPE_DURATION,
    TYPE_FILE_MODE,
    TYPE_DEVICE_COUNT,
    TYPE_STRINGS,
    TYPE_STRING_OR_LIST,
    TYPE_NUMBERS_OR_STRINGS,
    TYPE_COMMAND,
    TYPE_HEALTH_TEST,
    TYPE_MAPPING,
    TYPE_ENVIRONMENT,
    TYPE_LABELS,
    TYPE_OPTIONS,
    TYPE_MULTI_OPTIONS,
    TYPE_STRING_MAP,
    TYPE_HOSTS,
    TYPE_SSH,
    TYPE_ULIMITS,
    TYPE_OBJECT,
    TYPE_OBJECT_LIST,
    TYPE_OBJECT_MAP,
};

enum field_flags {
    FIELD_KEEP_ZERO = 1 << 0, /* 0, false, "0s" are kept: they differ from an absent key */
    FIELD_JSON_NULL = 1 << 1, /* JSON shows null where it is absent */
    FIELD_ALWAYS = 1 << 2,    /* printed even where it has no value */
    FIELD_BY_VALUE = 1 << 3, /* object: JSON shows {} where it is absent, YAML drops an empty one */
    FIELD_YAML_ONLY = 1 << 4,    /* not in the JSON that config prints */
    FIELD_JSON_CAPITAL = 1 << 5, /* JSON capitalizes the name */
    FIELD_NULL_ITEMS = 1 << 6,   /* object map: a null item stays null */
    FIELD_INTERNAL = 1 << 7,     /* never printed */
};

/* A string here becomes this type right after interpolation. */
enum field_cast { CAST_NONE, CAST_INT, CAST_FLOAT, CAST_FLOAT32, CAST_BOOL };

/* How a value of an overriding file joins the one before; MERGE_PLAIN: mappings by key, sequences
 * one after the other, anything else replaced. */
enum field_merge {
    MERGE_PLAIN,
    MERGE_REPLACE,
    MERGE_SEQUENCE, /* both as "key=value" lists */
    MERGE_HOSTS,    /* the same without repetitions */
    MERGE_BUILD,
    MERGE_LOGGING, /* by key, if the driver is the same */
    MERGE_DEPENDS_ON,
    MERGE_NAMES, /* lists of names and mappings by name */
    MERGE_IPAM_CONFIG,
    MERGE_ULIMITS,
};

/* Which elements of a sequence are the same, so that the later one replaces the earlier. */
enum field_unique {
    UNIQUE_NONE,
    UNIQUE_KEY,    /* text before "=" */
    UNIQUE_DEVICE, /* target */
    UNIQUE_VOLUME, /* target */
    UNIQUE_CONFIG, /* target */
    UNIQUE_SECRET, /* target, below /run/secrets */
    UNIQUE_EXPOSE,
    UNIQUE_PORT,
    UNIQUE_ENV_FILE, /* path */
};

/* Short forms to the long one. */
enum field_canonical {
    CANONICAL_NONE,
    CANONICAL_BUILD,
    CANONICAL_TEXT,
    CANONICAL_KEY_VALUE,
    CANONICAL_LIST,
    CANONICAL_DEPENDS_ON,
    CANONICAL_ENV_FILE,
    CANONICAL_EXTENDS,
    CANONICAL_GPUS,
    CANONICAL_NAMES,
    CANONICAL_VOLUMES,
    CANONICAL_DEVICES,
    CANONICAL_FILE_MOUNTS,
    CANONICAL_PORTS,
    CANONICAL_SSH,
    CANONICAL_ULIMITS,
    CANONICAL_EXTERNAL, /* each item of the mapping */
};

/* Which strings of a value are paths on this machine. */
enum field_path {
    PATH_NONE,
    PATH_PLAIN,    /* a path or a list of them */
    PATH_CONTEXT,  /* a folder, unless it is a URL */
    PATH_CONTEXTS, /* a mapping of those */
    PATH_SSH,      /* values of a mapping */
    PATH_ENV_FILE, /* path of each item */
    PATH_MAYBE_WINDOWS,
    PATH_SYMLINK, /* with the first symbolic link resolved */
    PATH_VOLUMES,
    PATH_DRIVER_OPTS, /* of each item of the top-level volumes */
};

struct object;

struct field {
    const char *name;
    uint8_t type; /* enum field_type */
    uint8_t cast, merge, unique, canonical, path;
    uint16_t flags;
    const struct object *object; /* of the value or, in lists and maps, of each item */
};

struct object {
    const char *what; /* for messages */
    const struct field *fields;
    size_t n;
};

extern const struct object root_object;
extern const struct object service_object;

/* What the table says of a member of an object, or NULL: x-* and what the schema does not know. */
const struct field *field_of(const struct object *object, const struct node_pair *pair);
const struct field *field_named(const struct object *object, const char *name);

#endif
