/* The manual page, compose(1), and docs/cli.md, from the same tables as the help:
 * `compose man > compose.1`, `compose man --format markdown > docs/cli.md`. */
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/help.h"

/* roff takes backslashes, and dots and quotes at the beginning of a line, for its own. */
static void add_roff(struct strbuf *out, const char *s)
{
    bool begin = true;
    for (; *s; s++) {
        if (begin && (*s == '.' || *s == '\''))
            strbuf_addstr(out, "\\&");
        if (*s == '\\')
            strbuf_addstr(out, "\\e");
        else if (*s == '-')
            strbuf_addstr(out, "\\-");
        else
            strbuf_addch(out, *s);
        begin = *s == '\n';
    }
}

static void add_options(struct strbuf *out, const struct option *table)
{
    for (const struct option *o = table; o && o->name; o++) {
        if (o->flags & OPTION_HIDDEN)
            continue;
        strbuf_addstr(out, ".TP\n");
        if (o->shorthand)
            strbuf_addf(out, "\\fB\\-%c\\fR, ", o->shorthand);
        strbuf_addstr(out, "\\fB\\-\\-");
        add_roff(out, o->name);
        strbuf_addf(out, "\\fR \\fI%s\\fR\n", option_type(o));
        add_roff(out, o->help);
        if (o->fallback && *o->fallback) {
            strbuf_addstr(out, " (default ");
            add_roff(out, o->fallback);
            strbuf_addch(out, ')');
        }
        strbuf_addch(out, '\n');
    }
}

static void add_command(struct strbuf *out, const char *prefix, const struct command *c)
{
    if (c->flags & COMMAND_HIDDEN)
        return;
    char *name AUTOFREE = xasprintf("%s %s", prefix, c->name);
    if (c->subcommands) {
        for (size_t i = 0; c->subcommands[i]; i++)
            add_command(out, name, c->subcommands[i]);
        return;
    }
    strbuf_addf(out, ".SS %s ", name);
    for (const char *u = c->usage; *u && *u != '\n'; u++)
        strbuf_addch(out, *u);
    strbuf_addch(out, '\n');
    add_roff(out, c->details ? c->details : c->summary);
    strbuf_addch(out, '\n');
    add_options(out, c->options);
}

/* ---- markdown */

static const char markdown_intro[] =
    "# Commands\n\n"
    "Printed by `compose man --format markdown`, from the tables that parse the command line.\n\n"
    "Every command takes the options of `docker compose` 2.40 with their meaning, defaults and "
    "exit "
    "codes. What is **ours**, and not in the reference, is marked so. Options for the whole "
    "program "
    "stand before the command (`compose -f a.yaml up`), `--dry-run` in either place.\n\n"
    "Progress goes to stderr, results to stdout. On a terminal progress is a block that is "
    "redrawn; in "
    "a pipe it is one line an event (`--progress tty|plain|json|quiet`, `--ansi`, `NO_COLOR`).\n\n"
    "Exit codes: 0 done; 1 failed; 130 interrupted; `exec` and `run` give the command's own, 126 "
    "when it "
    "could not be run and 127 when it was not found; `up --abort-on-container-exit` the code of "
    "the "
    "container that ended first, `--exit-code-from` that of the service named; `wait` that of the "
    "last "
    "container.\n\n"
    "`compose` also works as `docker-compose` and as a plugin of the docker command: link it as "
    "`~/.docker/cli-plugins/docker-compose`.\n";

static void add_cell(struct strbuf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '|' || *s == '<')
            strbuf_addch(out, '\\');
        strbuf_addch(out, *s == '\n' ? ' ' : *s);
    }
}

static void add_markdown_options(struct strbuf *out, const struct option *table)
{
    bool any = false;
    for (const struct option *o = table; o && o->name; o++) {
        if (o->flags & OPTION_HIDDEN)
            continue;
        if (!any)
            strbuf_addstr(out, "\n| option | |\n|---|---|\n");
        any = true;
        strbuf_addstr(out, "| `");
        if (o->shorthand)
            strbuf_addf(out, "-%c, ", o->shorthand);
        strbuf_addf(out, "--%s%s%s` | ", o->name, *option_type(o) ? " " : "", option_type(o));
        if (o->flags & OPTION_OURS)
            strbuf_addstr(out, "**ours** ");
        add_cell(out, o->help);
        if (o->fallback && *o->fallback)
            strbuf_addf(out, " (default `%s`)", o->fallback);
        strbuf_addstr(out, " |\n");
    }
}

static void add_markdown_command(struct strbuf *out, const char *prefix, const struct command *c,
                                 bool ours)
{
    if (c->flags & COMMAND_HIDDEN)
        return;
    char *name AUTOFREE = xasprintf("%s %s", prefix, c->name);
    ours = ours || (c->flags & COMMAND_OURS);
    if (c->subcommands) {
        for (size_t i = 0; c->subcommands[i]; i++)
            add_markdown_command(out, name, c->subcommands[i], ours);
        return;
    }
    strbuf_addf(out, "\n## %s%s\n\n```\n", name, ours ? " (ours)" : "");
    struct strbuf usage AUTOBUF = STRBUF_INIT;
    help_usage(prefix, c, &usage);
    strbuf_addf(out, "%s```\n\n%s\n", usage.buf, c->details ? c->details : c->summary);
    add_markdown_options(out, c->options);
}

static void add_markdown(struct strbuf *out)
{
    strbuf_addstr(out, markdown_intro);
    strbuf_addstr(out, "\n## Options of the program\n");
    add_markdown_options(out, global_options);
    for (size_t i = 0; commands[i]; i++)
        add_markdown_command(out, "compose", commands[i], false);
}

/* ---- */

static void add_manual(struct strbuf *out)
{
    strbuf_addf(out, ".TH COMPOSE 1 \"\" \"compose %s\" \"User Commands\"\n", compose_version);
    strbuf_addstr(out,
                  ".SH NAME\ncompose \\- run Compose files without a daemon\n"
                  ".SH SYNOPSIS\n.B compose\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n"
                  ".SH DESCRIPTION\n"
                  "Reads a Compose file, builds the dependency graph of its services, makes "
                  "networks and volumes, and runs the containers. Nothing stays behind when no "
                  "project is up.\n"
                  ".SH OPTIONS\n");
    add_options(out, global_options);
    add_options(out, common_options);
    strbuf_addstr(out, ".SH COMMANDS\n");
    for (size_t i = 0; commands[i]; i++)
        add_command(out, "compose", commands[i]);
    strbuf_addstr(
        out, ".SH ENVIRONMENT\n"
             "COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES, "
             "COMPOSE_PATH_SEPARATOR, COMPOSE_DISABLE_ENV_FILE, COMPOSE_REMOVE_ORPHANS, "
             "COMPOSE_IGNORE_ORPHANS, COMPOSE_PARALLEL_LIMIT, COMPOSE_PROGRESS, COMPOSE_ANSI, "
             "COMPOSE_STATUS_STDOUT, NO_COLOR, DOCKER_CONFIG, DOCKER_DEFAULT_PLATFORM and those of "
             "proxies as the reference has them; COMPOSE_ROOT, COMPOSE_RUN: where state is kept; "
             "COMPOSE_RUNTIME: the OCI runtime; COMPOSE_REGISTRIES: the file of registries' "
             "settings, else /etc/compose/registries.json; COMPOSE_REGISTRY_MIRRORS, "
             "COMPOSE_INSECURE_REGISTRIES: hosts, comma-separated.\n"
             ".SH EXIT STATUS\n"
             "0: done. 1: failed. 130: interrupted. exec and run give the code of the command, "
             "126 and 127 when it could not be run.\n");
}

static const struct option options[] = {
    OPT_STR("format", 0, "Format of the page. Values: [roff | markdown]", .fallback = "roff",
            .words = "roff markdown"),
    OPTION_END,
};

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    const char *format = args_str(args, "format");
    struct strbuf out AUTOBUF = STRBUF_INIT;
    (void)cli;
    if (streq(format, "roff"))
        add_manual(&out);
    else if (streq(format, "markdown"))
        add_markdown(&out);
    else
        return err_set(err, ERR_INVALID, "unsupported format \"%s\"", format);
    cli_out(out.buf, out.len);
    return 0;
}

const struct command cmd_man = {
    .name = "man",
    .usage = "[OPTIONS]",
    .summary = "Print the manual page",
    .options = options,
    .flags = COMMAND_OURS | COMMAND_HIDDEN,
    .run = run,
};
