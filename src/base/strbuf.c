#include "base/strbuf.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

char strbuf_empty[1];

void strbuf_grow(struct strbuf *sb, size_t extra)
{
    if (extra > (size_t)-1 / 2 - sb->len)
        abort();
    size_t need = sb->len + extra + 1;
    if (need <= sb->cap)
        return;
    size_t cap = sb->cap ? sb->cap + sb->cap / 2 : 64;
    if (cap < need)
        cap = need;
    sb->buf = xrealloc(sb->cap ? sb->buf : NULL, cap);
    if (!sb->cap)
        sb->buf[0] = '\0';
    sb->cap = cap;
}

void strbuf_add(struct strbuf *sb, const void *data, size_t n)
{
    if (!n)
        return;
    strbuf_grow(sb, n);
    memcpy(sb->buf + sb->len, data, n);
    sb->len += n;
    sb->buf[sb->len] = '\0';
}

void strbuf_addstr(struct strbuf *sb, const char *s)
{
    strbuf_add(sb, s, strlen(s));
}

void strbuf_addch(struct strbuf *sb, char c)
{
    strbuf_add(sb, &c, 1);
}

void strbuf_vaddf(struct strbuf *sb, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        abort();
    strbuf_grow(sb, (size_t)n);
    vsnprintf(sb->buf + sb->len, (size_t)n + 1, fmt, ap);
    sb->len += (size_t)n;
}

void strbuf_addf(struct strbuf *sb, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(sb, fmt, ap);
    va_end(ap);
}

void strbuf_setlen(struct strbuf *sb, size_t n)
{
    if (n > sb->len)
        abort();
    if (!sb->cap)
        return;
    sb->len = n;
    sb->buf[n] = '\0';
}

void strbuf_add_base64(struct strbuf *sb, const void *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < n ? p[i + 2] : 0);
        strbuf_addch(sb, digits[v >> 18]);
        strbuf_addch(sb, digits[v >> 12 & 63]);
        strbuf_addch(sb, i + 1 < n ? digits[v >> 6 & 63] : '=');
        strbuf_addch(sb, i + 2 < n ? digits[v & 63] : '=');
    }
}

void strbuf_consume(struct strbuf *sb, size_t n)
{
    if (n > sb->len)
        abort();
    if (!n)
        return;
    memmove(sb->buf, sb->buf + n, sb->len - n + 1);
    sb->len -= n;
}

char *strbuf_detach(struct strbuf *sb)
{
    strbuf_grow(sb, 0);
    char *s = sb->buf;
    *sb = (struct strbuf)STRBUF_INIT;
    return s;
}

void strbuf_release(struct strbuf *sb)
{
    if (sb->cap)
        free(sb->buf);
    *sb = (struct strbuf)STRBUF_INIT;
}
