/* Containers as the commands that only look see them: read from disk, no supervisor needed. */
#ifndef CLI_CONTAINERS_H
#define CLI_CONTAINERS_H

#include "base/strbuf.h"
#include "cli/cli.h"
#include "engine/state.h"

#define AUTOCONTAINERS __attribute__((cleanup(container_list_release)))

int containers_read(struct cli *cli, const char *project, struct container_list *out,
                    struct err *err);

/* The container of a service that exec, attach, cp, ... mean. index 0: the first. oneoffs: those of
 * `run` too. NULL with err worded as the reference's: `service "web" is not running`. */
struct container_record *container_choose(struct container_list *list, const char *service,
                                          int64_t index, bool running, bool oneoffs,
                                          struct err *err);
/* NULL: none of that ID. */
struct container_record *container_by_id(const struct container_list *list, const char *id);
/* services empty: all. */
bool container_in_services(const struct container_record *c, const char *const *services);
bool container_is_up(const struct container_record *c); /* running, paused or restarting */

/* "web-1": the name without the project's, as log prefixes and messages show it; borrowed. */
const char *container_short_name(const struct container_record *c);
/* What --format sees of a container; new reference. "_labels" is for {{.Label}}. */
json_t *container_json(const struct container_record *c, bool whole);

/* Folder with the container's log and status; heap. */
char *container_dir(const struct cli *cli, const struct container_record *c);
/* "a=b,c=d" */
char *labels_text(const json_t *labels);
/* "2 minutes ago" */
char *ago_text(int64_t then, int64_t now, char out[80]);

#endif
