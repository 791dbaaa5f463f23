/* The key sequence that detaches from a container, "ctrl-p,ctrl-q" unless changed. */
#ifndef CLI_KEYS_H
#define CLI_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/strbuf.h"

enum { KEYS_MAX = 16 };

struct keys {
    unsigned char sequence[KEYS_MAX];
    size_t n, matched; /* n 0: nothing detaches */
};

/* "ctrl-p,ctrl-q", "a", "ctrl-[": letters and ctrl-<letter, @, [, \, ], ^, _>. NULL: the usual ones. */
int keys_parse(const char *text, struct keys *k, struct err *err);
/* Passes typed bytes on to out, holding back what may be the beginning of the sequence. True: the
 * sequence is complete. */
bool keys_feed(struct keys *k, const void *data, size_t n, struct strbuf *out);

#endif
