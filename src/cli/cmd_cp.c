#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/copy.h"
#include "cli/progress.h"
#include "cli/rootfs.h"
#include "cli/tar.h"

static const struct option options[] = {
    OPT_BOOL("all", 0, "Include containers created by the run command"),
    OPT_BOOL("archive", 'a', "Archive mode (copy all uid/gid information)"),
    OPT_BOOL("follow-link", 'L', "Always follow symbol link in SRC_PATH"),
    OPT_INT("index", 0, "Index of the container if service has multiple replicas"),
    OPTION_END,
};

/* One side of a copy: "SERVICE:PATH", or a path of ours. */
struct side {
    char *service; /* NULL: ours */
    const char *path;
};

/* A colon before any slash ends a service's name: "./a:b" is a path. */
static struct side split_side(const char *text)
{
    size_t n = strcspn(text, ":/");
    if (text[n] != ':' || n == 0 || text[0] == '.')
        return (struct side){.path = text};
    return (struct side){.service = xstrndup(text, n), .path = text + n + 1};
}

struct cp {
    struct cli *cli;
    const struct args *args;
    struct container_record *container;
    struct rootfs root;
    struct copy_options options;
};

/* "/a/b/" and "/a/b/.": the content of b. */
static bool names_content(const char *path)
{
    size_t n = strlen(path);
    return streq(path, ".") || (n >= 2 && path[n - 2] == '/' && path[n - 1] == '.');
}

static int missing(const struct cp *c, const char *path, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND,
                   "Error response from daemon: Could not find the file %s in container %s", path,
                   c->container->id);
}

/* The folder to copy into and the name there, as cp(1) and docker cp decide: an existing folder takes
 * the source's name, anything else is the new name. inside: in the container. */
static int open_target(const struct cp *c, bool inside, const char *path, const char *source,
                       bool content, int *dir, char **name, struct err *err)
{
    int flags = O_RDONLY | O_DIRECTORY;
    *dir = inside ? rootfs_resolve(&c->root, path, flags) : open(path, flags | O_CLOEXEC);
    if (*dir >= 0 && !content) {
        *name = xstrdup(path_base(source));
        return 0;
    }
    if (*dir >= 0)
        close(*dir);
    char *clean AUTOFREE = path_clean(path);
    char *parent AUTOFREE = path_dir(clean);
    *dir = inside ? rootfs_resolve(&c->root, parent, flags) : open(parent, flags | O_CLOEXEC);
    if (*dir < 0 && inside)
        return missing(c, parent, err);
    if (*dir < 0)
        return err_set(err, ERR_NOT_FOUND, "invalid output path: directory \"%s\" does not exist",
                       parent);
    *name = xstrdup(path_base(clean));
    if (path[0] && path[strlen(path) - 1] == '/' && !content) {
        close(*dir);
        *dir = -1;
        return err_set(err, ERR_NOT_FOUND, "no such directory: %s", path);
    }
    return 0;
}

/* What is neither file nor folder is not replaced: /dev/null was the machine's. */
static int check_output(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) < 0 || S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))
        return 0;
    char *whole AUTOFREE = path_abs(NULL, path);
    return err_set(err, ERR_INVALID,
                   "invalid output path: \"%s\" must be a directory or a regular file: got %s",
                   whole,
                   S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? "a device" : "an irregular file");
}

/* Into the root of a tree: "web:/" with the content of a folder. */
static bool is_root_name(const char *name)
{
    return streq(name, "/") || streq(name, ".") || !*name;
}

static int copy_to(const struct cp *c, int from, int dir, const char *name, struct err *err)
{
    return is_root_name(name) ? copy_content_of(from, dir, &c->options, err)
                              : copy_tree(from, dir, name, &c->options, err);
}

static int copy_between(const struct cp *c, int from, bool to_container, const char *source,
                        const char *target, struct err *err)
{
    struct stat st, old;
    int dir AUTOCLOSE = -1;
    char *name AUTOFREE = NULL;
    if (fstat(from, &st) < 0)
        return err_sys(err, errno, "%s", source);
    bool folder = S_ISDIR(st.st_mode), content = folder && names_content(source);
    if (!to_container && check_output(target, err) < 0)
        return -1;
    char *clean AUTOFREE = path_clean(source);
    if (open_target(c, to_container, target, clean, content, &dir, &name, err) < 0)
        return -1;
    if (folder && fstatat(dir, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(old.st_mode))
        return err_set(err, ERR_CONFLICT, "cannot copy directory %s to %s: that is none", source,
                       target);
    return copy_to(c, from, dir, name, err);
}

static int from_container(struct cp *c, const char *source, const char *target, struct err *err)
{
    int follow = args_bool(c->args, "follow-link") ? 0 : O_NOFOLLOW;
    int from AUTOCLOSE = rootfs_resolve(&c->root, source, O_PATH | follow);
    if (from < 0)
        return missing(c, source, err);
    if (!streq(target, "-"))
        return copy_between(c, from, false, source, target, err);
    char *clean AUTOFREE = path_clean(source);
    char *parent AUTOFREE = path_dir(clean);
    int dir AUTOCLOSE = rootfs_resolve(&c->root, parent, O_PATH | O_DIRECTORY);
    if (dir < 0)
        return missing(c, parent, err);
    bool whole = streq(clean, "/");
    return tar_create(dir, whole ? "." : path_base(clean), STDOUT_FILENO, err);
}

/* A tar stream is unpacked aside first: tar would follow the container's links to wherever they lead,
 * the copy from there into the container does not. */
static int from_stream(const struct cp *c, int dir, struct err *err)
{
    static const struct copy_options as_in_archive = {.owners = true};
    char *aside AUTOFREE = xasprintf("%s/cp.XXXXXX", c->cli->paths.root);
    if (!mkdtemp(aside))
        return err_sys(err, errno, "make the folder %s", aside);
    int from AUTOCLOSE = open(aside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = from < 0 ? err_sys(err, errno, "open %s", aside)
                      : tar_extract(STDIN_FILENO, from, err);
    if (rc == 0)
        rc = copy_content_of(from, dir, &as_in_archive, err);
    fs_remove_all(aside, NULL);
    return rc;
}

static int to_container(struct cp *c, const char *source, const char *target, struct err *err)
{
    if (streq(source, "-")) {
        int dir AUTOCLOSE = rootfs_resolve(&c->root, target, O_RDONLY | O_DIRECTORY);
        return dir < 0 ? missing(c, target, err) : from_stream(c, dir, err);
    }
    int follow = args_bool(c->args, "follow-link") ? 0 : O_NOFOLLOW;
    int from AUTOCLOSE = open(source, O_PATH | O_CLOEXEC | follow);
    if (from < 0)
        return err_set(err, ERR_NOT_FOUND, "lstat %s: no such file or directory", source);
    return copy_between(c, from, true, source, target, err);
}

static void show(const struct cp *c, struct progress *p, const char *from, const char *to,
                 bool to_side, const char *status, enum progress_state state)
{
    const char *name = c->container->name;
    char *text AUTOFREE = to_side ? xasprintf("copy %s to %s:%s", from, name, to)
                                  : xasprintf("copy %s:%s to %s", name, from, to);
    progress_event(
        p, &(struct progress_event){.id = name, .text = text, .status = status, .state = state});
}

static int copy_one(struct cp *c, const struct side *from, const struct side *to, struct err *err)
{
    struct progress p;
    bool to_side = to->service != NULL;
    bool silent = streq(to->path, "-") && c->cli->progress_fd == STDOUT_FILENO;
    bool dry = c->cli->dry_run;
    if (!dry && rootfs_open(c->cli, c->container, &c->root, err) < 0)
        return -1;
    progress_init(&p, c->cli, "Copying");
    if (!silent)
        show(c, &p, from->path, to->path, to_side, "Copying", PROGRESS_WORKING);
    int rc = dry       ? 0
             : to_side ? to_container(c, from->path, to->path, err)
                       : from_container(c, from->path, to->path, err);
    if (!silent && rc == 0)
        show(c, &p, from->path, to->path, to_side, "Copied", PROGRESS_DONE);
    progress_flush(&p);
    progress_release(&p);
    if (!dry)
        rootfs_close(&c->root);
    return rc;
}

static int copy_sides(struct cp *c, const struct side *from, const struct side *to, struct err *err)
{
    char *name AUTOFREE = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    const char *service = from->service ? from->service : to->service;
    bool oneoffs = args_bool(c->args, "all");
    int64_t index = args_int(c->args, "index");
    if (from->service && to->service)
        return err_set(err, ERR_INVALID, "copying between services is not supported");
    if (!service)
        return err_set(err, ERR_INVALID, "unknown copy direction");
    if (!*(from->service ? from : to)->path)
        return err_set(err, ERR_INVALID, "%s: the path in the container is empty", service);
    if (cli_project_name(c->cli, &name, NULL, err) < 0 ||
        containers_read(c->cli, name, &list, err) < 0)
        return -1;
    c->container = container_choose(&list, service, index, false, oneoffs, err);
    if (!c->container)
        return -1;
    if (from->service)
        return copy_one(c, from, to, err);
    /* Into a service means into each of its containers, unless one is named. */
    for (size_t i = 0; i < list.n; i++) {
        struct container_record *r = &list.v[i];
        bool chosen = index ? r == c->container
                            : streq(r->service, service) && (!r->oneoff || oneoffs);
        if (!chosen)
            continue;
        struct cp one = *c;
        one.container = r;
        if (copy_one(&one, from, to, err) < 0)
            return -1;
    }
    return 0;
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct side from = split_side(args->positional[0]), to = split_side(args->positional[1]);
    struct cp c = {
        .cli = cli,
        .args = args,
        .root = ROOTFS_INIT,
        .options = {.owners = args_bool(args, "archive")},
    };
    /* Without -a: what comes out is ours, what goes in is root's. */
    if (from.service) {
        c.options.uid = getuid();
        c.options.gid = getgid();
    }
    int rc = copy_sides(&c, &from, &to, err);
    free(from.service);
    free(to.service);
    return rc;
}

const struct command cmd_cp = {
    .name = "cp",
    .usage = "[OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- SERVICE:DEST_PATH",
    .summary = "Copy files/folders between a service container and the local filesystem",
    .options = options,
    .args_min = 2,
    .args_max = 2,
    .wording = ARGS_DOCKER,
    .complete = "@file",
    .run = run,
};
