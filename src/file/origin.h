/* Where values come from, beyond their place: the variables behind a string that was substituted,
 * the alias that it was put in by, the include or extends that brought a file in, the service that
 * another one extends. Kept while a project is loaded, for the notes of its errors and for
 * `config --explain`. */
#ifndef FILE_ORIGIN_H
#define FILE_ORIGIN_H

#include "base/map.h"
#include "base/vec.h"
#include "file/env.h"
#include "file/pass.h"
#include "file/template.h"

struct history;

/* A string with references as it was written. */
struct origin_text {
    struct mark mark;
    const char *text;
    const struct env *env;
};

/* "*name", or "<<: *name"; mark.alias: the one that put in what this one stands in. */
struct origin_alias {
    const char *name;
    struct mark mark;
};

/* Lines of a service's text; last is 0 where it goes on to the end of its file. */
struct origin_range {
    const char *file;
    int first, last;
};

/* A service that extends another one. */
struct origin_extends {
    const char *service, *base;
    struct mark mark; /* of extends: */
    struct origin_range base_range;
};

struct origins {
    VEC(struct origin_text) texts;
    VEC(struct origin_alias) aliases;
    VEC(struct origin_extends) extends;
    struct map files;        /* name -> struct mark: the statement that named the file first */
    struct history *history; /* NULL: nobody asked */
};

void origins_release(struct origins *o);
/* Each takes o NULL: then nothing is kept. Names and marks live as long as the arena. */
void origins_text(struct origins *o, const struct node *n, const struct env *env);
void origins_file(struct origins *o, struct arena *a, const char *file, const struct mark *by);
void origins_extends(struct origins *o, struct origin_extends extends);
/* For mark.alias of what the alias puts in; 0: it is not kept. */
unsigned origins_alias(struct origins *o, struct origin_alias alias);

/* What stood at mark before its variables were substituted, or NULL. */
const struct origin_text *origins_text_at(const struct origins *o, const struct mark *mark);

/* A variable that went into a text. */
struct origin_variable {
    const char *name, *value;
    enum template_source from;
    struct mark mark; /* where it is set; no file: by the environment or not at all */
};
/* Calls use for each in turn. */
void origins_variables(const struct pass *p, const struct origin_text *t,
                       void (*use)(void *ctx, const struct origin_variable *v), void *ctx);
/* "TAG is "1.27"", "TAG is not set: its default "latest" is taken", ...; arena. */
const char *origin_variable_text(struct arena *a, const struct origin_variable *v);

/* The alias by which what is at mark got there, or NULL; the next one is that of its own mark. */
const struct origin_alias *origins_alias_of(const struct origins *o, const struct mark *mark);

/* Adds notes to the error that was just reported: the variables of the value at mark, and how
 * mark's file or text came into the service (NULL: it is about no service). */
void origins_note(const struct pass *p, const char *service, const struct mark *mark);

#endif
