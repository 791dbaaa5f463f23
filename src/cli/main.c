/* compose: reads the command line, finds the command, runs it, tells what went wrong. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/fs.h"
#include "base/version.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/terminal.h"

static int print_buf(struct strbuf *out)
{
    cli_out(out->buf, out->len);
    strbuf_release(out);
    return 0;
}

static int print_program_help(const char *program)
{
    struct strbuf out = STRBUF_INIT;
    help_program(program, terminal_width(STDOUT_FILENO, 80), &out);
    return print_buf(&out);
}

static int print_command_help(const char *prefix, const struct command *c)
{
    struct strbuf out = STRBUF_INIT;
    help_command(prefix, c, terminal_width(STDOUT_FILENO, 80), &out);
    return print_buf(&out);
}

static const char *plural(int n)
{
    return n == 1 ? "argument" : "arguments";
}

static int wrong_number(const char *prefix, const struct command *c, size_t n, struct err *err)
{
    int min = c->args_min, max = c->args_max;
    if (c->wording == ARGS_DOCKER) {
        struct strbuf usage AUTOBUF = STRBUF_INIT;
        help_usage(prefix, c, &usage);
        int want = (int)n < min ? min : max;
        const char *least = max == ARGS_ANY ? "at least " : min != max ? "at most " : "";
        return err_set(err, ERR_INVALID,
                       "'%s %s' requires %s%d %s\n\n%s\nRun '%s %s --help' for more information",
                       prefix, c->name, least, want, plural(want), usage.buf, prefix, c->name);
    }
    if (max == ARGS_ANY)
        return err_set(err, ERR_INVALID, "requires at least %d arg(s), only received %zu", min, n);
    if (min == max)
        return err_set(err, ERR_INVALID, "accepts %d arg(s), received %zu", max, n);
    return err_set(err, ERR_INVALID, "accepts between %d and %d arg(s), received %zu", min, max, n);
}

static int check_arguments(const char *prefix, const struct command *c, const struct args *args,
                           struct err *err)
{
    if (c->args_max == 0 && args->n)
        return err_set(err, ERR_INVALID, "unknown command \"%s\" for \"%s %s\"",
                       args->positional[0], prefix, c->name);
    if ((int)args->n < c->args_min || (c->args_max != ARGS_ANY && (int)args->n > c->args_max))
        return wrong_number(prefix, c, args->n, err);
    return 0;
}

static int run_command(struct cli *cli, const struct args *global, const char *prefix,
                       const struct command *c, int argc, char **argv, struct err *err)
{
    if (c->subcommands) {
        const char *name = argc ? argv[0] : NULL;
        const struct command *sub = name ? command_find(c->subcommands, name) : NULL;
        if (!sub && (!name || streq(name, "--help") || streq(name, "-h")))
            return print_command_help(prefix, c);
        if (!sub)
            return err_set(err, ERR_INVALID, "unknown command \"%s\" for \"%s %s\"", name, prefix,
                           c->name);
        char *inner AUTOFREE = xasprintf("%s %s", prefix, c->name);
        return run_command(cli, global, inner, sub, argc - 1, argv + 1, err);
    }
    struct args args;
    bool help;
    const struct option *const tables[] = {common_options, c->options, NULL};
    const struct option_rules rules = {.stop_at_argument = c->stop_at_argument};
    if (args_parse(&args, tables, rules, argc, argv, &help, err) < 0)
        return -1;
    int rc = help ? print_command_help(prefix, c) : check_arguments(prefix, c, &args, err);
    if (rc == 0 && !help) {
        bool dry = args_bool(global, "dry-run") || args_bool(&args, "dry-run");
        rc = dry && (c->flags & COMMAND_NO_DRY_RUN)
                 ? err_set(err, ERR_INVALID, "\"%s %s\" has no dry run: nothing was done", prefix,
                           c->name)
                 : cli_init(cli, global, dry, err);
        if (rc == 0)
            rc = c->run(cli, &args, err);
    }
    args_release(&args);
    return rc;
}

static int unknown_command(struct cli *cli, const char *name, struct err *err)
{
    print_program_help(cli->program);
    return err_set(err, ERR_INVALID, "unknown command: \"%s %s\"", cli->program, name);
}

static int run_program(struct cli *cli, struct args *global, int argc, char **argv, struct err *err)
{
    bool help;
    const struct option *const tables[] = {global_options, common_options, NULL};
    const struct option_rules rules = {.stop_at_argument = true};
    if (args_parse(global, tables, rules, argc, argv, &help, err) < 0)
        return -1;
    const struct command *c = NULL;
    bool asked = help || !global->n || streq(global->positional[0], "help");
    if (args_bool(global, "version"))
        c = &cmd_version;
    else if (asked)
        c = global->n > 1 ? command_find(commands, global->positional[1]) : NULL;
    else
        c = command_find(commands, global->positional[0]);
    if (!args_bool(global, "version") && asked) {
        if (c)
            return print_command_help(cli->program, c);
        return help || global->n < 2 ? print_program_help(cli->program)
                                     : unknown_command(cli, global->positional[1], err);
    }
    if (!c)
        return unknown_command(cli, global->positional[0], err);
    /* The rest of argv, options included: parsing stopped at the command's name. */
    int skip = argc - (int)global->n + 1;
    if (args_bool(global, "version"))
        return run_command(cli, global, cli->program, c, 0, argv + argc, err);
    return run_command(cli, global, cli->program, c, argc - skip, argv + skip, err);
}

/* As a plugin the docker program starts us as `docker-compose compose ...` and first asks who we are. */
static int plugin_metadata(void)
{
    cli_outf("{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"compose\",\"Version\":\"%s\","
             "\"ShortDescription\":\"Compose without a daemon\"}\n",
             compose_version);
    return 0;
}

/* The docker command hands its own options on: `docker --debug compose ps` becomes `docker-compose
 * --debug compose ps`. How many words are not ours, "compose" included; 0: this is no plugin call. */
static int docker_words(int argc, char **argv)
{
    static const struct {
        const char *name;
        char shorthand;
        bool value;
    } known[] = {{"config", 0, true},    {"context", 'c', true},   {"debug", 'D', false},
                 {"host", 'H', true},    {"log-level", 'l', true}, {"tls", 0, false},
                 {"tlscacert", 0, true}, {"tlscert", 0, true},     {"tlskey", 0, true},
                 {"tlsverify", 0, false}};
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *word = argv[i], *equals = strchr(word, '=');
        size_t k = 0, n = equals ? (size_t)(equals - word) : strlen(word);
        for (; k < ARRAY_SIZE(known); k++)
            if (word[1] == '-'
                    ? n == strlen(known[k].name) + 2 && starts_with(word + 2, known[k].name)
                    : word[1] == known[k].shorthand && word[1])
                break;
        if (k == ARRAY_SIZE(known))
            return 0;
        bool inside = equals || (word[1] != '-' && word[2]);
        const char *value = inside ? (equals ? equals + 1 : word + 2) : argv[i + 1];
        if (known[k].value && value && streq(known[k].name, "config"))
            setenv("DOCKER_CONFIG", value, 1);
        i += known[k].value && !inside;
    }
    return i < argc && streq(argv[i], "compose") ? i + 1 : 0;
}

int main(int argc, char **argv)
{
    if (fd_open_standard() < 0)
        return 1; /* there is nobody to tell */
    signal(SIGPIPE, SIG_IGN);
    log_open("compose", getenv("COMPOSE_TRACE") ? STDERR_FILENO : -1);
    const char *self = argc ? path_base(argv[0]) : "compose";
    struct cli cli = {.program = "compose", .argv = argv};
    int skip = argc ? 1 : 0;
    if (argc > 1 && streq(argv[1], "docker-cli-plugin-metadata"))
        return plugin_metadata();
    if (streq(self, "docker-compose")) {
        cli.program = "docker compose";
        skip = docker_words(argc, argv);
        skip += !skip && argc;
    }
    struct args global = {0};
    struct err err AUTOERR = ERR_INIT;
    int rc = run_program(&cli, &global, argc - skip, argv + skip, &err);
    if (rc < 0) {
        cli_print_error(&cli, &err);
        rc = err.exit_code ? err.exit_code : 1;
    }
    struct err lost AUTOERR = ERR_INIT;
    if (cli_out_check(&lost) < 0) {
        cli_print_error(&cli, &lost);
        rc = 1;
    }
    cli_release(&cli);
    args_release(&global);
    return rc;
}
