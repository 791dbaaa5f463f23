/* Words of a Dockerfile, and the variables in them, as its own little shell has them: quotes, escapes, $NAME,
 * ${NAME}, ${NAME:-word}, ${NAME:+word}, ${NAME:?word} and the same without the colon. */
#ifndef IMAGE_MODULE_WORDS_H
#define IMAGE_MODULE_WORDS_H

#include <stdbool.h>

/* The value of a variable, NULL: it has none. Called for each one that is named, also in a word
 * that then is not used. */
typedef const char *(*word_lookup)(void *ctx, const char *name);

/* The next word, heap; NULL: there is none. *p then points behind it. */
char *word_next(const char **p);
char *word_lower(const char *text);

/* With all variables replaced, heap. quotes: they, and escapes outside of a value, are taken away (not in a
 * here-document). */
char *word_expand(const char *text, char escape, bool quotes, word_lookup lookup, void *ctx);

#endif
