#include "image/module/words.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"

enum { DEPTH_MAX = 32 }; /* of ${A:-${B:-...}} */

struct words {
    const char *at;
    char escape;
    bool quotes;
    word_lookup lookup;
    void *ctx;
    int depth;
};

char *word_next(const char **p)
{
    *p += strspn(*p, " \t");
    size_t n = strcspn(*p, " \t");
    char *word = n ? xstrndup(*p, n) : NULL;
    *p += n;
    return word;
}

char *word_lower(const char *text)
{
    char *out = xstrdup(text);
    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return out;
}

static void expand_until(struct words *w, char end, struct strbuf *out);

/* Digits or a name; *n 0: neither. */
static char *read_name(struct words *w, size_t *n)
{
    const char *p = w->at;
    bool digits = isdigit((unsigned char)*p);
    *n = 0;
    while (digits ? isdigit((unsigned char)p[*n]) : isalnum((unsigned char)p[*n]) || p[*n] == '_')
        (*n)++;
    w->at += *n;
    return xstrndup(p, *n);
}

/* Behind "${". What else may follow a name than - + ? (patterns) leaves the value as it is. */
static void expand_braces(struct words *w, struct strbuf *out)
{
    size_t n;
    char *name AUTOFREE = read_name(w, &n);
    const char *value = n ? w->lookup(w->ctx, name) : NULL;
    struct strbuf word AUTOBUF = STRBUF_INIT;
    bool colon = *w->at == ':';
    w->at += colon;
    char op = *w->at && *w->at != '}' ? *w->at++ : 0;
    expand_until(w, '}', &word);
    w->at += *w->at == '}';
    bool set = value && (*value || !colon);
    if (op == '-' && !set)
        strbuf_addstr(out, word.buf);
    else if (op == '+')
        strbuf_addstr(out, set ? word.buf : "");
    else
        strbuf_addstr(out, value ? value : "");
}

static void expand_dollar(struct words *w, struct strbuf *out)
{
    w->at++;
    if (*w->at == '{' && w->depth < DEPTH_MAX) {
        w->at++;
        w->depth++;
        expand_braces(w, out);
        w->depth--;
        return;
    }
    size_t n;
    char *name AUTOFREE = read_name(w, &n);
    const char *value = n ? w->lookup(w->ctx, name) : "$";
    strbuf_addstr(out, value ? value : "");
}

static void expand_until(struct words *w, char end, struct strbuf *out)
{
    char quote = 0;
    while (*w->at && (quote || *w->at != end)) {
        char c = *w->at;
        if (c == w->escape && quote != '\'' && w->at[1]) {
            /* Within "" it stands for itself, but before what it takes the meaning from. */
            if (!w->quotes || (quote && !strchr("\"$", w->at[1]) && w->at[1] != w->escape))
                strbuf_addch(out, c);
            strbuf_addch(out, w->at[1]);
            w->at += 2;
        } else if (c == '$' && quote != '\'') {
            expand_dollar(w, out);
        } else if (w->quotes && (quote ? c == quote : c == '"' || c == '\'')) {
            quote = quote ? 0 : c;
            w->at++;
        } else {
            strbuf_addch(out, c);
            w->at++;
        }
    }
}

char *word_expand(const char *text, char escape, bool quotes, word_lookup lookup, void *ctx)
{
    struct words w = {text, escape, quotes, lookup, ctx, 0};
    struct strbuf out AUTOBUF = STRBUF_INIT;
    expand_until(&w, '\0', &out);
    return strbuf_detach(&out);
}
