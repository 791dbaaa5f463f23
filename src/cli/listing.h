/* --format as the listing commands have it: table, "table TEMPLATE", json or TEMPLATE. */
#ifndef CLI_LISTING_H
#define CLI_LISTING_H

#include "base/err.h"
#include "base/json.h"

struct listing_column {
    const char *heading; /* "CONTAINER ID" */
    const char *field;   /* in the row's object */
};

/* rows: array of objects. columns: of the plain table, ending with a NULL heading. headings: what
 * "table TEMPLATE" puts over fields besides the columns', may be NULL. Members whose names begin
 * with "_" are not printed. One JSON object a line. */
int listing_print(const char *format, const json_t *rows, const struct listing_column *columns,
                  const struct listing_column *headings, struct err *err);

#endif
