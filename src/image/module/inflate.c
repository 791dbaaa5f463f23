#include "image/module/inflate.h"

#include <archive.h>
#include <errno.h>
#include <string.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif

#include "base/fd.h"
#include "base/mem.h"

/* Deflate itself ends at 1032:1. A root file system of a few sparse files may come near; 4 GiB are
 * let through at any ratio. */
enum { BOMB_RATIO = 200 };
static const uint64_t BOMB_SLACK = (uint64_t)4 << 30;

/* Ends a step: hashes and hands over what was put into the output ring. */
static int produced(struct inflate *f, const unsigned char *data, size_t n, struct err *err)
{
    hash_update(f->hash, data, n);
    if (f->copy >= 0 && fd_write_all(f->copy, data, n) < 0)
        return err_sys(err, errno, "write the blob");
    f->produced += n;
    ring_commit(f->out, n);
    if (f->produced > BOMB_SLACK && f->produced / BOMB_RATIO > f->consumed)
        return err_set(err, ERR_INVALID,
                       "it unpacks to more than %d times its size: refused as a bomb", BOMB_RATIO);
    return 0;
}

static void consumed(struct inflate *f, size_t n)
{
    f->consumed += n;
    ring_consume(f->in, n);
}

/* The next input; *n 0 at the end. */
static int input(struct inflate *f, const unsigned char **data, size_t *n, struct err *err)
{
    *data = ring_bytes(f->in, n);
    if (!*data && *n)
        return err_set(err, ERR_CANCELLED, "the stream broke off");
    return 0;
}

static int output(struct inflate *f, unsigned char **data, size_t *n, struct err *err)
{
    *data = ring_room(f->out, n);
    return *data ? 0 : err_set(err, ERR_CANCELLED, "the unpacking stopped");
}

static int run_plain(struct inflate *f, struct err *err)
{
    for (;;) {
        const unsigned char *in;
        unsigned char *out;
        size_t n, room;
        if (input(f, &in, &n, err) < 0)
            return -1;
        if (!n)
            return 0;
        if (output(f, &out, &room, err) < 0)
            return -1;
        if (n > room)
            n = room;
        memcpy(out, in, n);
        consumed(f, n);
        if (produced(f, out, n, err) < 0)
            return -1;
    }
}

/* One codec step: takes from in, gives to out, says when a member or frame is complete. */
struct codec {
    void *state;
    int (*step)(void *state, const unsigned char *in, size_t *in_n, unsigned char *out,
                size_t *out_n, bool *complete);
    void (*reset)(void *state);
};

/* gzip files may end in zero padding (gzip(1) warns only). */
static bool all_zero(const unsigned char *p, size_t n)
{
    while (n && !*p)
        p++, n--;
    return n == 0;
}

static int run_codec(struct inflate *f, struct codec *codec, const char *name, struct err *err)
{
    bool fresh = true; /* between two members */
    bool full = false; /* the last output was filled: the codec may hold more without input */
    for (;;) {
        const unsigned char *in = NULL;
        unsigned char *out;
        size_t n = 0, room;
        if (!full) {
            if (input(f, &in, &n, err) < 0)
                return -1;
            if (!n)
                return fresh ? 0 : err_set(err, ERR_CORRUPT, "the %s stream ends too early", name);
            if (fresh && f->produced && all_zero(in, n)) {
                consumed(f, n);
                continue;
            }
        }
        if (output(f, &out, &room, err) < 0)
            return -1;
        bool complete = false;
        size_t took = n, gave = room;
        if (codec->step(codec->state, in, &took, out, &gave, &complete) < 0 ||
            (!full && !took && !gave && !complete))
            return err_set(err, ERR_CORRUPT, "the %s stream is damaged", name);
        consumed(f, took);
        if (gave && produced(f, out, gave, err) < 0)
            return -1;
        full = gave == room && !complete;
        fresh = complete || (fresh && !took);
        if (complete)
            codec->reset(codec->state);
    }
}

#ifdef HAVE_ISAL
/* zlib's speed is the floor of a pull; ISA-L inflates about twice as fast. */
static void gzip_reset(void *state)
{
    struct inflate_state *s = state;
    isal_inflate_reset(s);
    s->crc_flag = ISAL_GZIP;
}

static int gzip_step(void *state, const unsigned char *in, size_t *in_n, unsigned char *out,
                     size_t *out_n, bool *complete)
{
    struct inflate_state *s = state;
    s->next_in = (uint8_t *)in;
    s->avail_in = (uint32_t)*in_n;
    s->next_out = out;
    s->avail_out = (uint32_t)*out_n;
    int rc = isal_inflate(s);
    *in_n -= s->avail_in;
    *out_n -= s->avail_out;
    *complete = s->block_state == ISAL_BLOCK_FINISH;
    return rc == ISAL_DECOMP_OK || rc == ISAL_END_INPUT ? 0 : -1;
}

static int run_gzip(struct inflate *f, struct err *err)
{
    struct inflate_state *s = xmalloc(sizeof(*s));
    isal_inflate_init(s);
    gzip_reset(s);
    struct codec codec = {s, gzip_step, gzip_reset};
    int rc = run_codec(f, &codec, "gzip", err);
    free(s);
    return rc;
}
#else
static void gzip_reset(void *state)
{
    inflateReset(state);
}

static int gzip_step(void *state, const unsigned char *in, size_t *in_n, unsigned char *out,
                     size_t *out_n, bool *complete)
{
    z_stream *z = state;
    z->next_in = (unsigned char *)in;
    z->avail_in = (unsigned)*in_n;
    z->next_out = out;
    z->avail_out = (unsigned)*out_n;
    int rc = inflate(z, Z_NO_FLUSH);
    *in_n -= z->avail_in;
    *out_n -= z->avail_out;
    *complete = rc == Z_STREAM_END;
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR ? 0 : -1;
}

static int run_gzip(struct inflate *f, struct err *err)
{
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        abort();
    struct codec codec = {&z, gzip_step, gzip_reset};
    int rc = run_codec(f, &codec, "gzip", err);
    inflateEnd(&z);
    return rc;
}
#endif

/* A frame may want a window of up to 128 MiB (zstd -22 --ultra; level 3 wants 2). Those that want
 * much are unpacked one at a time, so that several layers at once do not add them up. */
enum { WINDOW_MUCH = 8 << 20 };
static pthread_mutex_t much_memory = PTHREAD_MUTEX_INITIALIZER;

struct zstd {
    ZSTD_DCtx *ctx;
    bool fresh, holds_much;
};

/* RFC 8878 3.1.1.1. What cannot be seen, since the chunk ends, counts as much. */
static bool wants_much(const unsigned char *p, size_t n)
{
    enum { SINGLE_SEGMENT = 0x20 };
    if (n < 14)
        return true;
    if (memcmp(p, "\x28\xb5\x2f\xfd", 4) != 0)
        return false; /* a skippable frame */
    if (!(p[4] & SINGLE_SEGMENT)) {
        uint64_t base = (uint64_t)1 << (10 + (p[5] >> 3));
        return base + base / 8 * (p[5] & 7) > WINDOW_MUCH;
    }
    static const size_t dictionary_id[] = {0, 1, 2, 4};
    const unsigned char *size = p + 5 + dictionary_id[p[4] & 3];
    int size_kind = p[4] >> 6; /* 1, 2, 4 or 8 bytes */
    return size_kind == 3 || (size_kind == 2 && (size[3] || size[2] > WINDOW_MUCH >> 16));
}

static void zstd_reset(void *state)
{
    struct zstd *z = state;
    z->fresh = true;
    ZSTD_DCtx_reset(z->ctx, ZSTD_reset_session_only);
}

static int zstd_step(void *state, const unsigned char *in, size_t *in_n, unsigned char *out,
                     size_t *out_n, bool *complete)
{
    struct zstd *z = state;
    if (z->fresh && *in_n && !z->holds_much && wants_much(in, *in_n)) {
        pthread_mutex_lock(&much_memory);
        z->holds_much = true;
    }
    z->fresh = false;
    ZSTD_inBuffer ib = {in, *in_n, 0};
    ZSTD_outBuffer ob = {out, *out_n, 0};
    size_t rc = ZSTD_decompressStream(z->ctx, &ob, &ib);
    *in_n = ib.pos;
    *out_n = ob.pos;
    *complete = rc == 0;
    return ZSTD_isError(rc) ? -1 : 0;
}

static int run_zstd(struct inflate *f, struct err *err)
{
    struct zstd z = {ZSTD_createDCtx(), true, false};
    if (!z.ctx)
        abort();
    struct codec codec = {&z, zstd_step, zstd_reset};
    int rc = run_codec(f, &codec, "zstd", err);
    ZSTD_freeDCtx(z.ctx);
    if (z.holds_much)
        pthread_mutex_unlock(&much_memory);
    return rc;
}

struct archive_input {
    struct inflate *f;
    size_t last; /* handed out before, consumed by the next call */
    struct err err;
};

static la_ssize_t archive_input_read(struct archive *a, void *ctx, const void **buffer)
{
    struct archive_input *in = ctx;
    size_t n;
    (void)a;
    consumed(in->f, in->last);
    in->last = 0;
    const unsigned char *data;
    if (input(in->f, &data, &n, &in->err) < 0)
        return -1;
    *buffer = data;
    in->last = n;
    return (la_ssize_t)n;
}

/* xz, bzip2, lzip, ...: only `load` and `import` meet them, registries do not. */
static int run_other(struct inflate *f, struct err *err)
{
    struct archive *a = archive_read_new();
    struct archive_input in = {f, 0, ERR_INIT};
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_format_raw(a);
    struct archive_entry *entry;
    int rc = 0;
    if (archive_read_open(a, &in, NULL, archive_input_read, NULL) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK) {
        rc = err_set(err, ERR_CORRUPT, "%s", archive_error_string(a));
    }
    while (rc == 0) {
        unsigned char *out;
        size_t room;
        if (output(f, &out, &room, err) < 0) {
            rc = -1;
            break;
        }
        la_ssize_t n = archive_read_data(a, out, room);
        if (n == 0)
            break;
        rc = n < 0 ? err_set(err, ERR_CORRUPT, "%s", archive_error_string(a))
                   : produced(f, out, (size_t)n, err);
    }
    if (rc == 0)
        consumed(f, in.last);
    archive_read_free(a);
    err_release(&in.err);
    return rc;
}

enum compression compression_detect(const unsigned char *p, size_t n)
{
    static const struct {
        const char *magic;
        size_t n;
        enum compression kind;
    } table[] = {
        {"\x1f\x8b\x08", 3, COMPRESSION_GZIP},
        {"\x28\xb5\x2f\xfd", 4, COMPRESSION_ZSTD},
        {"\xfd"
         "7zXZ\0",
         6, COMPRESSION_OTHER},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (n >= table[i].n && memcmp(p, table[i].magic, table[i].n) == 0)
            return table[i].kind;
    /* bzip2: level, then the magic of a block; a tar of a file "BZh..." is none. */
    if (n >= 7 && memcmp(p, "BZh", 3) == 0 && memcmp(p + 4, "1AY", 3) == 0)
        return COMPRESSION_OTHER;
    /* A zstd stream may begin with a skippable frame, RFC 8878 3.1.2. */
    if (n >= 4 && (p[0] & 0xf0) == 0x50 && memcmp(p + 1, "\x2a\x4d\x18", 3) == 0)
        return COMPRESSION_ZSTD;
    return COMPRESSION_NONE;
}

int inflate_run(struct inflate *f, struct err *err)
{
    const unsigned char *in;
    size_t n;
    if (input(f, &in, &n, err) < 0)
        return -1;
    f->kind = compression_detect(in, n);
    switch (f->kind) {
    case COMPRESSION_GZIP:
        return run_gzip(f, err);
    case COMPRESSION_ZSTD:
        return run_zstd(f, err);
    case COMPRESSION_OTHER:
        return run_other(f, err);
    case COMPRESSION_NONE:
        break;
    }
    return run_plain(f, err);
}
