/* Command-line options, declared once in tables: parsing, help, completion and the manual page all
 * read the same tables.
 *
 * The syntax is that of the reference (GNU style as pflag has it): --flag, --flag=value, --flag value,
 * -f value, -fvalue, -f=value, combined shorthands, "--", and options between the arguments unless
 * the command ends its options at the first argument. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum option_kind {
    OPTION_BOOL,
    OPTION_INT,
    OPTION_STRING,
    OPTION_LIST,  /* given several times, each taken whole */
    OPTION_WORDS, /* given several times, each split at commas */
};

enum { OPTION_HIDDEN = 1, OPTION_OURS = 2 /* the reference has no such option */ };

struct option {
    const char *name;
    char shorthand; /* 0: none */
    enum option_kind kind;
    const char *type;     /* as help shows the argument; NULL: by kind */
    const char *help;     /* the default is added by itself */
    const char *fallback; /* NULL: false, 0, "" or an empty list */
    unsigned flags;
    const char *words; /* values to complete, separated by spaces; "@file", "@dir", "@service" */
};
/* Entries of a table; further members may follow: OPT_STR("pull", 0, "Pull...", .words = "always"). */
#define OPT_BOOL(n, s, h, ...)                                                                     \
    {                                                                                              \
        .name = (n), .shorthand = (s), .kind = OPTION_BOOL, .help = (h), ##__VA_ARGS__             \
    }
#define OPT_INT(n, s, h, ...)                                                                      \
    {                                                                                              \
        .name = (n), .shorthand = (s), .kind = OPTION_INT, .help = (h), ##__VA_ARGS__              \
    }
#define OPT_STR(n, s, h, ...)                                                                      \
    {                                                                                              \
        .name = (n), .shorthand = (s), .kind = OPTION_STRING, .help = (h), ##__VA_ARGS__           \
    }
#define OPT_LIST(n, s, h, ...)                                                                     \
    {                                                                                              \
        .name = (n), .shorthand = (s), .kind = OPTION_LIST, .help = (h), ##__VA_ARGS__             \
    }
#define OPT_WORDS(n, s, h, ...)                                                                    \
    {                                                                                              \
        .name = (n), .shorthand = (s), .kind = OPTION_WORDS, .help = (h), ##__VA_ARGS__            \
    }
/* Tables end with an option without a name. */
#define OPTION_END                                                                                 \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct option_value {
    const struct option *option;
    bool given;
    bool on;
    int64_t number;
    const char *text;  /* borrowed from argv or the table */
    const char **list; /* NULL-terminated */
    size_t list_n;
    size_t order; /* counts up with each option given; 0: not given */
};

/* A parsed command line. Strings are borrowed from argv. */
struct args {
    struct option_value *values;
    size_t values_n;
    const char **positional; /* NULL-terminated */
    size_t n;
    size_t dash;  /* how many positionals stood before "--"; n where there was none */
    char **owned; /* what had to be copied */
};

struct option_rules {
    bool stop_at_argument; /* what follows the first argument is not ours to read */
};

/* tables: NULL-terminated list of option tables. --help (-h) is known everywhere: *help is set and
 * parsing ends. Errors are worded as the reference's. */
int args_parse(struct args *args, const struct option *const *tables, struct option_rules rules,
               int argc, char **argv, bool *help, struct err *err);
void args_release(struct args *args);

/* Values by name; the name must be in a table. */
bool args_bool(const struct args *args, const char *name);
int64_t args_int(const struct args *args, const char *name);
const char *args_str(const struct args *args, const char *name); /* never NULL */
/* NULL-terminated; never NULL. */
const char *const *args_list(const struct args *args, const char *name);
bool args_given(const struct args *args, const char *name);

/* strconv.ParseInt(base 0) of the reference. */
bool parse_int(const char *s, int64_t *out);

#endif
