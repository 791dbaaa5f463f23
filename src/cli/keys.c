#include "cli/keys.h"

#include <string.h>

#include "base/mem.h"

int keys_parse(const char *text, struct keys *k, struct err *err)
{
    const char *at = text ? text : "ctrl-p,ctrl-q";
    *k = (struct keys){0};
    while (*at) {
        size_t len = strcspn(at, ",");
        unsigned char key;
        if (len == 1) {
            key = (unsigned char)*at;
        } else if (len == 6 && starts_with(at, "ctrl-") &&
                   ((at[5] >= 'a' && at[5] <= 'z') || strchr("@[\\]^_", at[5]))) {
            key = (unsigned char)at[5] & 0x1f;
        } else {
            return err_set(err, ERR_INVALID, "invalid detach keys (%s): Unknown character: '%.*s'",
                           text, (int)len, at);
        }
        if (k->n == KEYS_MAX)
            return err_set(err, ERR_INVALID, "invalid detach keys (%s): too many", text);
        k->sequence[k->n++] = key;
        at += len + (at[len] == ',');
    }
    return 0;
}

bool keys_feed(struct keys *k, const void *data, size_t n, struct strbuf *out)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < n; i++) {
        if (k->n && byte[i] == k->sequence[k->matched]) {
            if (++k->matched == k->n)
                return true;
            continue;
        }
        /* It was not the sequence after all: what was held back goes out, and may begin it anew. */
        strbuf_add(out, k->sequence, k->matched);
        k->matched = 0;
        if (k->n && byte[i] == k->sequence[0] && k->n > 1)
            k->matched = 1;
        else
            strbuf_add(out, byte + i, 1);
    }
    return false;
}
