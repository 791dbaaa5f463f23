/* The manual page, compose(1), from the same tables as the help: `compose man > compose.1`. */
#include "base/mem.h"
#include "base/strbuf.h"
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

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    (void)cli;
    (void)args;
    (void)err;
    strbuf_addstr(&out,
                  ".TH COMPOSE 1 \"\" \"compose " COMPOSE_VERSION "\" \"User Commands\"\n"
                  ".SH NAME\ncompose \\- run Compose files without a daemon\n"
                  ".SH SYNOPSIS\n.B compose\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR\n"
                  ".SH DESCRIPTION\n"
                  "Reads a Compose file, builds the dependency graph of its services, makes "
                  "networks and volumes, and runs the containers. Nothing stays behind when no "
                  "project is up.\n"
                  ".SH OPTIONS\n");
    add_options(&out, global_options);
    add_options(&out, common_options);
    strbuf_addstr(&out, ".SH COMMANDS\n");
    for (size_t i = 0; commands[i]; i++)
        add_command(&out, "compose", commands[i]);
    strbuf_addstr(
        &out, ".SH ENVIRONMENT\n"
              "COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES, "
              "COMPOSE_PATH_SEPARATOR, COMPOSE_DISABLE_ENV_FILE, COMPOSE_REMOVE_ORPHANS, "
              "COMPOSE_IGNORE_ORPHANS, COMPOSE_PARALLEL_LIMIT, COMPOSE_PROGRESS, COMPOSE_ANSI, "
              "COMPOSE_STATUS_STDOUT, NO_COLOR as the reference has them; COMPOSE_ROOT, "
              "COMPOSE_RUN: where state is kept; COMPOSE_RUNTIME: the OCI runtime.\n"
              ".SH EXIT STATUS\n"
              "0: done. 1: failed. 130: interrupted. exec and run give the code of the command, "
              "126 and 127 when it could not be run.\n");
    cli_out(out.buf, out.len);
    return 0;
}

const struct command cmd_man = {
    .name = "man",
    .usage = "",
    .summary = "Print the manual page",
    .flags = COMMAND_OURS | COMMAND_HIDDEN,
    .run = run,
};
