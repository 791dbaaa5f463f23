/* Users and groups of a container, looked up in its own /etc/passwd and /etc/group as Docker does. */
#ifndef RUNTIME_USER_H
#define RUNTIME_USER_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct user {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* heap: the primary one first, then the supplementary ones, each once */
    size_t groups_n;
    char *home; /* heap, "/" where unknown */
};

/* spec: NULL or "" (root), "name", "uid", "name:group", "uid:gid"; a bare name has the groups that
 * /etc/group lists it in, with ":group" it has that one alone. group_add: names or numbers, NULL-
 * terminated, may be NULL. */
int user_lookup(const char *rootfs, const char *spec, const char *const *group_add,
                struct user *out, struct err *err);
/* Once, behind the others. */
void user_add_group(struct user *u, gid_t gid);
void user_release(struct user *u);

#endif
