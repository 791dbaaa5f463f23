/* `compose __complete : CURRENT WORDS...`: what may stand in the place of CURRENT behind WORDS, one a
 * line, with a tab and a help text where there is one; "@file" and "@dir" leave it to the shell.
 *
 * `docker-compose __complete compose WORDS... CURRENT` is how the docker command asks its plugins: the
 * same answers, and a last line that says what the shell shall do besides (cobra's directives). */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"
#include "model/load.h"

enum { DIRECTIVE_FILES = 0, DIRECTIVE_NO_FILES = 4, DIRECTIVE_DIRS = 16 };

struct completion {
    struct cli *cli;
    bool docker;
    int directive;
    const char *current;
    const char *const *files, *const *profiles; /* of the line so far */
    const char *project;
};

static void offer(const struct completion *c, const char *word, const char *help)
{
    if (!starts_with(word, c->current))
        return;
    int n = help ? (int)strcspn(help, "\n") : 0;
    cli_outf("%s%s%.*s\n", word, help ? "\t" : "", n, help ? help : "");
}

/* Names of services; a file that does not load offers nothing. */
static void offer_services(const struct completion *c)
{
    struct load_options o = {
        .files = c->files,
        .project_name = c->project,
        .profiles = (const char *const[]){"*", NULL},
        .no_env_resolution = true,
    };
    struct diag d AUTODIAG = DIAG_INIT;
    struct project *p;
    if (project_load(&o, &p, &d) < 0)
        return;
    for (size_t i = 0; i < p->services_n; i++)
        offer(c, p->services[i].name, p->services[i].image);
    project_free(p);
}

static void offer_images(const struct completion *c)
{
    struct image_store *store;
    struct image_list list = {0};
    if (cli_store(c->cli, &store, NULL) < 0 || image_store_list(store, &list, NULL) < 0)
        return;
    for (size_t i = 0; i < list.n; i++) {
        for (char **n = list.v[i]->names; n && *n; n++) {
            char *name AUTOFREE = reference_shorten(*n);
            offer(c, name, NULL);
        }
    }
    image_list_release(&list);
}

/* See struct option.words. */
static void offer_words(struct completion *c, const char *words)
{
    if (!words)
        return;
    if (streq(words, "@service")) {
        offer_services(c);
    } else if (streq(words, "@image")) {
        offer_images(c);
    } else if (words[0] == '@' && c->docker) {
        c->directive = streq(words, "@dir") ? DIRECTIVE_DIRS : DIRECTIVE_FILES;
    } else if (words[0] == '@') {
        cli_outf("%s\n", words);
    } else {
        for (const char *at = words; *at; at += strspn(at, " ")) {
            size_t n = strcspn(at, " ");
            char *word AUTOFREE = xstrndup(at, n);
            offer(c, word, NULL);
            at += n;
        }
    }
}

static const struct option *find_option(const struct option *table, const char *word)
{
    for (const struct option *o = table; o && o->name; o++) {
        if (starts_with(word, "--") ? streq(word + 2, o->name)
                                    : word[0] == '-' && word[1] == o->shorthand && !word[2])
            return o;
    }
    return NULL;
}

static void offer_options(const struct completion *c, const struct option *table)
{
    for (const struct option *o = table; o && o->name; o++) {
        char *word AUTOFREE = xasprintf("--%s", o->name);
        if (!(o->flags & OPTION_HIDDEN))
            offer(c, word, o->help);
    }
}

static void offer_commands(const struct completion *c, const struct command *const *list)
{
    for (size_t i = 0; list[i]; i++) {
        if (!(list[i]->flags & COMMAND_HIDDEN))
            offer(c, list[i]->name, list[i]->summary);
    }
}

/* Where in the line the current word stands. */
struct position {
    const struct command *command;    /* NULL: before the command */
    const struct command *group;      /* a command with subcommands, none chosen yet */
    const struct option *wants_value; /* the word before is an option that takes one */
    bool service_given;               /* arguments have begun */
};

static void locate(const char *const *words, struct completion *c, struct position *at)
{
    char **files = NULL;
    for (size_t i = 0; words[i]; i++) {
        const char *word = words[i];
        const struct option *table = at->command ? at->command->options : global_options;
        if (word[0] == '-') {
            const struct option *o = find_option(table, word);
            if (!o || o->kind == OPTION_BOOL)
                continue;
            i++;
            if (!words[i]) {
                at->wants_value = o;
                break;
            }
            if (!at->command && streq(o->name, "file"))
                strv_push(&files, words[i]);
            else if (!at->command && streq(o->name, "project-name"))
                c->project = words[i];
        } else if (at->group) {
            at->command = command_find(at->group->subcommands, word);
            at->group = NULL;
        } else if (!at->command) {
            at->command = command_find(commands, word);
            at->group = at->command && at->command->subcommands ? at->command : NULL;
        } else {
            at->service_given = true;
        }
    }
    c->files = (const char *const *)files;
}

static void answer(struct completion *c, const char *const *words)
{
    struct position at = {0};
    locate(words, c, &at);
    if (at.wants_value) {
        offer_words(c, at.wants_value->words);
    } else if (at.group) {
        offer_commands(c, at.group->subcommands);
    } else if (!at.command) {
        if (c->current[0] == '-')
            offer_options(c, global_options);
        else
            offer_commands(c, commands);
    } else if (c->current[0] == '-' && !(at.command->stop_at_argument && at.service_given)) {
        offer_options(c, at.command->options);
        offer_options(c, common_options);
    } else if (!(at.command->stop_at_argument && at.service_given)) {
        offer_words(c, at.command->complete);
    }
    strv_free((char **)c->files);
}

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    (void)err;
    const char *const *given = args->positional;
    struct completion c = {.cli = cli, .current = given[1], .directive = DIRECTIVE_NO_FILES};
    if (streq(given[0], ":") && args->n > 1) {
        answer(&c, given + 2);
        return 0;
    }
    c.docker = true;
    c.current = given[args->n - 1];
    char **words AUTOSTRV = NULL;
    for (size_t i = streq(given[0], "compose"); i + 1 < args->n; i++)
        strv_push(&words, given[i]);
    static const char *const none[] = {NULL};
    answer(&c, words ? (const char *const *)words : none);
    cli_outf(":%d\n", c.directive);
    return 0;
}

const struct command cmd_complete = {
    .name = "__complete",
    .usage = ": CURRENT [WORDS...]",
    .summary = "Answer a shell's completion",
    .args_min = 1,
    .args_max = ARGS_ANY,
    .stop_at_argument = true,
    .flags = COMMAND_HIDDEN,
    .run = run,
};
