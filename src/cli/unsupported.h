/* Keys that are understood and not honoured: nobody shall find that out by himself. */
#ifndef CLI_UNSUPPORTED_H
#define CLI_UNSUPPORTED_H

#include "cli/cli.h"

/* Warns of each use in the enabled services, with its place. part: what the paths begin with, "build."; "": all.
 * docs/compatibility.md has the same list. */
void warn_unsupported(const struct cli *cli, const struct project *p, const char *part);

#endif
