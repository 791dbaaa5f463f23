/* Diagnostics of a project's files: errors and warnings with their place, all of a run collected,
 * printed as a compiler prints them:
 *
 *   compose.yaml:7:9: error: service "web": invalid port "80x": want 1-65535
 *       7 |       - "80x:80"
 *         |          ^~~
 *   compose.override.yaml:3:5: note: first defined here
 *
 * A struct diag outlives the arena of the project that it is about. */
#ifndef FILE_DIAG_H
#define FILE_DIAG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "file/node.h"

enum diag_level { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE };

enum { DIAG_MAX = 200 }; /* kept; more are only counted */

struct diag_item {
    enum diag_level level;
    char *file; /* NULL: no place */
    int line, col;
    char *msg;
    char *hint; /* "did you mean ...", NULL: none */
};

struct diag_source {
    char *file;
    char *path; /* from where text is read when it is needed; NULL: it is there */
    char *text;
    size_t len;
};

struct diag {
    struct {
        struct diag_item *v;
        size_t n, cap;
    } items; /* notes follow the item that they belong to */
    struct {
        struct diag_source *v;
        size_t n, cap;
    } sources;
    size_t errors, warnings; /* also those over DIAG_MAX */
    bool full;               /* that the project is too large was said */
    bool last_dropped;       /* the last item was a repetition: its notes go too */
};

#define DIAG_INIT                                                                                  \
    {                                                                                              \
        .errors = 0                                                                                \
    }
#define AUTODIAG __attribute__((cleanup(diag_release)))

void diag_release(struct diag *d);
/* Makes the text of a file known, for the source lines; takes text (heap). */
void diag_source(struct diag *d, const char *file, char *take_text, size_t len);
/* The same for a file that can be read again, so that its text need not be kept. */
void diag_source_at(struct diag *d, const char *file, const char *path);

/* mark NULL or without a file: no place. The same message at the same place is kept once. */
void diag_error(struct diag *d, const struct mark *mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void diag_warning(struct diag *d, const struct mark *mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Belongs to the error or warning before it. */
void diag_note(struct diag *d, const struct mark *mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Of the error or warning before it: "did you mean WORD?"; a NULL word sets nothing. */
void diag_suggest(struct diag *d, const char *word);

/* Prints the items of one level (with their notes), sorted by place. color: with SGR sequences. */
void diag_render(const struct diag *d, enum diag_level level, bool color, struct strbuf *out);
/* "FILE:LINE:COL: MESSAGE" with the line and a caret; without a file the message alone. */
void diag_render_place(const struct diag *d, const struct mark *mark, bool color, const char *msg,
                       struct strbuf *out);
/* [{"level", "file", "line", "column", "message", "hint"?, "notes": [...]}]; new reference. */
json_t *diag_to_json(const struct diag *d);
/* The first error's text as one line "FILE:LINE:COL: error: ..."; heap, NULL without errors. */
char *diag_first_error(const struct diag *d);

/* Picks the candidate nearest to a mistyped word; feed it each candidate in turn. */
struct closest {
    const char *word;
    unsigned limit; /* edits that still count as near; 0: by the length of the word */
    const char *best;
    unsigned distance;
};
void closest_try(struct closest *c, const char *candidate);

#endif
