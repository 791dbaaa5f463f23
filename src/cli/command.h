/* A command: what it is called, what it takes, what it does. One file a command (cmd_NAME.c) exports
 * one const entry; commands.c lists them; help, completion and the manual page come from them. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "base/err.h"
#include "cli/options.h"

struct cli;

/* How the reference words a wrong number of arguments. */
enum args_wording {
    ARGS_PLAIN,  /* "requires at least 1 arg(s), only received 0" */
    ARGS_DOCKER, /* "'compose cp' requires 2 arguments", and the usage */
};

enum { ARGS_ANY = -1 };
enum {
    COMMAND_HIDDEN = 1,
    COMMAND_OURS = 2,
    COMMAND_NO_DRY_RUN = 4, /* changes something, and has no rehearsal: refused with --dry-run */
};

struct command {
    const char *name;
    const char *aliases; /* separated by spaces, NULL: none */
    const char *usage;   /* behind the name, lines separated by "\n" for several forms */
    const char *summary;
    const char *details; /* NULL: the summary again */
    const struct option *options;
    int args_min, args_max; /* args_max ARGS_ANY: no limit */
    enum args_wording wording;
    bool stop_at_argument; /* options end at the first argument: run, exec */
    unsigned flags;
    const char *complete;                     /* arguments: see struct option.words */
    const struct command *const *subcommands; /* NULL-terminated, NULL: none */
    /* Returns the exit code, or -1 with err set. An err without a message has been told already. */
    int (*run)(struct cli *cli, const struct args *args, struct err *err);
};

extern const struct command *const commands[]; /* NULL-terminated, by name */
extern const struct option global_options[];
/* --dry-run, which every command takes too. */
extern const struct option common_options[];

/* By name or alias; NULL: unknown. */
const struct command *command_find(const struct command *const *list, const char *name);

/* clang-format off */
#define COMMAND_LIST(X) \
    X(attach) \
    X(build) X(commit) X(complete) X(completion) X(config) X(cp) X(create) X(doctor) X(down) \
    X(events) X(exec) X(export) X(graph) X(image) X(images) X(kill) X(lock) X(logs) X(ls) X(man) \
    X(pause) X(port) X(ps) X(publish) X(pull) X(push) X(restart) X(restore) X(rm) X(run) X(scale) \
    X(start) X(stats) \
    X(stop) X(supervise) X(top) X(unpause) X(up) X(version) X(volumes) X(wait) X(watch)
/* clang-format on */
#define COMMAND_DECLARE(name) extern const struct command cmd_##name;
COMMAND_LIST(COMMAND_DECLARE)
#undef COMMAND_DECLARE

#endif
