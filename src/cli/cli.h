/* What all commands share: the global options, where things lie, what the terminal can show, the
 * project. Everything is made on first use, so that a command pays for what it needs alone. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"
#include "cli/options.h"
#include "file/load.h"
#include "image/store.h"
#include "model/project.h"

enum progress_mode { PROGRESS_TTY, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_QUIET };

struct cli {
    const char *program; /* "compose", "docker compose": as the user calls us */
    char *const *argv;   /* of the program, as it was started */
    const struct args *global;
    bool dry_run;
    bool color_out, color_err; /* may stdout and stderr carry SGR sequences */
    bool json_diagnostics;     /* a program reads what is wrong with the files */
    enum progress_mode progress;
    int progress_fd;    /* 2, or 1 with COMPOSE_STATUS_STDOUT */
    int parallel;       /* --parallel, COMPOSE_PARALLEL_LIMIT; at least 1 */
    int64_t started;    /* monotonic, ns */
    struct paths paths; /* through cli_paths() */
    struct image_store *store;
};

/* Reads what the global options and the environment say of the output and of parallel work. */
int cli_init(struct cli *cli, const struct args *global, bool dry_run, struct err *err);
void cli_release(struct cli *cli);

int cli_paths(struct cli *cli, struct err *err);
/* The store; opens it on first use. */
int cli_store(struct cli *cli, struct image_store **store, struct err *err);

/* Load options from the global ones; borrowed strings. */
void cli_load_options(const struct cli *cli, struct load_options *o);
/* Loads the project; its errors (with source lines) and warnings go to stderr, and err has no
 * message then. options NULL: the usual ones. */
int cli_project(struct cli *cli, const struct load_options *options, struct project **out,
                struct err *err);
/* The project's name, without loading its services; heap. services (may be NULL) are what the user
 * named: one that neither a container nor the file knows is "no such service: NAME". */
int cli_project_name(struct cli *cli, char **name, const char *const *services, struct err *err);
/* The project with the services that the user named, their profiles enabled. *project stays NULL, and all that
 * goes by the name is meant, where -p gives one without -f, or the environment one and there is no file. */
int cli_project_if_any(struct cli *cli, const char *const *services, char **name,
                       struct project **project, struct err *err);
/* What the files say by now, for who names places in them. NULL: nothing that loads. */
struct project *cli_project_quietly(struct cli *cli);
/* "no such service: NAME" unless each name is a service (or a disabled one) of the project. */
int cli_check_services(const struct project *p, const char *const *names, struct err *err);

/* Warnings and errors of loading, with source lines, to stderr. */
void cli_diagnostics(const struct cli *cli, const struct diag *d);
/* Lines for people on stderr, as the reference logs them: WARN[0000] on a terminal, else
 * time="..." level=... msg="...". */
void cli_warn(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_info(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The one place that prints an error. */
void cli_print_error(const struct cli *cli, const struct err *err);

/* Writes all of it to stdout; a closed pipe ends the program as it ends any filter. Anything else that
 * is wrong, a full disk, is told when the command is done. */
void cli_out(const char *text, size_t n);
/* For who moves bytes to stdout by other means: the errno of a write that failed, 0: none did. */
void cli_out_lost(int error);
/* -1: something that was to go to stdout is lost. */
int cli_out_check(struct err *err);
void cli_outf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints as Go's encoding/json does: compact, sorted keys, <, > and & escaped; and a newline. */
void cli_out_json(const json_t *j);
char *json_go(const json_t *j);

/* "y" or "yes" on stdin; without a terminal: false. */
bool cli_confirm(const struct cli *cli, const char *question);
bool env_true(const char *name);

#endif
