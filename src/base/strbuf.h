/* A growing string. buf is always NUL-terminated (and never NULL), len excludes the NUL. */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

struct strbuf {
    char *buf;
    size_t len, cap;
};

extern char strbuf_empty[];
#define STRBUF_INIT                                                                                \
    {                                                                                              \
        .buf = strbuf_empty                                                                        \
    }
#define AUTOBUF __attribute__((cleanup(strbuf_release)))

void strbuf_grow(struct strbuf *sb, size_t extra);
void strbuf_add(struct strbuf *sb, const void *data, size_t n);
void strbuf_addstr(struct strbuf *sb, const char *s);
void strbuf_addch(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *sb, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Standard base64, with padding. */
void strbuf_add_base64(struct strbuf *sb, const void *data, size_t n);
/* Cuts to n bytes; n <= len. */
void strbuf_setlen(struct strbuf *sb, size_t n);
/* Removes the first n bytes; n <= len. */
void strbuf_consume(struct strbuf *sb, size_t n);
/* Hands the heap string to the caller and leaves sb empty. */
char *strbuf_detach(struct strbuf *sb);
void strbuf_release(struct strbuf *sb);

#endif
