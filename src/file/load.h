/* A Compose project from its files: one call, one document, one arena.
 *
 * Steps, in the order of the specification: parse, interpolate, extends, include, merge, validate,
 * long forms, defaults, paths, normalize, types, profiles, consistency, env_file. Errors and
 * warnings are collected in a struct diag; as many as possible in one run. */
#ifndef FILE_LOAD_H
#define FILE_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "file/diag.h"
#include "file/env.h"
#include "file/node.h"

/* All lists are NULL-terminated and may be NULL. */
struct load_options {
    const char *const *files;      /* -f; "-" is standard input. NULL: COMPOSE_FILE, then
                                       compose.yaml and its kin in this folder or those above */
    const char *const *env_files;  /* --env-file; NULL: COMPOSE_ENV_FILES, then .env */
    const char *const *profiles;   /* --profile; NULL: COMPOSE_PROFILES; "*": all */
    const char *const *services;   /* named by the user: their profiles are enabled */
    const char *project_name;      /* -p */
    const char *project_directory; /* --project-directory */
    char *const *environ;          /* NULL: this process's */
    /* Fetches what "oci://NAME" stands for: the path of the local file, heap, or NULL. */
    char *(*remote)(void *ctx, const char *name, struct err *err);
    void *remote_ctx;
    struct schema_set *schema; /* of schema_load(), for who loads often; NULL: made for this load */
    const char *cwd;           /* absolute; NULL: this process's */
    struct explain *explain;   /* file/explain.h: filled where the document is loaded; or NULL */
    bool only_services;        /* leave out what options.services do not need */
    bool without_dependencies; /* and count only them, not what they depend on */
    bool all_resources;        /* keep networks, volumes, ... that no service uses */
    bool no_interpolate;       /* then the document is neither typed nor filtered */
    bool no_normalize;
    bool no_path_resolution;
    bool no_consistency;
    bool no_env_resolution;
};

struct document_list {
    const char **v; /* NULL-terminated */
    size_t n;
};

struct document {
    struct arena *arena;
    struct node *root;     /* see file/fields.h; with no_interpolate: as merged */
    struct node *disabled; /* mapping: the services without an active profile */
    const char *name, *working_dir;
    struct document_list files, env_files, profiles; /* paths are absolute */
    struct env env;                                  /* index on the heap, see document_release() */
};

/* -1 where d got errors; out is empty then. Warnings do not fail. */
int document_load(const struct load_options *options, struct document *out, struct diag *d);
void document_release(struct document *doc);

/* What the name of a project may be; normalize drops what it may not hold. */
bool project_name_is_valid(const char *name);
const char *project_name_normalize(struct arena *a, const char *name);
/* The project name that document_load would use, without loading the services; for commands that
 * work on a running project. Heap, NULL with d set. */
char *project_name_find(const struct load_options *options, struct diag *d);

/* A variable that the files refer to. */
struct document_variable {
    const char *name, *value, *alternative; /* texts of ":-" and ":+", else "" */
    bool required;
};

struct document_variables {
    struct arena *arena;
    struct document_variable *v; /* by name */
    size_t n;
};

/* For config --variables. */
int document_variables(const struct load_options *options, struct document_variables *out,
                       struct diag *d);
void document_variables_release(struct document_variables *v);
/* For config --environment: what interpolation sees, as env_print() writes it; heap, or NULL. */
char *document_environment(const struct load_options *options, struct diag *d);

#endif
