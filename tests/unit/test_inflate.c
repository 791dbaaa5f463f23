/* Streams in pieces of all sizes through the decompressors, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/inflate.h"

struct job {
    struct inflate inflate;
    struct err err;
    int rc;
};

static void *inflate_main(void *arg)
{
    struct job *j = arg;
    j->rc = inflate_run(&j->inflate, &j->err);
    if (j->rc < 0)
        ring_stop(j->inflate.in);
    ring_end(j->inflate.out, j->rc < 0);
    return NULL;
}

struct feed {
    struct ring *ring;
    const struct strbuf *data;
    size_t piece;
};

static void *feed_main(void *arg)
{
    struct feed *f = arg;
    for (size_t at = 0; at < f->data->len; at += f->piece) {
        size_t n = f->data->len - at < f->piece ? f->data->len - at : f->piece;
        if (ring_write(f->ring, f->data->buf + at, n) < 0)
            break;
    }
    ring_end(f->ring, false);
    return NULL;
}

/* 0 or -1 with the kind of the error; what came out into out. */
static int run(const struct strbuf *in, size_t piece, struct strbuf *out, enum err_kind *kind)
{
    struct ring a, b;
    struct hash hash;
    char digest[72];
    ring_init(&a);
    ring_init(&b);
    hash_init(&hash);
    struct job j = {.inflate = {.in = &a, .out = &b, .hash = &hash, .copy = -1}};
    struct feed f = {&a, in, piece};
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, feed_main, &f);
    pthread_create(&threads[1], NULL, inflate_main, &j);
    size_t n;
    const unsigned char *data;
    while ((data = ring_bytes(&b, &n))) {
        strbuf_add(out, data, n);
        ring_consume(&b, n);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    hash_digest(&hash, digest);
    *kind = j.err.kind;
    err_release(&j.err);
    ring_release(&a);
    ring_release(&b);
    return j.rc;
}

static void make_text(struct strbuf *text, size_t n)
{
    unsigned seed = 1;
    while (text->len < n) {
        seed = seed * 1103515245 + 12345;
        strbuf_addf(text, "%u%s", seed >> (seed % 24), seed % 7 ? " again and again " : "\n");
    }
    strbuf_setlen(text, n);
}

/* libarchive's filters make the test data: gzip, xz, bzip2. */
static void pack(const char *filter, const struct strbuf *text, struct strbuf *packed)
{
    size_t room = text->len + (1 << 16), used = 0;
    char *buffer AUTOFREE = xmalloc(room);
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    archive_write_add_filter_by_name(a, filter);
    archive_write_set_format_raw(a);
    archive_write_set_bytes_per_block(a, 0);
    assert_int_equal(archive_write_open_memory(a, buffer, room, &used), ARCHIVE_OK);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_write_header(a, e);
    archive_write_data(a, text->buf, text->len);
    archive_write_close(a);
    archive_write_free(a);
    archive_entry_free(e);
    strbuf_add(packed, buffer, used);
}

static void pack_zstd(const struct strbuf *text, struct strbuf *packed)
{
    size_t room = ZSTD_compressBound(text->len);
    char *buffer AUTOFREE = xmalloc(room);
    size_t n = ZSTD_compress(buffer, room, text->buf, text->len, 3);
    strbuf_add(packed, buffer, n);
}

static void assert_unpacks(const struct strbuf *packed, const struct strbuf *text)
{
    static const size_t pieces[] = {7, 4096, 100003, 8 << 20};
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct strbuf out AUTOBUF = STRBUF_INIT;
        enum err_kind kind;
        assert_int_equal(run(packed, pieces[i], &out, &kind), 0);
        assert_int_equal(out.len, text->len);
        assert_memory_equal(out.buf, text->buf, text->len);
    }
}

static void test_formats(void **state)
{
    static const char *const filters[] = {"gzip", "xz", "bzip2"};
    (void)state;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    make_text(&text, 3 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
        struct strbuf packed AUTOBUF = STRBUF_INIT;
        pack(filters[i], &text, &packed);
        assert_unpacks(&packed, &text);
    }
    struct strbuf packed AUTOBUF = STRBUF_INIT;
    pack_zstd(&text, &packed);
    assert_unpacks(&packed, &text);
    assert_unpacks(&text, &text);
}

/* gzip of zeros: far more comes out than a ring holds, from a few bytes. */
static void test_expansion(void **state)
{
    (void)state;
    struct strbuf zeros AUTOBUF = STRBUF_INIT;
    strbuf_grow(&zeros, 20 << 20);
    memset(zeros.buf, 0, 20 << 20);
    zeros.len = 20 << 20;
    struct strbuf gzip AUTOBUF = STRBUF_INIT, zstd AUTOBUF = STRBUF_INIT;
    pack("gzip", &zeros, &gzip);
    pack_zstd(&zeros, &zstd);
    assert_unpacks(&gzip, &zeros);
    assert_unpacks(&zstd, &zeros);
}

/* What pigz, eStargz and zstd:chunked write: members and frames one after the other. */
static void test_members(void **state)
{
    (void)state;
    struct strbuf all AUTOBUF = STRBUF_INIT, gzip AUTOBUF = STRBUF_INIT, zstd AUTOBUF = STRBUF_INIT;
    static const size_t sizes[] = {1, 100000, 0, 2000000, 17};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct strbuf part AUTOBUF = STRBUF_INIT;
        make_text(&part, sizes[i]);
        strbuf_add(&all, part.buf, part.len);
        pack("gzip", &part, &gzip);
        pack_zstd(&part, &zstd);
    }
    strbuf_add(&zstd, "\x50\x2a\x4d\x18\x04\0\0\0skip", 12); /* a skippable frame */
    assert_unpacks(&gzip, &all);
    assert_unpacks(&zstd, &all);
    static const char padding[700];
    strbuf_add(&gzip, padding, sizeof(padding));
    assert_unpacks(&gzip, &all);
}

static void assert_damaged(const struct strbuf *packed)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    enum err_kind kind;
    assert_int_equal(run(packed, 65536, &out, &kind), -1);
    assert_int_equal(kind, ERR_CORRUPT);
}

static void test_damage(void **state)
{
    (void)state;
    struct strbuf text AUTOBUF = STRBUF_INIT, gzip AUTOBUF = STRBUF_INIT,
                       zstd AUTOBUF = STRBUF_INIT;
    make_text(&text, 300000);
    pack("gzip", &text, &gzip);
    pack_zstd(&text, &zstd);
    struct strbuf *both[] = {&gzip, &zstd};
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        size_t whole = both[i]->len;
        strbuf_setlen(both[i], whole - 5); /* cut */
        assert_damaged(both[i]);
        strbuf_setlen(both[i], whole / 2);
        assert_damaged(both[i]);
    }
    struct strbuf bad AUTOBUF = STRBUF_INIT;
    pack("gzip", &text, &bad);
    bad.buf[bad.len - 6] ^= 1; /* the CRC */
    assert_damaged(&bad);
    strbuf_setlen(&bad, 0);
    pack("gzip", &text, &bad);
    strbuf_addstr(&bad, "trailing garbage");
    assert_damaged(&bad);
}

static void test_empty(void **state)
{
    (void)state;
    struct strbuf nothing AUTOBUF = STRBUF_INIT;
    assert_unpacks(&nothing, &nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats), cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_members), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests_name("inflate", tests, NULL, NULL);
}
