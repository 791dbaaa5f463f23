/* The versions of this program, of what it leaves on disk and of what it says over sockets. They are variables
 * of one small file, so that tests can link a program of another version. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#include <jansson.h>

#include "base/err.h"

extern const char compose_version[]; /* "0.1.0" */
extern const int protocol_version;   /* of the control protocol: engine/protocol.h */
extern const int state_version;      /* of container.json and project.json */

/* Dotted numbers: below, at or above 0 as a is older than, the same as or newer than b. */
int version_compare(const char *a, const char *b);
/* Is the "version" of a file one that this program knows? Older ones are read as they are. ERR_CONFLICT: a
 * newer program has written it; ERR_CORRUPT: there is none. path is for the message. */
int state_version_check(const json_t *file, const char *path, struct err *err);

#endif
