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

static inline void tar_block(struct strbuf *tar, const struct tar_item *i, char type, size_t size)
{
    char h[512] = {0};
    snprintf(h, 100, "%s", i->name);
    snprintf(h + 100, 8, "%07o", i->mode);
    snprintf(h + 108, 8, "%07o", i->uid);
    snprintf(h + 116, 8, "%07o", i->gid);
    snprintf(h + 124, 12, "%011zo", size);
    snprintf(h + 136, 12, "%011llo", (unsigned long long)i->mtime);
    memset(h + 148, ' ', 8);
    h[156] = type;
    snprintf(h + 157, 100, "%s", i->link ? i->link : "");
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    snprintf(h + 329, 8, "%07o", i->major);
    snprintf(h + 337, 8, "%07o", i->minor);
    unsigned sum = 0;
    for (int k = 0; k < 512; k++)
        sum += (unsigned char)h[k];
    snprintf(h + 148, 8, "%06o", sum);
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
