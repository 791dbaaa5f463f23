/* Tables, --format templates and patterns: what listings print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/format.h"
#include "cli/ignore.h"
#include "cli/table.h"
#include "cli/terminal.h"

static void test_columns(void **state)
{
    struct table t AUTOTABLE = TABLE_NARROW;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    (void)state;
    table_row(&t, "NAME", "IMAGE", "PORTS", NULL);
    table_row(&t, "shop-web-1", "a/very/long/name", "", NULL);
    table_row(&t, "x", "y", "80/tcp", NULL);
    table_render(&t, &out);
    assert_string_equal(out.buf, "NAME         IMAGE              PORTS\n"
                                 "shop-web-1   a/very/long/name   \n"
                                 "x            y                  80/tcp\n");
}

static void test_width_of_text(void **state)
{
    struct table t AUTOTABLE = {.min_width = 0, .padding = 1};
    struct strbuf out AUTOBUF = STRBUF_INIT;
    (void)state;
    assert_int_equal(text_width("é…"), 2);
    assert_int_equal(text_width("\033[31mred\033[0m"), 3);
    assert_int_equal(text_width("日本"), 4);
    assert_int_equal(text_fit("日本", 3), 3);
    assert_int_equal(text_fit("abc", 2), 2);
    table_row(&t, "é", "1", NULL);
    table_row(&t, "ab", "2", NULL);
    table_render(&t, &out);
    assert_string_equal(out.buf, "é  1\nab 2\n");
}

static char *formatted(const char *text, const char *json)
{
    struct format *f;
    struct strbuf out = STRBUF_INIT;
    struct err err AUTOERR = ERR_INIT;
    json_t *data AUTOJSON = json_loads(json, 0, NULL);
    assert_non_null(data);
    if (format_parse(text, &f, &err) < 0)
        return xasprintf("error: %s", err.msg);
    int rc = format_execute(f, data, &out, &err);
    format_free(f);
    if (rc == 0)
        return strbuf_detach(&out);
    strbuf_release(&out);
    return xasprintf("error: %s", err.msg);
}

static void test_templates(void **state)
{
    static const char data[] =
        "{\"Name\":\"web-1\",\"N\":3,\"On\":true,\"Empty\":\"\",\"Ports\":[{\"P\":80},"
        "{\"P\":81}],\"_labels\":{\"a.b\":\"c\"},\"A\":{\"B\":\"deep\"}}";
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"plain", "plain"},
        {"{{.Name}} {{.N}}", "web-1 3"},
        {"{{ .Name | upper }}", "WEB-1"},
        {"{{json .Name}}", "\"web-1\""},
        {"{{json .Ports}}", "[{\"P\":80},{\"P\":81}]"},
        {"{{.A.B}}", "deep"},
        {"{{.Label \"a.b\"}}|{{.Label \"x\"}}", "c|"},
        {"{{if .On}}yes{{else}}no{{end}}", "yes"},
        {"{{if .Empty}}yes{{else if eq .N 3}}three{{else}}no{{end}}", "three"},
        {"{{range .Ports}}{{.P}},{{end}}", "80,81,"},
        {"{{range .Empty}}x{{else}}none{{end}}", "none"},
        {"{{with .A}}{{.B}}{{end}}", "deep"},
        {"a {{- .N -}} b", "a3b"},
        {"{{/* note */}}x", "x"},
        {"{{printf \"%-6s|%d\" .Name .N}}", "web-1 |3"},
        {"{{(index .Ports 1).P}}", "81"},
        {"{{len .Ports}}{{truncate .Name 3}}", "2web"},
        {"{{join (split .Name \"-\") \"+\"}}", "web+1"},
        {"{{and .On .Empty}}{{or .Empty .N}}{{not .On}}", "3false"},
        {"{{.Nope}}", "error: template: :1: executing \"\" at <.Nope>: can't evaluate field Nope"},
        {"{{.Name", "error: template parsing error: template: :1: unclosed action"},
        {"{{fly .Name}}",
         "error: template parsing error: template: :1: function \"fly\" not defined"},
        {"{{end}}", "error: template parsing error: template: :1: unexpected {{end}}"},
        {"{{if .On}}", "error: template parsing error: template: :1: unexpected EOF"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *got AUTOFREE = formatted(cases[i].text, data);
        if (!streq(got, cases[i].want))
            fail_msg("%s: got \"%s\", want \"%s\"", cases[i].text, got, cases[i].want);
    }
}

static void test_hostile_templates(void **state)
{
    (void)state;
    struct strbuf deep AUTOBUF = STRBUF_INIT;
    for (int i = 0; i < 10000; i++)
        strbuf_addstr(&deep, "{{if .A}}");
    char *got AUTOFREE = formatted(deep.buf, "{\"A\":1}");
    assert_non_null(strstr(got, "nested too deeply"));
    strbuf_setlen(&deep, 0);
    strbuf_addstr(&deep, "{{");
    for (int i = 0; i < 10000; i++)
        strbuf_addch(&deep, '(');
    char *other AUTOFREE = formatted(deep.buf, "{\"A\":1}");
    assert_non_null(strstr(other, "nested too deeply"));
}

static void test_escapes(void **state)
{
    (void)state;
    char *got AUTOFREE = format_unescape("a\\tb\\nc\\d");
    assert_string_equal(got, "a\tb\nc\\d");
}

static void test_patterns(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool matches;
    } cases[] = {
        {"*.py", "a.py", true},
        {"*.py", "d/a.py", false},
        {"**/*.py", "a.py", true},
        {"**/*.py", "d/e/a.py", true},
        {"node_modules", "node_modules", true},
        {"a/**", "a/b/c", true},
        {"a/**/z", "a/z", true},
        {"a/**/z", "a/b/c/z", true},
        {"?b", "ab", true},
        {"?b", "/b", false},
        {"[a-c]x", "bx", true},
        {"[^a-c]x", "bx", false},
        {"a\\*", "a*", true},
        {"a\\*", "ab", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (glob_matches(cases[i].pattern, cases[i].path) != cases[i].matches)
            fail_msg("%s on %s", cases[i].pattern, cases[i].path);
    }
    struct ignore ig = IGNORE_INIT;
    ignore_add(&ig, "./build/");
    ignore_add(&ig, "**/*.log");
    ignore_add(&ig, "!keep.log");
    assert_true(ignore_matches(&ig, "build/x/y"));
    assert_true(ignore_matches(&ig, "d/a.log"));
    assert_false(ignore_matches(&ig, "keep.log"));
    assert_false(ignore_matches(&ig, "src/build.c"));
    ignore_release(&ig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),   cmocka_unit_test(test_width_of_text),
        cmocka_unit_test(test_templates), cmocka_unit_test(test_hostile_templates),
        cmocka_unit_test(test_escapes),   cmocka_unit_test(test_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
