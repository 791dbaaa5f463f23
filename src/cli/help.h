/* Help texts from the tables, laid out as the reference lays them out. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "base/strbuf.h"
#include "cli/command.h"

/* prefix: "compose", or "compose image" for subcommands. */
void help_command(const char *prefix, const struct command *c, int width, struct strbuf *out);
void help_program(const char *program, int width, struct strbuf *out);
/* "Usage:  compose cp [OPTIONS] ..." with a line for each form. */
void help_usage(const char *prefix, const struct command *c, struct strbuf *out);
/* What help shows for an option's argument: "string", "stringArray", ...; "" for a bool. */
const char *option_type(const struct option *o);

#endif
