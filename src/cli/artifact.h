/* A project as an OCI artifact in a registry: application/vnd.docker.compose.*, as `publish` of docker
 * compose writes it and "oci://NAME" reads it.
 *
 * Each Compose file and each env file is a layer. Files that extend is from, and env files, get the
 * hash of their path as their name, which stands in the files that refer to them: all lie in one
 * folder, and no path of the publisher's machine is told. */
#ifndef CLI_ARTIFACT_H
#define CLI_ARTIFACT_H

#include "base/strbuf.h"
#include "cli/cli.h"
#include "image/transfer.h"

/* The layers, heap; env files only where asked for. */
int artifact_pack(const struct project *p, bool with_env, struct artifact *out, struct err *err);
/* Adds one more Compose file, which overrides those before it. */
void artifact_add_file(struct artifact *a, const char *name, const char *text);
int artifact_publish(struct cli *cli, const char *reference, const struct artifact *a,
                     const char *oci_version, const char *const *images, struct err *err);

/* For struct load_options: fetches "oci://NAME" into ROOT/oci/DIGEST unless it is there, and gives the
 * path of its compose.yaml. */
char *artifact_fetch(void *cli, const char *name, struct err *err);

#endif
