/* The part of Go's text/template that --format needs, over JSON objects.
 *
 * Actions: {{.Field}}, {{.A.B}}, {{.}}, {{"text"}}, {{FUNC ARG...}}, pipelines with |, parentheses,
 * {{if X}}..{{else if Y}}..{{else}}..{{end}}, {{range X}}..{{else}}..{{end}}, {{with X}}..{{end}}, comments,
 * and {{- -}}. Functions: json, upper, lower, title, split, join, println, print, printf, truncate,
 * len, index, eq, ne, lt, le, gt, ge, and, or, not. {{.Label "k"}} looks k up in the labels. */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include "base/err.h"
#include "base/json.h"
#include "base/strbuf.h"

struct format;

int format_parse(const char *text, struct format **out, struct err *err);
/* Adds what the template gives for data. A field that data lacks is an error. */
int format_execute(const struct format *t, const json_t *data, struct strbuf *out, struct err *err);
void format_free(struct format *t);

/* Headings of the fields that a table template names, instead of values: data maps field to heading. */
int format_headings(const struct format *t, const json_t *headings, struct strbuf *out,
                    struct err *err);

/* "\t" and "\n" as two characters become what they mean; heap. */
char *format_unescape(const char *text);

#endif
