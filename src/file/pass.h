/* What every pass of the loader carries: where to allocate, where to report, and for messages the
 * way from the top of the document to the value at hand. */
#ifndef FILE_PASS_H
#define FILE_PASS_H

#include <stdbool.h>

#include "base/arena.h"
#include "file/diag.h"
#include "file/fields.h"
#include "file/node.h"

struct origins;

struct pass {
    struct arena *arena;
    struct diag *diag;
    struct origins *origins; /* NULL: not kept */
};

/* What a project may take of its arena: far over what people write, far under what machines have. */
enum { PROJECT_MEMORY_MAX = 256 << 20 };

/* True where the limit is reached, which is reported once: then nothing more is to be built. */
bool pass_full(const struct pass *p, const struct mark *mark);

/* One step of the way; lives on the stack of the walker. The top is NULL. */
struct place {
    const struct place *up;
    const char *key; /* NULL: an element of a sequence */
    size_t index;
};

/* "ports[0]" below a service or another named object, the whole path elsewhere; arena. */
const char *place_inner_path(struct arena *a, const struct place *at);

/* Reports with "service \"web\": " and the like before the message, as at says. Notes say where the
 * value came from: file/origin.h. */
void pass_error(const struct pass *p, const struct place *at, const struct mark *mark,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void pass_warning(const struct pass *p, const struct place *at, const struct mark *mark,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Those notes, for what was just reported in other words. */
void pass_note(const struct pass *p, const struct place *at, const struct mark *mark);

#endif
