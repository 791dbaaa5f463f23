/* Writes JSON straight into a strbuf, in order: a config.json takes some 20 microseconds, and 64-bit
 * unsigned numbers (RLIM_INFINITY) pass, which jansson cannot hold. Keys are literals; strings that
 * are not UTF-8 get U+FFFD for each bad byte. */
#ifndef RUNTIME_JSONW_H
#define RUNTIME_JSONW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

struct jsonw {
    struct strbuf out;
    bool comma; /* the next value needs one before it */
};

#define JSONW_INIT                                                                                 \
    {                                                                                              \
        .out = STRBUF_INIT                                                                         \
    }

/* key NULL: an element of an array. */
void jsonw_object(struct jsonw *w, const char *key);
void jsonw_array(struct jsonw *w, const char *key);
void jsonw_end_object(struct jsonw *w);
void jsonw_end_array(struct jsonw *w);
void jsonw_str(struct jsonw *w, const char *key, const char *value);
void jsonw_int(struct jsonw *w, const char *key, int64_t value);
void jsonw_uint(struct jsonw *w, const char *key, uint64_t value);
void jsonw_bool(struct jsonw *w, const char *key, bool value);
/* JSON text as it is. */
void jsonw_raw(struct jsonw *w, const char *key, const char *json);
void jsonw_strv(struct jsonw *w, const char *key, const char *const *v);

#endif
