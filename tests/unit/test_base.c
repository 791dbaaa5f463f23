/* base/: strings, containers, units, paths, files, subprocesses. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "base/subprocess.h"
#include "base/units.h"
#include "base/vec.h"

static void test_errors_are_wrapped_from_the_inside_out(void **state)
{
    (void)state;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(err_sys(&err, ENOENT, "open %s", "x"), -1);
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    err_wrap(&err, "service \"%s\"", "web");
    assert_string_equal(err.msg, "service \"web\": open x: No such file or directory");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), -1);
}

static void test_strbuf_detach_leaves_it_usable(void **state)
{
    (void)state;
    struct strbuf sb AUTOBUF = STRBUF_INIT;
    strbuf_addf(&sb, "%d-%s", 7, "x");
    char *s AUTOFREE = strbuf_detach(&sb);
    assert_string_equal(s, "7-x");
    assert_string_equal(sb.buf, "");
    strbuf_addstr(&sb, "abc");
    strbuf_consume(&sb, 2);
    assert_string_equal(sb.buf, "c");
    assert_int_equal(sb.len, 1);
}

static void test_map_keeps_order_through_growth_and_removal(void **state)
{
    (void)state;
    struct map m AUTOMAP = MAP_INIT;
    static int values[500];
    char key[16];
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_null(map_set(&m, key, &values[i]));
    }
    for (int i = 0; i < 500; i += 2) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_ptr_equal(map_del(&m, key), &values[i]);
        assert_null(map_get(&m, key));
    }
    assert_int_equal(m.live, 250);
    int next = 1;
    map_foreach (&m, e) {
        assert_ptr_equal(e->value, &values[next]);
        next += 2;
    }
    assert_int_equal(next, 501);
    assert_ptr_equal(map_set(&m, "k1", &values[0]), &values[1]);
    assert_ptr_equal(map_get(&m, "k1"), &values[0]);
    assert_null(map_set(&m, "k0", &values[3]));
    assert_ptr_equal(map_get(&m, "k0"), &values[3]);
}

static void test_arena_memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    for (size_t n = 1; n < 200000; n = n * 3 + 1) {
        unsigned char *p = arena_alloc(a, n);
        assert_int_equal((uintptr_t)p % sizeof(uint64_t), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, n);
    }
    assert_string_equal(arena_printf(a, "%s/%d", "x", 3), "x/3");
    arena_free(a);
}

static void test_vec_removes_in_order(void **state)
{
    (void)state;
    VEC(int) v = {0};
    for (int i = 0; i < 20; i++)
        vec_push(&v, i);
    vec_remove(&v, 0);
    vec_remove(&v, 18);
    assert_int_equal(v.n, 18);
    assert_int_equal(v.v[0], 1);
    assert_int_equal(v.v[17], 18);
    vec_release(&v);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
        const char *printed;
    } good[] = {
        {"0", 0, "0s"},
        {"1s", 1000000000, "1s"},
        {"1m30s", 90000000000, "1m30s"},
        {"1.5h", 5400000000000, "1h30m0s"},
        {"100ms", 100000000, "100ms"},
        {"2us", 2000, "2\xc2\xb5s"},
        {"1h1ns", 3600000000001, "1h0m0.000000001s"},
        {"-2s", -2000000000, "-2s"},
        {"1d", 86400000000000, "24h0m0s"},
        {".5s", 500000000, "500ms"},
    };
    static const char *const bad[] = {"", "s", "1", "1x", "1s2", "..s", "1s ", "99999999999h", "-"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        int64_t ns;
        char text[32];
        assert_true(duration_parse(good[i].text, &ns));
        assert_int_equal(ns, good[i].ns);
        assert_string_equal(duration_format(ns, text), good[i].printed);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int64_t ns;
        assert_false(duration_parse(bad[i], &ns));
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},
                {"64m", 64 << 20},
                {"1.5g", 1610612736},
                {"10kb", 10240},
                {"128MiB", 128 << 20},
                {"1024", 1024},
                {"2 K", 2048},
                {"1b", 1}};
    static const char *const bad[] = {"",     "m",     "-1",          "1x", "1mx",
                                      "0x10", "1e400", "9999999999g", "1mi"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        int64_t n;
        assert_true(size_parse(good[i].text, &n));
        assert_int_equal(n, good[i].bytes);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int64_t n;
        assert_false(size_parse(bad[i], &n));
    }
    char text[32];
    assert_string_equal(size_format(13300, text), "13.3kB");
    assert_string_equal(size_format(999, text), "999B");
}

static void test_times(void **state)
{
    (void)state;
    int64_t ns;
    char text[40];
    assert_true(time_parse("2026-01-02T03:04:05.000000006Z", &ns));
    assert_string_equal(time_format(ns, text), "2026-01-02T03:04:05.000000006Z");
    int64_t same;
    assert_true(time_parse("2026-01-02T05:04:05.000000006+02:00", &same));
    assert_int_equal(ns, same);
    assert_false(time_parse("2026-01-02T03:04:05", &ns));
    assert_false(time_parse("yesterday", &ns));
    assert_false(time_parse("0001-01-01T00:00:00Z", &ns));
}

static void test_paths_are_cleaned_as_go_does(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"/a/b/../c", "/a/c"},
                                           {"a//b/./c/", "a/b/c"},
                                           {"../x", "../x"},
                                           {"/..", "/"},
                                           {"a/..", "."},
                                           {"", "."},
                                           {"/", "/"},
                                           {"a/../../b", "../b"},
                                           {"/a/../..", "/"},
                                           {"../../a/..", "../.."}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *clean AUTOFREE = path_clean(cases[i][0]);
        assert_string_equal(clean, cases[i][1]);
    }
    char *dir AUTOFREE = path_dir("/a/b/"), *root AUTOFREE = path_dir("/a"),
              *here AUTOFREE = path_dir("a");
    assert_string_equal(dir, "/a");
    assert_string_equal(root, "/");
    assert_string_equal(here, ".");
}

static int make_folder(void **state)
{
    char template[] = "/tmp/compose-unit-XXXXXX";
    *state = xstrdup(mkdtemp(template));
    return 0;
}

static int remove_folder(void **state)
{
    int rc = fs_remove_all(*state, NULL);
    free(*state);
    return rc;
}

static void test_files_are_written_whole_or_not(void **state)
{
    char *path AUTOFREE = path_join(*state, "f");
    char *data AUTOFREE = NULL;
    size_t len;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(fs_write_atomic(path, "abc", 3, 0640, true, &err), 0);
    assert_int_equal(fs_read(path, 3, &data, &len, &err), 0);
    assert_string_equal(data, "abc");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(fs_read(path, 2, &data, &len, &err), -1);
    assert_non_null(strstr(err.msg, "larger than 2 bytes"));
    err_release(&err);
    assert_int_equal(fs_read("/dev/zero", 10, &data, &len, &err), -1);
    assert_int_equal(err.kind, ERR_INVALID);
    err_release(&err);
    assert_int_equal(fs_read(*state, 10, &data, &len, &err), -1);
    assert_int_equal(err.errnum, EISDIR);
}

static void test_remove_all_does_not_follow_links(void **state)
{
    char *outside AUTOFREE = path_join(*state, "outside");
    char *kept AUTOFREE = path_join(outside, "kept");
    char *tree AUTOFREE = path_join(*state, "tree/a/b");
    char *link AUTOFREE = path_join(*state, "tree/a/link");
    char *top AUTOFREE = path_join(*state, "tree");
    assert_int_equal(fs_mkdir_p(outside, 0755, NULL), 0);
    assert_int_equal(fs_write_atomic(kept, "x", 1, 0600, false, NULL), 0);
    assert_int_equal(fs_mkdir_p(tree, 0755, NULL), 0);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(fs_remove_all(top, NULL), 0);
    assert_false(fs_exists(top));
    assert_true(fs_exists(kept));
    assert_int_equal(fs_remove_all(top, NULL), 0);
}

static void test_a_held_lock_is_a_conflict(void **state)
{
    char *path AUTOFREE = path_join(*state, "lock");
    int first AUTOCLOSE = -1, second AUTOCLOSE = -1;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(fs_lock(path, false, &first, &err), 0);
    assert_int_equal(fs_lock(path, false, &second, &err), -1);
    assert_int_equal(err.kind, ERR_CONFLICT);
}

static void test_json_files(void **state)
{
    char *path AUTOFREE = path_join(*state, "j.json");
    struct err err AUTOERR = ERR_INIT;
    json_t *j AUTOJSON = json_pack("{s:s, s:i, s:b}", "name", "x", "n", 3, "yes", 1);
    assert_int_equal(json_write(path, j, false, &err), 0);
    json_t *back AUTOJSON = NULL;
    assert_int_equal(json_read(path, &back, &err), 0);
    assert_true(json_equal(j, back));
    assert_string_equal(jstr(back, "name", ""), "x");
    assert_int_equal(jint(back, "name", -7), -7);
    assert_true(jbool(back, "yes", false));
    assert_int_equal(fs_write_atomic(path, "{\"a\":", 5, 0600, false, NULL), 0);
    json_t *broken AUTOJSON = NULL;
    assert_int_equal(json_read(path, &broken, &err), -1);
    assert_int_equal(err.kind, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "j.json:1:"));
}

static void test_subprocess_keeps_output_and_status(void **state)
{
    (void)state;
    struct strbuf out AUTOBUF = STRBUF_INIT, errs AUTOBUF = STRBUF_INIT;
    const char *argv[] = {"sh", "-c", "cat; echo oops >&2; exit 3", NULL};
    struct subprocess p = {
        .argv = argv, .input = "hello", .input_len = 5, .out = &out, .err = &errs};
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(subprocess_run(&p, &err), 0);
    assert_string_equal(out.buf, "hello");
    assert_string_equal(errs.buf, "oops\n");
    assert_int_equal(WEXITSTATUS(p.status), 3);
}

static void test_subprocess_ends_at_its_deadline(void **state)
{
    (void)state;
    const char *argv[] = {"sleep", "100", NULL};
    struct subprocess p = {.argv = argv, .timeout_ns = 50000000};
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(subprocess_run(&p, &err), -1);
    assert_int_equal(err.kind, ERR_TIMEOUT);
    const char *missing[] = {"/no/such/program", NULL};
    struct subprocess q = {.argv = missing};
    struct err why AUTOERR = ERR_INIT;
    assert_int_equal(subprocess_run(&q, &why), -1);
    assert_int_equal(why.kind, ERR_NOT_FOUND);
}

static void test_a_grandchild_that_holds_the_pipe_is_not_waited_for(void **state)
{
    (void)state;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    const char *argv[] = {"sh", "-c", "sleep 30 & echo $!", NULL};
    struct subprocess p = {.argv = argv, .out = &out, .timeout_ns = 20000000000};
    struct err err AUTOERR = ERR_INIT;
    int64_t begin = time_monotonic();
    assert_int_equal(subprocess_run(&p, &err), 0);
    assert_true(time_monotonic() - begin < 10000000000);
    pid_t left = atoi(out.buf);
    assert_true(left > 1);
    kill(left, SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_wrapped_from_the_inside_out),
        cmocka_unit_test(test_strbuf_detach_leaves_it_usable),
        cmocka_unit_test(test_map_keeps_order_through_growth_and_removal),
        cmocka_unit_test(test_arena_memory_is_zeroed_and_aligned),
        cmocka_unit_test(test_vec_removes_in_order),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_paths_are_cleaned_as_go_does),
        cmocka_unit_test_setup_teardown(test_files_are_written_whole_or_not, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_remove_all_does_not_follow_links, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_a_held_lock_is_a_conflict, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_json_files, make_folder, remove_folder),
        cmocka_unit_test(test_subprocess_keeps_output_and_status),
        cmocka_unit_test(test_subprocess_ends_at_its_deadline),
        cmocka_unit_test(test_a_grandchild_that_holds_the_pipe_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
