/* Tar streams for tests, entry by entry, hostile ones too (ustar; pax records where asked for). */
#ifndef TESTS_TAR_MAKER_H
#define TESTS_TAR_MAKER_H

#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"

struct tar_item {
    const char *name;
    char type; /* '0' file, '1' hard link, '2' link, '3' char, '4' block, '5' folder, '6' fifo */
    const char *data, *link;
    unsigned mode, uid, gid, major, minor;
    long long mtime;
    const char *pax_key, *pax_value; /* one pax record before the entry */
};

static inline void tar_octal(char *field, int digits, unsigned long long value)
{
    for (int i = digits; i-- > 0; value /= 8)
        field[i] = (char)('0' + value % 8);
}

static inline void tar_text(char *field, size_t room, const char *text)
{
    size_t n = strlen(text);
    memcpy(field, text, n < room ? n : room);
}

static inline void tar_block(struct strbuf *tar, const struct tar_item *i, char type, size_t size)
{
    char h[512] = {0};
    tar_text(h, 100, i->name);
    tar_octal(h + 100, 7, i->mode);
    tar_octal(h + 108, 7, i->uid);
    tar_octal(h + 116, 7, i->gid);
    tar_octal(h + 124, 11, size);
    tar_octal(h + 136, 11, (unsigned long long)i->mtime);
    h[156] = type;
    tar_text(h + 157, 100, i->link ? i->link : "");
    tar_text(h + 257, 5, "ustar");
    memcpy(h + 263, "00", 2);
    tar_octal(h + 329, 7, i->major);
    tar_octal(h + 337, 7, i->minor);
    memset(h + 148, ' ', 8); /* the checksum counts itself as spaces */
    unsigned sum = 0;
    for (int k = 0; k < 512; k++)
        sum += (unsigned char)h[k];
    tar_octal(h + 148, 6, sum);
    h[154] = '\0';
    strbuf_add(tar, h, 512);
}

static inline void tar_data(struct strbuf *tar, const void *data, size_t n)
{
    static const char zero[512];
    strbuf_add(tar, data, n);
    if (n % 512)
        strbuf_add(tar, zero, 512 - n % 512);
}

static inline void tar_add(struct strbuf *tar, struct tar_item item)
{
    if (item.pax_key) {
        char record[640], probe[512];
        int n = snprintf(probe, sizeof(probe), " %s=%s\n", item.pax_key, item.pax_value);
        int total = n + (n + 2 > 99 ? 3 : 2);
        snprintf(record, sizeof(record), "%d%s", total, probe);
        tar_block(tar, &item, 'x', strlen(record));
        tar_data(tar, record, strlen(record));
    }
    size_t n = item.type == '0' && item.data ? strlen(item.data) : 0;
    tar_block(tar, &item, item.type, n);
    if (n)
        tar_data(tar, item.data, n);
}

static inline void tar_end(struct strbuf *tar)
{
    static const char zero[1024];
    strbuf_add(tar, zero, sizeof(zero));
}

#endif
