#include "cli/watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/client.h"
#include "cli/copy.h"
#include "cli/dialog.h"
#include "cli/exec.h"
#include "cli/file_watch.h"
#include "cli/ignore.h"
#include "cli/image_commands.h"
#include "cli/image_jobs.h"
#include "cli/rootfs.h"

/* Changes are gathered until nothing has changed for this long. */
enum { QUIET_MS = 300 };

enum action {
    ACTION_SYNC = 1,
    ACTION_RESTART = 2,
    ACTION_REBUILD = 4,
    ACTION_EXEC = 8,
};

struct rule {
    const struct service *service;
    const char *path; /* absolute */
    unsigned actions; /* enum action */
    const char *target;
    bool initial_sync;
    struct ignore ignore, include; /* include empty: all */
    const struct node *exec;
};

struct watch {
    struct cli *cli;
    const struct project *project;
    const struct watch_options *o;
    VEC(struct rule) rules;
    struct file_watch files;
    struct map changed; /* paths since the last time */
    uv_loop_t loop;
    uv_poll_t poll;
    uv_timer_t quiet;
    uv_signal_t interrupt, terminate;
    bool interrupted;
};

/* ---- rules */

static unsigned actions_of(const char *text)
{
    static const struct {
        const char *text;
        unsigned actions;
    } known[] = {
        {"sync", ACTION_SYNC},
        {"restart", ACTION_RESTART},
        {"rebuild", ACTION_REBUILD},
        {"sync+restart", ACTION_SYNC | ACTION_RESTART},
        {"sync+exec", ACTION_SYNC | ACTION_EXEC},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (text && streq(text, known[i].text))
            return known[i].actions;
    }
    return 0;
}

static void add_patterns(struct ignore *out, const struct node *list)
{
    for (size_t i = 0; node_is(list, NODE_SEQUENCE) && i < list->count; i++) {
        if (node_str(list->items[i]))
            ignore_add(out, node_str(list->items[i]));
    }
    if (node_str(list))
        ignore_add(out, node_str(list));
}

/* What editors and version control leave behind is no change. */
static void add_usual_ignores(struct ignore *out)
{
    static const char *const usual[] = {"**/.git",   "**/.idea",       "**/*~",         "**/*.swp",
                                        "**/*.swx",  "**/.#*",         "**/#*#",        "**/4913",
                                        "**/*.tmp~", "**/.*.kate-swp", "**/__pycache__"};
    for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
        ignore_add(out, usual[i]);
}

static int add_rule(struct watch *w, const struct service *s, const struct node *n, struct err *err)
{
    struct rule r = {
        .service = s,
        .path = node_get_str(n, "path"),
        .actions = actions_of(node_get_str(n, "action")),
        .target = node_get_str(n, "target"),
        .initial_sync = node_get_bool(n, "initial_sync", false),
        .exec = node_get(n, "exec"),
    };
    if (!r.path || !r.actions)
        return err_set(err, ERR_INVALID, "service \"%s\": unknown develop.watch action \"%s\"",
                       s->name, node_get_str(n, "action") ? node_get_str(n, "action") : "");
    if ((r.actions & ACTION_SYNC) && !r.target)
        return err_set(err, ERR_INVALID, "service \"%s\": develop.watch action %s needs a target",
                       s->name, node_get_str(n, "action"));
    if ((r.actions & ACTION_REBUILD) && !s->build)
        return err_set(err, ERR_INVALID,
                       "can't watch service \"%s\" with action rebuild without a build context",
                       s->name);
    add_usual_ignores(&r.ignore);
    if (s->build && s->build->context) {
        char *file AUTOFREE = path_join(s->build->context, ".dockerignore");
        ignore_read(&r.ignore, file);
    }
    add_patterns(&r.ignore, node_get(n, "ignore"));
    add_patterns(&r.include, node_get(n, "include"));
    vec_push(&w->rules, r);
    return 0;
}

static bool is_named(const char *const *services, const char *name)
{
    for (size_t i = 0; services[i]; i++) {
        if (streq(services[i], name))
            return true;
    }
    return !services[0];
}

static int read_rules(struct watch *w, const char *const *services, struct err *err)
{
    for (size_t i = 0; i < w->project->services_n; i++) {
        const struct service *s = &w->project->services[i];
        const struct node *list = node_get(s->develop, "watch");
        for (size_t k = 0;
             is_named(services, s->name) && node_is(list, NODE_SEQUENCE) && k < list->count; k++) {
            if (add_rule(w, s, list->items[k], err) < 0)
                return -1;
        }
    }
    if (!w->rules.n)
        return err_set(err, ERR_INVALID,
                       "none of the selected services is configured for watch, consider setting a "
                       "'develop' section");
    return 0;
}

/* The path below the rule's, "" for the rule's own; NULL: it is none of the rule's business. */
static const char *below(const struct rule *r, const char *path)
{
    size_t n = strlen(r->path);
    if (strncmp(path, r->path, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    return path[n] ? path + n + 1 : path + n;
}

static bool concerns(const struct rule *r, const char *path)
{
    const char *rest = below(r, path);
    if (!rest || (*rest && ignore_matches(&r->ignore, rest)))
        return false;
    return !r->include.patterns || ignore_matches(&r->include, rest) ||
           ignore_matches(&r->include, path_base(path));
}

static bool skip_folder(void *ctx, const char *path)
{
    const struct watch *w = ctx;
    for (size_t i = 0; i < w->rules.n; i++) {
        const char *rest = below(&w->rules.v[i], path);
        if (rest && !(*rest && ignore_matches(&w->rules.v[i].ignore, rest)))
            return false;
    }
    return true;
}

/* ---- what a change makes happen */

static int make_folders(const struct rootfs *root, const char *path, struct err *err)
{
    char *part AUTOFREE = path_clean(path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        int fd AUTOCLOSE = rootfs_resolve(root, part, O_PATH | O_DIRECTORY);
        if (fd < 0) {
            char *parent AUTOFREE = path_dir(part);
            int dir AUTOCLOSE = rootfs_resolve(root, parent, O_PATH | O_DIRECTORY);
            if (dir < 0 || mkdirat(dir, path_base(part), 0755) < 0)
                return err_set(err, ERR_IO, "the folder %s can't be made", part);
        }
        if (!slash)
            return 0;
        *slash = '/';
    }
}

static void remove_below(int dir, const char *name)
{
    char path[48 + 256];
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (!S_ISDIR(st.st_mode)) {
        unlinkat(dir, name, 0);
        return;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
    fs_remove_all(path, NULL);
}

static int sync_path(const struct rootfs *root, const struct rule *r, const char *path,
                     struct err *err)
{
    static const struct copy_options options;
    const char *rest = below(r, path);
    char *to AUTOFREE = *rest ? path_join(r->target, rest) : xstrdup(r->target);
    char *parent AUTOFREE = path_dir(to);
    int from AUTOCLOSE = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (from >= 0 && fstat(from, &st) == 0 && S_ISDIR(st.st_mode))
        return make_folders(root, to, err); /* what is in it comes by itself, see add_tree() */
    if (from >= 0 && make_folders(root, parent, err) < 0)
        return -1;
    int dir AUTOCLOSE = rootfs_resolve(root, parent, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return from < 0 ? 0 : err_set(err, ERR_NOT_FOUND, "no folder %s", parent);
    if (from < 0) {
        remove_below(dir, path_base(to));
        return 0;
    }
    return copy_tree(from, dir, path_base(to), &options, err);
}

static int sync_paths(struct watch *w, const struct rule *r, char **paths, struct err *err)
{
    struct container_list list AUTOCONTAINERS = {0};
    if (containers_read(w->cli, w->project->name, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < list.n; i++) {
        struct rootfs root;
        struct container_record *c = &list.v[i];
        if (c->oneoff || !streq(c->service, r->service->name) || !container_is_up(c))
            continue;
        if (rootfs_open(w->cli, c, &root, err) < 0)
            return -1;
        int rc = 0;
        for (size_t k = 0; paths[k] && rc == 0; k++)
            rc = sync_path(&root, r, paths[k], err);
        rootfs_close(&root);
        if (rc < 0)
            return err_wrap(err, "sync into %s", c->name);
    }
    return 0;
}

static int run_exec(struct watch *w, const struct rule *r, struct err *err)
{
    const struct node *command = node_get(r->exec, "command");
    const struct node *variables = node_get(r->exec, "environment");
    char **argv AUTOSTRV = NULL, **env AUTOSTRV = NULL;
    struct container_list list AUTOCONTAINERS = {0};
    for (size_t i = 0; node_is(variables, NODE_MAPPING) && i < variables->count; i++) {
        const char *value = node_str(variables->pairs[i].value);
        char *pair AUTOFREE = xasprintf("%s=%s", variables->pairs[i].key, value ? value : "");
        strv_push(&env, pair);
    }
    for (size_t i = 0; node_is(command, NODE_SEQUENCE) && i < command->count; i++)
        strv_push(&argv, node_str(command->items[i]) ? node_str(command->items[i]) : "");
    if (!argv || containers_read(w->cli, w->project->name, &list, err) < 0)
        return argv ? -1 : 0;
    for (size_t i = 0; i < list.n; i++) {
        struct container_record *c = &list.v[i];
        if (c->oneoff || !streq(c->service, r->service->name) || c->status != CONTAINER_RUNNING)
            continue;
        const struct exec_options o = {
            .id = c->id,
            .project = w->project->name,
            .runtime = c->runtime,
            .command = (const char *const *)argv,
            .environment = (const char *const *)env,
            .pid = c->pid,
            .no_input = true,
            .user = node_get_str(r->exec, "user"),
            .working_dir = node_get_str(r->exec, "working_dir"),
            .privileged = node_get_bool(r->exec, "privileged", false),
        };
        int code = exec_run(w->cli, &o, err);
        if (code < 0)
            return err_wrap(err, "exec in %s", c->name);
        if (code > 0)
            cli_warn(w->cli, "%s: the command ended with code %d", c->name, code);
    }
    return 0;
}

static int request_for(struct watch *w, const char *op, const struct service *s, const char *title,
                       struct err *err)
{
    const char *names[] = {s->name, NULL};
    json_t *request AUTOJSON = request_new(op, names);
    if (streq(op, "up")) {
        request_project(request, w->project);
        request_bool(request, "no_deps", true);
        request_bool(request, "ignore_orphans", true);
    }
    return dialog_run(w->cli, w->project->name, request, title,
                      &(struct dialog_hooks){.project = w->project}, err);
}

static void prune(struct watch *w)
{
    struct image_store *store;
    struct image_change change = {0};
    if (!w->o->prune || cli_store(w->cli, &store, NULL) < 0)
        return;
    char **in_use AUTOSTRV = images_in_use(w->cli);
    if (image_prune(store, (const char *const *)in_use, false, &change, NULL) == 0)
        image_change_release(&change);
}

static int rebuild(struct watch *w, const struct service *s, struct err *err)
{
    char *image AUTOFREE = service_image_name(w->project, s);
    const struct build_flags flags = {.quiet = w->o->quiet};
    struct image_job job = {.kind = JOB_BUILD, .service = s, .image = image};
    struct image_jobs jobs = {.project = w->project, .v = &job, .n = 1, .build = &flags};
    cli_outf("Rebuilding service(s) [\"%s\"] after changes were detected...\n", s->name);
    if (image_jobs_run(w->cli, &jobs, "Building", err) < 0)
        return -1;
    int rc = request_for(w, "up", s, "Running", err);
    if (rc == 0)
        prune(w);
    return rc;
}

/* A path and, where it is a folder, what is in it, as far as it concerns the rule: a folder may be there
 * with its content by the time that we hear of it. */
static void add_tree(const struct rule *r, const char *path, char ***out, int depth)
{
    enum { DEPTH_MAX = 100 };
    const char *rest = below(r, path);
    struct stat st;
    bool folder = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
    if (!rest || (*rest && ignore_matches(&r->ignore, rest)) || depth > DEPTH_MAX)
        return;
    if (folder ? !r->include.patterns : concerns(r, path))
        strv_push(out, path);
    DIR *dir = folder ? opendir(path) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char *inner AUTOFREE = path_join(path, entry->d_name);
        if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
            add_tree(r, inner, out, depth + 1);
    }
    if (dir)
        closedir(dir);
}

/* All that has changed for one rule, at once. */
static int apply_rule(struct watch *w, const struct rule *r, char **paths, struct err *err)
{
    size_t n = strv_len((const char *const *)paths);
    if (!n)
        return 0;
    if (r->actions & ACTION_REBUILD)
        return rebuild(w, r->service, err);
    if (r->actions & ACTION_SYNC) {
        cli_outf("Syncing service \"%s\" after %zu changes were detected\n", r->service->name, n);
        if (sync_paths(w, r, paths, err) < 0)
            return -1;
    }
    if ((r->actions & ACTION_EXEC) && run_exec(w, r, err) < 0)
        return -1;
    if (!(r->actions & ACTION_RESTART))
        return 0;
    int rc = request_for(w, "restart", r->service, "Restarting", err);
    if (rc == 0)
        cli_outf("service(s) [\"%s\"] restarted\n", r->service->name);
    return rc;
}

/* ---- the loop */

static void apply(struct watch *w)
{
    for (size_t i = 0; i < w->rules.n && !w->interrupted; i++) {
        struct err err AUTOERR = ERR_INIT;
        char **paths AUTOSTRV = NULL;
        map_foreach (&w->changed, it)
            add_tree(&w->rules.v[i], it->key, &paths, 0);
        int rc = apply_rule(w, &w->rules.v[i], paths, &err);
        if (rc == EXIT_INTERRUPTED)
            w->interrupted = true;
        else if (rc < 0)
            cli_print_error(w->cli, &err); /* the next change may mend it */
    }
    map_release(&w->changed);
}

static void on_quiet(uv_timer_t *timer)
{
    apply(timer->data);
}

static void on_changed(void *ctx, const char *path)
{
    struct watch *w = ctx;
    map_set(&w->changed, path, "");
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    (void)status;
    (void)events;
    file_watch_read(&w->files, on_changed, w);
    if (w->changed.live)
        uv_timer_start(&w->quiet, on_quiet, QUIET_MS, 0);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct watch *w = s->data;
    (void)signum;
    w->interrupted = true;
    uv_close((uv_handle_t *)&w->poll, NULL);
    uv_close((uv_handle_t *)&w->quiet, NULL);
    uv_close((uv_handle_t *)&w->interrupt, NULL);
    uv_close((uv_handle_t *)&w->terminate, NULL);
}

/* initial_sync: what is there counts as changed once. */
static int initial(struct watch *w, struct err *err)
{
    for (size_t i = 0; i < w->rules.n; i++) {
        const struct rule *r = &w->rules.v[i];
        char **paths AUTOSTRV = NULL;
        if (!r->initial_sync || !(r->actions & ACTION_SYNC))
            continue;
        add_tree(r, r->path, &paths, 0);
        if (paths && sync_paths(w, r, paths, err) < 0)
            return -1;
    }
    return 0;
}

static int watch_loop(struct watch *w, struct err *err)
{
    for (size_t i = 0; i < w->rules.n; i++) {
        if (file_watch_add(&w->files, w->rules.v[i].path, err) < 0)
            return -1;
    }
    if (initial(w, err) < 0)
        return -1;
    uv_loop_init(&w->loop);
    uv_poll_init(&w->loop, &w->poll, w->files.fd);
    uv_timer_init(&w->loop, &w->quiet);
    uv_signal_init(&w->loop, &w->interrupt);
    uv_signal_init(&w->loop, &w->terminate);
    w->poll.data = w->quiet.data = w->interrupt.data = w->terminate.data = w;
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    uv_signal_start(&w->interrupt, on_signal, SIGINT);
    uv_signal_start(&w->terminate, on_signal, SIGTERM);
    cli_outf("Watch enabled\n");
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_loop_close(&w->loop);
    return EXIT_INTERRUPTED;
}

int watch_run(struct cli *cli, const struct project *p, const char *const *services,
              const struct watch_options *o, struct err *err)
{
    struct watch w = {.cli = cli, .project = p, .o = o, .files = {.fd = -1}};
    int rc = read_rules(&w, services, err);
    if (rc == 0)
        rc = file_watch_init(&w.files, skip_folder, &w, err);
    if (rc == 0)
        rc = watch_loop(&w, err);
    file_watch_release(&w.files);
    map_release(&w.changed);
    vec_foreach (&w.rules, r) {
        ignore_release(&r->ignore);
        ignore_release(&r->include);
    }
    vec_release(&w.rules);
    return rc;
}
