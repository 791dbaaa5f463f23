/* The functions and values of cli/format.h. */
#ifndef CLI_FORMAT_FUNC_H
#define CLI_FORMAT_FUNC_H

#include <stdbool.h>

#include "base/err.h"
#include "base/json.h"
#include "base/strbuf.h"

bool format_func_known(const char *name);
/* *out: new reference. args are borrowed. */
int format_func_call(const char *name, json_t *const *args, size_t n, json_t **out,
                     struct err *err);
/* A value as an action prints it. */
void format_value_text(const json_t *v, struct strbuf *out);
/* Go's truth: not false, 0, "", empty or nil. */
bool format_value_true(const json_t *v);

#endif
