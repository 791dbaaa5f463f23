/* Volumes: named and anonymous, kept at ROOT/volumes/NAME/{volume.json,_data}.
 *
 * volume.json: name, driver, driver_opts, labels, definition, project, created, anonymous. A volume is shared by
 * all containers of the machine; ROOT/volumes/.lock orders creation and removal between processes.
 * All calls block: they run in worker threads or in the CLI. */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"
#include "model/project.h"

struct volume_state {
    char *name;
    char *driver;       /* "local" */
    char *mountpoint;   /* absolute: what is mounted in containers */
    char *project;      /* label com.docker.compose.project, NULL: none */
    char *key;          /* label com.docker.compose.volume, NULL: anonymous or foreign */
    char *config_hash;  /* of definition, "" where there is none */
    json_t *labels;     /* all of them, the project's and those of compose */
    json_t *definition; /* the section of the file that it was made from, NULL: not known */
    int64_t created;    /* ns since the epoch */
    bool anonymous;
};

void volume_state_release(struct volume_state *v);

/* Makes the volume where it is missing (created: set true then, may be NULL). driver_opts of the local
 * driver (type, o, device) are honoured: the mount is made on first use and again after a reboot.
 * external: a missing one is ERR_NOT_FOUND with the reference's words. */
int volume_ensure(const struct paths *p, const char *project, const struct volume *def,
                  bool *created, struct volume_state *out, struct err *err);
/* A new anonymous volume with a random 64-digit name. */
int volume_create_anonymous(const struct paths *p, const char *project, struct volume_state *out,
                            struct err *err);
int volume_load(const struct paths *p, const char *name, struct volume_state *out, struct err *err);
/* project NULL: all. Array of *n, heap; release each, then free. */
int volume_list(const struct paths *p, const char *project, struct volume_state **out, size_t *n,
                struct err *err);
/* Unmounts and removes with its data; a missing one is fine. A container has it, running or not: ERR_CONFLICT, names it.
 * except: folder of a project or container below ROOT whose records do not count, NULL: none. */
int volume_remove(const struct paths *p, const char *name, const char *except, struct err *err);

/* Fills an empty volume from folder TARGET of a mounted root file system (content, owners, modes,
 * times, xattrs, hard links), and gives it that folder's owner and mode, as Docker does on first use.
 * TARGET is resolved inside rootfs: its links never lead outside. A volume with content, or a target
 * that the image lacks, is left as it is. */
int volume_seed(const struct volume_state *v, const char *rootfs, const char *target,
                struct err *err);

#endif
