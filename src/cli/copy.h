/* Copies files between two trees, each given by a descriptor: modes, times, links, extended
 * attributes, holes; owners where asked for. Neither side's links are followed on the way down. */
#ifndef CLI_COPY_H
#define CLI_COPY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct copy_options {
    bool owners; /* keep uid and gid; otherwise what is made belongs to uid and gid below */
    uid_t uid;
    gid_t gid;
};

/* Copies what from (O_PATH or O_RDONLY, any file type) is, to the name below to (a folder). An
 * existing folder is merged with, an existing file replaced. name: for messages too. */
int copy_tree(int from, int to, const char *name, const struct copy_options *o, struct err *err);
/* The same for all that the folder from holds. */
int copy_content_of(int from, int to, const struct copy_options *o, struct err *err);

#endif
