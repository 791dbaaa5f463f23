/* Tables of text, laid out as Go's text/tabwriter does for the reference: columns as wide as their
 * widest cell plus padding, at least min wide, the last one unpadded. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>

#include "base/strbuf.h"

struct table {
    int min_width, padding;
    char ***rows; /* each a NULL-terminated vector */
    size_t n, cap;
};

/* "docker ps" style: 10 wide, 3 apart. "compose images" style: 20 wide, 3 apart. */
#define TABLE_NARROW                                                                               \
    {                                                                                              \
        .min_width = 10, .padding = 3                                                              \
    }
#define TABLE_WIDE                                                                                 \
    {                                                                                              \
        .min_width = 20, .padding = 3                                                              \
    }
#define AUTOTABLE __attribute__((cleanup(table_release)))

/* Cells up to a NULL; they are copied. */
void table_row(struct table *t, ...) __attribute__((sentinel));
void table_row_v(struct table *t, const char *const *cells);
void table_render(const struct table *t, struct strbuf *out);
/* Renders to stdout. */
void table_print(const struct table *t);
void table_release(struct table *t);

#endif
