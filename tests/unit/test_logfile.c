/* Reading a container's log: tail, since, rotation, bytes of any kind. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "runtime/logfile.h"

struct box {
    char dir[64];
};

static int setup(void **state)
{
    struct box *b = xcalloc(1, sizeof(*b));
    strcpy(b->dir, "/tmp/test-logfile.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    fs_remove_all(b->dir, NULL);
    free(b);
    return 0;
}

/* Appends the records first..last, one a second: "line N\n". */
static void append(const struct box *b, const char *name, int first, int last)
{
    char *path AUTOFREE = path_join(b->dir, name);
    FILE *f = fopen(path, "a");
    for (int i = first; i <= last; i++) {
        char time[40];
        fprintf(f, "{\"log\":\"line %d\\n\",\"stream\":\"std%s\",\"time\":\"%s\"}\n", i,
                i % 2 ? "out" : "err", time_format((int64_t)i * 1000000000, time));
    }
    fclose(f);
}

static void append_text(const struct box *b, const char *text)
{
    char *path AUTOFREE = path_join(b->dir, "log");
    FILE *f = fopen(path, "a");
    fputs(text, f);
    fclose(f);
}

/* All that is there now: first and last record's text and how many. */
static char *read_now(struct logfile *l)
{
    struct log_record r;
    struct err err AUTOERR = ERR_INIT;
    char first[32] = "", last[32] = "";
    int n = 0, rc;
    while ((rc = logfile_next(l, &r, &err)) > 0) {
        snprintf(last, sizeof(last), "%.*s", (int)r.len, r.text);
        if (!n++)
            strcpy(first, last);
    }
    assert_int_equal(rc, 0);
    first[strcspn(first, "\n")] = last[strcspn(last, "\n")] = '\0';
    return xasprintf("%d: %s .. %s", n, first, last);
}

static char *read_all(const struct box *b, int64_t tail, int64_t since)
{
    struct logfile *l;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(logfile_open(b->dir, tail, since, &l, &err), 0);
    char *out = read_now(l);
    logfile_close(l);
    return out;
}

#define assert_reads(b, tail, since, want)                                                         \
    do {                                                                                           \
        char *got_ AUTOFREE = read_all(b, tail, since);                                            \
        assert_string_equal(got_, want);                                                           \
    } while (0)

static void test_tail_counts_over_rotated_files(void **state)
{
    struct box *b = *state;
    assert_reads(b, -1, 0, "0:  .. ");
    append(b, "log.2", 1, 10);
    append(b, "log.1", 11, 20);
    append(b, "log", 21, 25);
    assert_reads(b, -1, 0, "25: line 1 .. line 25");
    assert_reads(b, 0, 0, "0:  .. ");
    assert_reads(b, 1, 0, "1: line 25 .. line 25");
    assert_reads(b, 5, 0, "5: line 21 .. line 25");
    assert_reads(b, 6, 0, "6: line 20 .. line 25");
    assert_reads(b, 16, 0, "16: line 10 .. line 25");
    assert_reads(b, 1000, 0, "25: line 1 .. line 25");
}

static void test_since_is_found_by_time(void **state)
{
    struct box *b = *state;
    const int64_t s = 1000000000;
    append(b, "log.1", 1, 30000); /* several blocks */
    append(b, "log", 30001, 60000);
    assert_reads(b, -1, 1, "60000: line 1 .. line 60000");
    assert_reads(b, -1, 59999 * s, "2: line 59999 .. line 60000");
    assert_reads(b, -1, 12345 * s, "47656: line 12345 .. line 60000");
    assert_reads(b, -1, 30001 * s, "30000: line 30001 .. line 60000");
    assert_reads(b, -1, 70000 * s, "0:  .. ");
    assert_reads(b, 3, 12345 * s, "3: line 59998 .. line 60000");
}

static void test_line_in_parts_is_one_line_for_tail(void **state)
{
    struct box *b = *state;
    append(b, "log", 1, 3);
    append_text(
        b,
        "{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.000000000Z\"}\n"
        "{\"log\":\"b\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00.000000000Z\"}\n");
    assert_reads(b, 1, 0, "2: a .. b");
    assert_reads(b, 2, 0, "3: line 3 .. b");
}

static void test_records_tell_stream_time_and_any_bytes(void **state)
{
    struct box *b = *state;
    append_text(
        b, "not a record\n{\"log\":\n\n"
           "{\"log\":\"q\\\"b\\\\n\\u0000\\u00e9\\ud83d\\ude00\\ufffd\\t\",\"stream\":\"stderr\","
           "\"time\":\"2026-01-02T03:04:05.000000006Z\"}\n{\"log\":\"torn");
    struct logfile *l;
    struct log_record r;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(logfile_open(b->dir, -1, 0, &l, &err), 0);
    assert_int_equal(logfile_next(l, &r, &err), 1);
    static const char want[] = "q\"b\\n\0\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd\t";
    assert_int_equal(r.len, sizeof(want) - 1);
    assert_memory_equal(r.text, want, r.len);
    assert_true(r.is_stderr && r.partial);
    assert_int_equal(r.time % 1000000000, 6);
    assert_int_equal(logfile_next(l, &r, &err), 0);
    logfile_close(l);
}

/* As monitor/compress.c does it. */
static void make_gzip(const struct box *b, const char *from, const char *to)
{
    char *source AUTOFREE = path_join(b->dir, from), *target AUTOFREE = path_join(b->dir, to);
    char *text AUTOFREE = NULL, inode[32];
    unsigned char out[4096];
    size_t n;
    struct stat st;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(stat(source, &st), 0);
    snprintf(inode, sizeof(inode), "%llu", (unsigned long long)st.st_ino);
    assert_int_equal(fs_read(source, 1 << 20, &text, &n, &err), 0);
    z_stream z = {
        .next_in = (Bytef *)text, .avail_in = (uInt)n, .next_out = out, .avail_out = sizeof(out)};
    gz_header header = {.comment = (Bytef *)inode, .os = 3};
    deflateInit2(&z, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
    deflateSetHeader(&z, &header);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(fs_write_atomic(target, out, z.total_out, 0640, false, &err), 0);
    deflateEnd(&z);
}

static void remove_file(const struct box *b, const char *name)
{
    char *path AUTOFREE = path_join(b->dir, name);
    assert_int_equal(unlink(path), 0);
}

static void test_compressed_files_are_read_as_what_they_were(void **state)
{
    struct box *b = *state;
    const int64_t s = 1000000000;
    append(b, "log.3", 1, 10);
    append(b, "log.2", 11, 20);
    append(b, "log", 31, 35); /* .1 is free: the monitor was killed while it rotated */
    make_gzip(b, "log.3", "log.3.gz");
    remove_file(b, "log.3");
    make_gzip(b, "log.2", "log.2.gz"); /* both forms: it was killed before it removed the other */
    assert_reads(b, -1, 0, "25: line 1 .. line 35");
    assert_reads(b, 5, 0, "5: line 31 .. line 35");
    assert_reads(b, 8, 0, "8: line 18 .. line 35");
    assert_reads(b, 18, 0, "18: line 8 .. line 35");
    assert_reads(b, -1, 9 * s, "17: line 9 .. line 35");
    char *path AUTOFREE = path_join(b->dir, "log.3.gz");
    assert_int_equal(truncate(path, 40), 0);
    assert_reads(b, 12, 0, "12: line 14 .. line 35");
}

static void test_following_what_is_compressed_meanwhile(void **state)
{
    struct box *b = *state;
    struct logfile *l;
    struct err err AUTOERR = ERR_INIT;
    append(b, "log.1", 1, 5);
    append(b, "log", 6, 7);
    assert_int_equal(logfile_open(b->dir, -1, 0, &l, &err), 0);
    struct log_record r;
    for (int i = 1; i <= 5; i++)
        assert_int_equal(logfile_next(l, &r, &err), 1);
    make_gzip(b, "log.1", "log.1.gz");
    remove_file(b, "log.1");
    char *a AUTOFREE = read_now(l);
    assert_string_equal(a, "2: line 6 .. line 7");
    logfile_close(l);
}

static void test_following_through_rotation(void **state)
{
    struct box *b = *state;
    char *log AUTOFREE = path_join(b->dir, "log"), *one AUTOFREE = path_join(b->dir, "log.1");
    char *two AUTOFREE = path_join(b->dir, "log.2");
    struct logfile *l;
    struct err err AUTOERR = ERR_INIT;
    append(b, "log", 1, 3);
    assert_int_equal(logfile_open(b->dir, -1, 0, &l, &err), 0);
    struct pollfd p = {.fd = logfile_fd(l), .events = POLLIN};
    assert_true(p.fd >= 0);
    char *a AUTOFREE = read_now(l);
    assert_string_equal(a, "3: line 1 .. line 3");
    assert_int_equal(poll(&p, 1, 0), 0);
    append(b, "log", 4, 5);
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_int_equal(rename(log, one), 0);
    append(b, "log", 6, 7);
    assert_int_equal(rename(one, two), 0);
    assert_int_equal(rename(log, one), 0);
    append(b, "log", 8, 9);
    char *c AUTOFREE = read_now(l);
    assert_string_equal(c, "6: line 4 .. line 9");
    assert_int_equal(poll(&p, 1, 0), 0);
    /* One file only: the old one is unlinked, not renamed. */
    assert_int_equal(unlink(one) | unlink(two) | unlink(log), 0);
    append(b, "log", 10, 11);
    char *d AUTOFREE = read_now(l);
    assert_string_equal(d, "2: line 10 .. line 11");
    logfile_close(l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_tail_counts_over_rotated_files),
        T(test_since_is_found_by_time),
        T(test_line_in_parts_is_one_line_for_tail),
        T(test_records_tell_stream_time_and_any_bytes),
        T(test_following_through_rotation),
        T(test_compressed_files_are_read_as_what_they_were),
        T(test_following_what_is_compressed_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
