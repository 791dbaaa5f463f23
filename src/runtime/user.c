#include "runtime/user.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/inroot.h"
#include "base/mem.h"

enum { DATABASE_MAX = 16 << 20 };

static const unsigned long ID_MAX = 0xfffffffe; /* -1 means "no change" to the kernel */

static bool parse_id(const char *s, unsigned long *out)
{
    char *end;
    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    *out = strtoul(s, &end, 10);
    return !*end && !errno && *out <= ID_MAX;
}

/* Splits a line at ':' in place; returns the number of fields. */
static size_t split(char *line, char *field[], size_t max)
{
    size_t n = 0;
    while (line && n < max) {
        field[n++] = line;
        line = strchr(line, ':');
        if (line)
            *line++ = '\0';
    }
    return n;
}

void user_add_group(struct user *u, gid_t gid)
{
    for (size_t i = 0; i < u->groups_n; i++)
        if (u->groups[i] == gid)
            return;
    u->groups = xrealloc(u->groups, (u->groups_n + 1) * sizeof(*u->groups));
    u->groups[u->groups_n++] = gid;
}

/* The first line of passwd(5) for a name or a number; name: heap, the matched one. */
static bool find_user(const char *passwd, const char *wanted, struct user *u, char **name)
{
    unsigned long id, uid, gid;
    bool numeric = parse_id(wanted, &id);
    char *text AUTOFREE = passwd ? xstrdup(passwd) : NULL;
    char *rest = NULL;
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char *f[7];
        size_t n = split(line, f, 7);
        if (n < 4 || !parse_id(f[2], &uid) || !parse_id(f[3], &gid))
            continue;
        if (numeric ? uid != id : !streq(f[0], wanted))
            continue;
        u->uid = (uid_t)uid;
        u->gid = (gid_t)gid;
        if (n > 5 && *f[5]) {
            free(u->home);
            u->home = xstrdup(f[5]);
        }
        *name = xstrdup(f[0]);
        return true;
    }
    return false;
}

static bool is_member(char *list, const char *name)
{
    char *rest = NULL;
    for (char *m = strtok_r(list, ",", &rest); m; m = strtok_r(NULL, ",", &rest))
        if (streq(m, name))
            return true;
    return false;
}

static bool find_group(const char *groups, const char *wanted, gid_t *out)
{
    unsigned long id, gid;
    if (parse_id(wanted, &id)) {
        *out = (gid_t)id;
        return true;
    }
    char *text AUTOFREE = groups ? xstrdup(groups) : NULL;
    char *rest = NULL;
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char *f[4];
        if (split(line, f, 4) >= 3 && streq(f[0], wanted) && parse_id(f[2], &gid)) {
            *out = (gid_t)gid;
            return true;
        }
    }
    return false;
}

static void add_memberships(const char *groups, const char *name, struct user *u)
{
    unsigned long gid;
    char *text AUTOFREE = groups ? xstrdup(groups) : NULL;
    char *rest = NULL;
    for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        char *f[4];
        if (split(line, f, 4) == 4 && parse_id(f[2], &gid) && is_member(f[3], name))
            user_add_group(u, (gid_t)gid);
    }
}

static int missing_group(const char *name, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "unable to find group %s: no matching entries in group file",
                   name);
}

static int resolve(const char *passwd, const char *groups, const char *user, const char *group,
                   struct user *out, struct err *err)
{
    char *name AUTOFREE = NULL;
    unsigned long id;
    if (!find_user(passwd, user, out, &name)) {
        if (!parse_id(user, &id))
            return err_set(err, ERR_NOT_FOUND,
                           "unable to find user %s: no matching entries in passwd file", user);
        out->uid = (uid_t)id;
    }
    if (group && !find_group(groups, group, &out->gid))
        return missing_group(group, err);
    user_add_group(out, out->gid);
    if (!group && name)
        add_memberships(groups, name, out);
    return 0;
}

int user_lookup(const char *rootfs, const char *spec, const char *const *group_add,
                struct user *out, struct err *err)
{
    *out = (struct user){.home = xstrdup("/")};
    int root AUTOCLOSE = inroot_dir(rootfs, err);
    if (root < 0)
        return -1;
    char *passwd AUTOFREE = inroot_read(root, "/etc/passwd", DATABASE_MAX);
    char *groups AUTOFREE = inroot_read(root, "/etc/group", DATABASE_MAX);
    char *user AUTOFREE = xstrdup(spec && *spec ? spec : "0");
    char *group = strchr(user, ':');
    if (group)
        *group++ = '\0';
    if (resolve(passwd, groups, *user ? user : "0", group && *group ? group : NULL, out, err) < 0)
        return -1;
    for (size_t i = 0; group_add && group_add[i]; i++) {
        gid_t gid;
        if (!find_group(groups, group_add[i], &gid))
            return missing_group(group_add[i], err);
        user_add_group(out, gid);
    }
    return 0;
}

void user_release(struct user *u)
{
    free(u->groups);
    free(u->home);
    *u = (struct user){0};
}
