/* Decompression between two rings: gzip (RFC 1952, all members of a file), zstd (RFC 8878, all
 * frames), and through libarchive xz and bzip2; anything else passes as it is. What it is, is told
 * by its first bytes, as Docker does: media types are often wrong. */
#ifndef IMAGE_MODULE_INFLATE_H
#define IMAGE_MODULE_INFLATE_H

#include "base/err.h"
#include "image/module/hash.h"
#include "image/module/ring.h"

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_OTHER };

struct inflate {
    struct ring *in, *out;
    struct hash *hash; /* of what comes out */
    /* A bomb is stopped when more than ratio * input + slack came out. */
    uint64_t consumed, produced;
    int copy;              /* fd that gets what comes out too; -1: none */
    enum compression kind; /* set: what it was */
};

enum { COMPRESSION_PEEK = 8 }; /* bytes that compression_detect() wants to see */
enum compression compression_detect(const unsigned char *data, size_t n);

/* Runs to the end of the stream. Does not end the rings. */
int inflate_run(struct inflate *inflate, struct err *err);

#endif
