/* compose.lock: which digest each image had when it was pinned. Lies beside the Compose file, is
 * JSON, sorted, and belongs into version control. */
#ifndef CLI_LOCKFILE_H
#define CLI_LOCKFILE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/vec.h"
#include "image/transfer.h"
#include "model/project.h"

struct lock_entry {
    char *image;    /* as people write it, with its tag: "postgres:16" */
    char *platform; /* "linux/amd64" */
    char *digest;   /* of the index or manifest that the registry gave */
    char *time;     /* RFC 3339: when it was first seen with this digest */
};

struct lockfile {
    char *path;
    VEC(struct lock_entry) entries;
};
#define AUTOLOCKFILE __attribute__((cleanup(lockfile_release)))

/* The lock file of a project; without one there are no entries and *found (may be NULL) is false. */
int lockfile_read(const struct project *p, struct lockfile *lock, bool *found, struct err *err);
void lockfile_release(struct lockfile *lock);
struct lock_entry *lockfile_find(const struct lockfile *lock, const char *image,
                                 const char *platform);
/* Adds or changes; the time stays where the digest does. */
void lockfile_set(struct lockfile *lock, const char *image, const char *platform,
                  const char *digest, const char *time);
/* The text of the file, heap. */
char *lockfile_text(struct lockfile *lock);

/* The key of an image in the file: "nginx" and "docker.io/library/nginx:latest" are "nginx:latest",
 * and a digest in the name takes no part; heap. platform NULL or "": this machine's; text holds 96
 * bytes. */
int lockfile_key(const char *image, const char *platform, char **key, char text[96],
                 struct err *err);

/* What a build may use: pins of all entries, lock->entries.n of them, into the lock file; heap. */
struct build_pin *lockfile_pins(const struct lockfile *lock);

#define LOCKED_OPTION                                                                              \
    OPT_BOOL(                                                                                      \
        "locked", 0,                                                                               \
        "Use exactly the images that compose.lock names, and fail where one is missing there",     \
        .flags = OPTION_OURS)
/* Reads the lock file, which must exist, and replaces the images that the selected services name by
 * those of it. ERR_NOT_FOUND: one is missing there; ERR_CONFLICT: the Compose file asks for another
 * digest. */
int lockfile_use(struct lockfile *lock, struct project *p, const bool *selected, struct err *err);

#endif
