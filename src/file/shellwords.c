#include "file/shellwords.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "base/vec.h"

/* What encloses the byte at hand. */
enum enclosure { OPEN, SINGLE, DOUBLE, BACKTICK, DOLLAR };

struct splitter {
    struct arena *arena;
    VEC(const char *) words;
    struct strbuf word;
    bool started; /* the word exists, if only as "" */
};

static void end_word(struct splitter *s)
{
    if (s->started)
        vec_push(&s->words, arena_strndup(s->arena, s->word.buf, s->word.len));
    strbuf_setlen(&s->word, 0);
    s->started = false;
}

static void add(struct splitter *s, char c)
{
    strbuf_addch(&s->word, c);
    s->started = true;
}

static bool ends_with_dollar(const struct splitter *s)
{
    return s->word.len && s->word.buf[s->word.len - 1] == '$';
}

/* `...` and $(...) are kept as they are; an operator (; & | < >) ends the line. */
static const char *split(struct splitter *s, const char *line)
{
    enum enclosure in = OPEN;
    bool escaped = false;
    for (const char *p = line; *p; p++) {
        if (escaped) {
            add(s, *p);
            escaped = false;
        } else if (*p == '\\' && in != SINGLE) {
            escaped = true;
        } else if (strchr(" \t\r\n", *p)) {
            if (in == OPEN)
                end_word(s);
            else
                strbuf_addch(&s->word, *p);
        } else if (*p == '"' && in != SINGLE && in != DOLLAR && in != BACKTICK) {
            in = in == DOUBLE ? OPEN : DOUBLE;
            s->started = true;
        } else if (*p == '\'' && in != DOUBLE && in != DOLLAR && in != BACKTICK) {
            in = in == SINGLE ? OPEN : SINGLE;
            s->started = true;
        } else if (*p == '`' && (in == OPEN || in == BACKTICK)) {
            in = in == BACKTICK ? OPEN : BACKTICK;
            add(s, *p);
        } else if (*p == '(' && (in == OPEN || in == DOLLAR)) {
            if (in == DOLLAR || !ends_with_dollar(s))
                return "unexpected \"(\"";
            in = DOLLAR;
            add(s, *p);
        } else if (*p == ')' && (in == OPEN || in == DOLLAR)) {
            if (in == OPEN)
                return "unexpected \")\"";
            in = OPEN;
            add(s, *p);
        } else if (in == OPEN && strchr(";&|<>", *p)) {
            /* "2>file": the digit belongs to the operator. */
            if (*p == '>' && s->word.len && isdigit((unsigned char)s->word.buf[0]))
                s->started = false;
            break;
        } else {
            add(s, *p);
        }
    }
    end_word(s);
    if (escaped)
        return "ends in a backslash";
    return in == OPEN     ? NULL
           : in == SINGLE ? "unclosed '"
           : in == DOUBLE ? "unclosed \""
           : in == DOLLAR ? "unclosed $("
                          : "unclosed `";
}

const char **shellwords_split(struct arena *a, const char *line, size_t *n, const char **wrong)
{
    struct splitter s = {.arena = a, .word = STRBUF_INIT};
    *wrong = split(&s, line);
    const char **out = NULL;
    if (!*wrong) {
        *n = s.words.n;
        out = arena_array(a, const char *, s.words.n + 1);
        if (s.words.n)
            memcpy(out, s.words.v, s.words.n * sizeof(*out));
    }
    vec_release(&s.words);
    strbuf_release(&s.word);
    return out;
}
