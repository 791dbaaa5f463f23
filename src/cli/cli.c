#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cli/artifact.h"
#include "cli/terminal.h"
#include "engine/state.h"
#include "file/diag.h"
#include "model/load.h"

bool env_true(const char *name)
{
    const char *v = getenv(name);
    bool on;
    return v && *v && bool_parse(v, &on) && on;
}

static const char *option_or_env(const struct args *global, const char *option, const char *env)
{
    if (args_given(global, option))
        return args_str(global, option);
    const char *v = getenv(env);
    return v && *v ? v : args_str(global, option);
}

static int progress_mode(struct cli *cli, const char *ansi, struct err *err)
{
    const char *mode = option_or_env(cli->global, "progress", "COMPOSE_PROGRESS");
    if (!*mode || streq(mode, "auto")) {
        bool tty = terminal_capable(cli->progress_fd) && !streq(ansi, "never");
        cli->progress = tty ? PROGRESS_TTY : PROGRESS_PLAIN;
    } else if (streq(mode, "tty")) {
        if (streq(ansi, "never"))
            return err_set(err, ERR_INVALID,
                           "can't use --progress tty while ANSI support is disabled");
        cli->progress = PROGRESS_TTY;
    } else if (streq(mode, "plain")) {
        if (streq(ansi, "always"))
            return err_set(err, ERR_INVALID,
                           "can't use --progress plain while ANSI support is forced");
        cli->progress = PROGRESS_PLAIN;
    } else if (streq(mode, "json")) {
        cli->progress = PROGRESS_JSON;
    } else if (streq(mode, "quiet") || streq(mode, "none")) {
        cli->progress = PROGRESS_QUIET;
    } else {
        return err_set(err, ERR_INVALID, "unsupported --progress value \"%s\"", mode);
    }
    return 0;
}

static int parallel_limit(struct cli *cli, struct err *err)
{
    enum { DEFAULT = 4, MOST = 64 };
    int64_t n = args_int(cli->global, "parallel");
    const char *env = getenv("COMPOSE_PARALLEL_LIMIT");
    if (!args_given(cli->global, "parallel") && env && *env && !parse_int(env, &n))
        return err_set(err, ERR_INVALID,
                       "COMPOSE_PARALLEL_LIMIT must be an integer (found: \"%s\")", env);
    cli->parallel = n < 1 ? DEFAULT : n > MOST ? MOST : (int)n;
    return 0;
}

int cli_init(struct cli *cli, const struct args *global, bool dry_run, struct err *err)
{
    const char *program = cli->program;
    *cli = (struct cli){
        .program = program, .argv = cli->argv, .global = global, .dry_run = dry_run};
    cli->started = time_monotonic();
    const char *ansi = option_or_env(global, "ansi", "COMPOSE_ANSI");
    if (args_bool(global, "no-ansi"))
        ansi = "never";
    const char *no_color = getenv("NO_COLOR");
    bool plain = (no_color && *no_color) || streq(ansi, "never");
    bool force = streq(ansi, "always");
    cli->color_out = force || (!plain && terminal_capable(STDOUT_FILENO));
    cli->color_err = force || (!plain && terminal_capable(STDERR_FILENO));
    cli->progress_fd = env_true("COMPOSE_STATUS_STDOUT") ? STDOUT_FILENO : STDERR_FILENO;
    return parallel_limit(cli, err) < 0 ? -1 : progress_mode(cli, ansi, err);
}

void cli_release(struct cli *cli)
{
    image_store_free(cli->store);
    paths_release(&cli->paths);
}

int cli_paths(struct cli *cli, struct err *err)
{
    if (cli->paths.root)
        return 0;
    const char *root = args_str(cli->global, "root");
    return paths_init(&cli->paths, *root ? root : NULL, err);
}

int cli_store(struct cli *cli, struct image_store **store, struct err *err)
{
    if (!cli->store &&
        (cli_paths(cli, err) < 0 || image_store_open(&cli->paths, &cli->store, err) < 0))
        return -1;
    *store = cli->store;
    return 0;
}

/* ---- the project */

static const char *const *list_or_null(const struct args *args, const char *name)
{
    const char *const *list = args_list(args, name);
    return *list ? list : NULL;
}

void cli_load_options(const struct cli *cli, struct load_options *o)
{
    *o = (struct load_options){0};
    o->files = list_or_null(cli->global, "file");
    o->env_files = list_or_null(cli->global, "env-file");
    o->profiles = list_or_null(cli->global, "profile");
    o->all_resources = args_bool(cli->global, "all-resources");
    const char *name = args_str(cli->global, "project-name");
    const char *dir = args_str(cli->global, "project-directory");
    if (!*dir)
        dir = args_str(cli->global, "workdir");
    o->project_name = *name ? name : NULL;
    o->project_directory = *dir ? dir : NULL;
    o->remote = artifact_fetch;
    o->remote_ctx = (struct cli *)cli;
}

/* One object a line. */
static void diagnostics_to_json(const struct diag *d, struct strbuf *out)
{
    json_t *all AUTOJSON = diag_to_json(d), *one;
    size_t i;
    json_array_foreach (all, i, one) {
        char *text AUTOFREE = json_dumps(one, JSON_COMPACT);
        strbuf_addf(out, "%s\n", text ? text : "{}");
    }
}

void cli_diagnostics(const struct cli *cli, const struct diag *d)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (cli->json_diagnostics) {
        diagnostics_to_json(d, &out);
    } else {
        diag_render(d, DIAG_WARNING, cli->color_err, &out);
        diag_render(d, DIAG_ERROR, cli->color_err, &out);
    }
    fd_write_all(STDERR_FILENO, out.buf, out.len);
}

/* The error has been told already. */
static int told(struct err *err)
{
    if (err)
        *err = (struct err){.kind = ERR_INVALID, .exit_code = 1};
    return -1;
}

static void set_separator(const struct cli *cli, struct project *p)
{
    if (args_bool(cli->global, "compatibility") || env_true("COMPOSE_COMPATIBILITY"))
        p->separator = "_";
}

int cli_project(struct cli *cli, const struct load_options *options, struct project **out,
                struct err *err)
{
    struct load_options usual;
    if (!options) {
        cli_load_options(cli, &usual);
        options = &usual;
    }
    struct diag d AUTODIAG = DIAG_INIT;
    int rc = project_load(options, out, &d);
    cli_diagnostics(cli, &d);
    if (rc == 0)
        set_separator(cli, *out);
    return rc < 0 ? told(err) : 0;
}

static bool name_is_given(const struct cli *cli)
{
    const char *env = getenv("COMPOSE_PROJECT_NAME");
    return *args_str(cli->global, "project-name") || (env && *env);
}

static bool is_on_disk(struct cli *cli, const char *project)
{
    if (cli_paths(cli, NULL) < 0)
        return false;
    char *dir AUTOFREE = paths_project(&cli->paths, project);
    return fs_is_dir(dir);
}

/* All of them are services of containers that exist. */
static bool have_containers(struct cli *cli, const char *project, const char *const *services)
{
    struct container_list list;
    if (cli_paths(cli, NULL) < 0 || container_list_read(&cli->paths, project, &list, NULL) < 0)
        return false;
    bool all = true;
    for (; *services && all; services++) {
        all = false;
        for (size_t i = 0; i < list.n && !all; i++)
            all = streq(list.v[i].service, *services);
    }
    container_list_release(&list);
    return all;
}

int cli_project_name(struct cli *cli, char **name, const char *const *services, struct err *err)
{
    struct load_options options;
    struct diag d AUTODIAG = DIAG_INIT;
    cli_load_options(cli, &options);
    char *found = project_name_find(&options, &d);
    if (!found) {
        cli_diagnostics(cli, &d);
        return told(err);
    }
    struct project *p = NULL;
    int rc = 0;
    bool check = services && *services && !have_containers(cli, found, services);
    /* A project that this machine has never seen must at least have a file that loads. */
    if (!name_is_given(cli) && (check || !is_on_disk(cli, found)))
        rc = cli_project(cli, &options, &p, err);
    else if (check)
        project_load(&options, &p, &d); /* without a file there is nothing to check against */
    if (rc == 0 && p && services)
        rc = cli_check_services(p, services, err);
    project_free(p);
    if (rc < 0)
        free(found);
    else
        *name = found;
    return rc;
}

int cli_project_if_any(struct cli *cli, const char *const *services, char **name,
                       struct project **project, struct err *err)
{
    struct load_options options;
    struct diag d AUTODIAG = DIAG_INIT;
    cli_load_options(cli, &options);
    options.services = services;
    *project = NULL;
    if (options.project_name && !options.files)
        return cli_project_name(cli, name, NULL, err);
    if (project_load(&options, project, &d) == 0) {
        cli_diagnostics(cli, &d);
        set_separator(cli, *project);
        *name = xstrdup((*project)->name);
        return 0;
    }
    *project = NULL;
    char *first AUTOFREE = diag_first_error(&d);
    if (name_is_given(cli) && first && strstr(first, "no configuration file provided"))
        return cli_project_name(cli, name, NULL, err);
    cli_diagnostics(cli, &d);
    return told(err);
}

struct project *cli_project_quietly(struct cli *cli)
{
    struct load_options options;
    struct diag d AUTODIAG = DIAG_INIT;
    struct project *p = NULL;
    cli_load_options(cli, &options);
    return project_load(&options, &p, &d) == 0 ? p : NULL;
}

int cli_check_services(const struct project *p, const char *const *names, struct err *err)
{
    for (; *names; names++) {
        bool known = project_service(p, *names) != NULL;
        for (size_t i = 0; i < p->disabled.n && !known; i++)
            known = streq(p->disabled.v[i], *names);
        if (!known)
            return err_set(err, ERR_NOT_FOUND, "no such service: %s", *names);
    }
    return 0;
}

/* ---- output */

/* Text in a quoted Go string. */
static void add_quoted(struct strbuf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            strbuf_addf(out, "\\%c", *s);
        else if (*s == '\n')
            strbuf_addstr(out, "\\n");
        else
            strbuf_addch(out, *s);
    }
}

static void say(const struct cli *cli, const char *level, const char *letters, const char *color,
                const char *msg)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (isatty(STDERR_FILENO)) {
        int seconds = (int)((time_monotonic() - cli->started) / 1000000000);
        strbuf_addf(&out, "%s%s%s[%04d] %s \n", cli->color_err ? color : "", letters,
                    cli->color_err ? "\033[0m" : "", seconds, msg);
    } else {
        char stamp[40];
        time_t now = time(NULL);
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &tm);
        strbuf_addf(&out, "time=\"%s\" level=%s msg=\"", stamp, level);
        add_quoted(&out, msg);
        strbuf_addstr(&out, "\"\n");
    }
    fd_write_all(STDERR_FILENO, out.buf, out.len);
}

void cli_warn(const struct cli *cli, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *msg AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    say(cli, "warning", "WARN", "\033[33m", msg);
}

void cli_info(const struct cli *cli, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *msg AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    say(cli, "info", "INFO", "\033[36m", msg);
}

void cli_print_error(const struct cli *cli, const struct err *err)
{
    if (!err->msg)
        return;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    if (cli->progress == PROGRESS_JSON) {
        json_t *j AUTOJSON = json_pack("{s:b, s:o}", "error", 1, "message", json_text(err->msg));
        char *text AUTOFREE = j ? json_dumps(j, JSON_COMPACT) : NULL;
        strbuf_addf(&out, "%s\n", text ? text : err->msg);
    } else {
        strbuf_addf(&out, "%s\n", err->msg);
    }
    fd_write_all(STDERR_FILENO, out.buf, out.len);
}

/* Why something of stdout is lost; as stdio keeps it of its stdout, and for as long. */
static int out_error;

void cli_out_lost(int error)
{
    if (!out_error && error != EPIPE)
        out_error = error;
}

int cli_out_check(struct err *err)
{
    return out_error ? err_sys(err, out_error, "write /dev/stdout") : 0;
}

void cli_out(const char *text, size_t n)
{
    if (fd_write_all(STDOUT_FILENO, text, n) == 0)
        return;
    cli_out_lost(errno);
    if (errno == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
}

void cli_outf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text AUTOFREE = xvasprintf(fmt, ap);
    va_end(ap);
    cli_out(text, strlen(text));
}

char *json_go(const json_t *j)
{
    char *plain AUTOFREE = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    struct strbuf out = STRBUF_INIT;
    for (const char *c = plain ? plain : "null"; *c; c++) {
        if (*c == '<' || *c == '>' || *c == '&')
            strbuf_addf(&out, "\\u%04x", *c);
        else
            strbuf_addch(&out, *c);
    }
    return strbuf_detach(&out);
}

void cli_out_json(const json_t *j)
{
    char *text AUTOFREE = json_go(j);
    cli_outf("%s\n", text);
}

bool cli_confirm(const struct cli *cli, const char *question)
{
    static const char *const yes[] = {"y", "yes", "t", "true", "1"};
    (void)cli;
    cli_outf("%s ", question);
    char answer[16] = "";
    if (!fgets(answer, sizeof(answer), stdin)) {
        cli_outf("\n");
        return false;
    }
    answer[strcspn(answer, "\r\n")] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
        if (strcasecmp(answer, yes[i]) == 0)
            return true;
    return false;
}
