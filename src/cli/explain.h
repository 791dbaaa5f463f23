/* How config --explain tells where a value comes from. */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "cli/cli.h"
#include "file/explain.h"

/* To stdout; d has the text of the files. 0. JSON:
 * {"path", "value", "file"?, "line"?, "column"?, "steps": [{"action": "set|part|overridden|removed|
 * replaced", "file", "line", "column", "value"?, "text"?, "via"?: [{"how", "file", "line", "column"}],
 * "variables"?: [{"name", "value", "source": "file|environment|default|alternative|unset", "file"?,
 * "line"?, "column"?}]}]}, the value that counts first. */
int explain_print(const struct cli *cli, const struct explain *e, const struct diag *d, bool json);

#endif
