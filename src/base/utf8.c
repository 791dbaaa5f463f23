#include "base/utf8.h"

#include "base/strbuf.h"

size_t utf8_length(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* what is longer than it must be, surrogates, over U+10FFFF */
    bool bad = (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
               (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : n;
}

bool utf8_is_valid(const char *s)
{
    while (*s) {
        size_t n = utf8_length(s);
        if (!n)
            return false;
        s += n;
    }
    return true;
}

char *utf8_clean(const char *s)
{
    struct strbuf out = STRBUF_INIT;
    for (size_t n; *s; s += n ? n : 1) {
        n = utf8_length(s);
        strbuf_add(&out, n ? s : "\xef\xbf\xbd", n ? n : 3);
    }
    return strbuf_detach(&out);
}
