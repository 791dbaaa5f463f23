/* Short forms and small parsers of file/: ports, volumes, command lines, paths, project names. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "file/load.h"
#include "file/paths.h"
#include "file/port_spec.h"
#include "file/shellwords.h"
#include "file/volume_spec.h"

static struct arena *arena;

static int setup(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static void test_ports(void **state)
{
    (void)state;
    struct port_spec p;
    assert_null(port_spec_parse(arena, "80", &p));
    assert_int_equal(p.first, 80);
    assert_false(p.published);
    assert_string_equal(p.protocol, "tcp");
    assert_null(port_spec_parse(arena, "127.0.0.1:8000-8002:80-82/UDP", &p));
    assert_string_equal(p.address, "127.0.0.1");
    assert_int_equal(p.host_last, 8002);
    assert_int_equal(p.last, 82);
    assert_string_equal(p.protocol, "udp");
    assert_null(port_spec_parse(arena, "[::1]:1:2", &p));
    assert_string_equal(p.address, "::1");
    assert_null(port_spec_parse(arena, "8000-8010:80", &p));
    assert_int_equal(p.host_first, 8000);
    assert_null(port_spec_parse(arena, "127.0.0.1::80", &p));
    assert_false(p.published);
    static const char *const bad[] = {"",        "a",       "80:",          "65536",   "1:65536",
                                      "2-1",     "1-2:3-5", "1:2/icmp",     "::1:1:2", "x:1:2",
                                      "1-2-3:4", "-1",      "1.2.3.4.5:1:2"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (!port_spec_parse(arena, bad[i], &p))
            fail_msg("%s is accepted", bad[i]);
}

static void test_volumes(void **state)
{
    (void)state;
    struct volume_spec v;
    assert_null(volume_spec_parse(arena, "/data", &v));
    assert_null(v.source);
    assert_string_equal(v.target, "/data");
    assert_null(volume_spec_parse(arena, "./a:/b:ro,Z,rslave", &v));
    assert_true(v.bind && v.read_only);
    assert_string_equal(v.selinux, "Z");
    assert_string_equal(v.propagation, "rslave");
    assert_null(volume_spec_parse(arena, "named:/b:nocopy,unknown", &v));
    assert_true(!v.bind && v.nocopy);
    assert_null(volume_spec_parse(arena, "C:\\x:/y", &v));
    assert_string_equal(v.source, "C:\\x");
    assert_true(v.bind);
    assert_null(volume_spec_parse(arena, "${A:-b}:/c", &v));
    assert_string_equal(v.source, "${A:-b}");
    assert_non_null(volume_spec_parse(arena, "", &v));
    assert_non_null(volume_spec_parse(arena, "/a::/b", &v));
    assert_non_null(volume_spec_parse(arena, "/a:/b:ro:x", &v));
}

static void assert_words(const char *line, const char *want)
{
    size_t n;
    const char *wrong, **words = shellwords_split(arena, line, &n, &wrong);
    if (!want) {
        assert_null(words);
        assert_non_null(wrong);
        return;
    }
    assert_non_null(words);
    char got[256] = "";
    for (size_t i = 0; i < n; i++) {
        strcat(got, "[");
        strcat(got, words[i]);
        strcat(got, "]");
    }
    assert_string_equal(got, want);
}

static void test_command_lines(void **state)
{
    (void)state;
    assert_words("echo 'a b' \"c d\" e\\ f", "[echo][a b][c d][e f]");
    assert_words("a '' \"\"", "[a][][]");
    assert_words("  a\tb\n", "[a][b]");
    assert_words("sh -c \"x 'y' \\\"z\\\"\"", "[sh][-c][x 'y' \"z\"]");
    assert_words("a $(b c) `d e`", "[a][$(b c)][`d e`]");
    assert_words("a; b", "[a]");
    assert_words("a 2>&1 b", "[a]");
    assert_words("a \\; b", "[a][;][b]");
    assert_words("", "");
    assert_words("a 'b", NULL);
    assert_words("a \"b", NULL);
    assert_words("a (b)", NULL);
    assert_words("a\\", NULL);
}

static void test_relative_paths(void **state)
{
    (void)state;
    assert_string_equal(paths_relative(arena, "/a/b", "/a/b"), ".");
    assert_string_equal(paths_relative(arena, "/a/b", "/a/b/c"), "c");
    assert_string_equal(paths_relative(arena, "/a/b", "/a/c/d"), "../c/d");
    assert_string_equal(paths_relative(arena, "/a/b", "/a/bc"), "../bc");
    assert_string_equal(paths_relative(arena, "/", "/x"), "x");
    assert_string_equal(paths_relative(arena, "/x", "/"), "..");
    assert_null(paths_relative(arena, "a", "/x"));
    assert_string_equal(paths_join(arena, "a/b", "../c/./d"), "a/c/d");
    assert_string_equal(paths_join(arena, ".", "."), ".");
    assert_string_equal(paths_dir(arena, "/a/b.yaml"), "/a");
    assert_string_equal(paths_dir(arena, "/b"), "/");
    assert_string_equal(paths_dir(arena, "b"), ".");
    assert_string_equal(paths_display(arena, "/a", "/a/b/c"), "b/c");
    assert_string_equal(paths_display(arena, "/a", "/ab/c"), "/ab/c");
}

static void test_project_names(void **state)
{
    (void)state;
    assert_string_equal(project_name_normalize(arena, "My App.v2"), "myappv2");
    assert_string_equal(project_name_normalize(arena, "__a-b_c"), "a-b_c");
    assert_string_equal(project_name_normalize(arena, "..."), "");
    assert_true(project_name_is_valid("a_b-1"));
    assert_false(project_name_is_valid("A"));
    assert_false(project_name_is_valid("-a"));
    assert_false(project_name_is_valid(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),         cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_command_lines), cmocka_unit_test(test_relative_paths),
        cmocka_unit_test(test_project_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
