/* file/diag: how errors look. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "file/diag.h"

static void add_source(struct diag *d, const char *file, const char *text)
{
    diag_source(d, file, xstrdup(text), strlen(text));
}

static void assert_rendered(const struct diag *d, const char *want)
{
    struct strbuf out AUTOBUF = STRBUF_INIT;
    diag_render(d, DIAG_ERROR, false, &out);
    assert_string_equal(out.buf, want);
}

static void test_source_line_and_caret(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    add_source(&d, "compose.yaml", "services:\n  web:\n    ports:\n      - \"80x:80\"\n");
    diag_error(&d, &(struct mark){.file = "compose.yaml", .line = 4, .col = 9},
               "invalid port \"%s\"", "80x");
    assert_rendered(&d, "compose.yaml:4:9: error: invalid port \"80x\"\n"
                        "    4 |       - \"80x:80\"\n"
                        "      |         ^~~~~~~~\n");
}

/* A file whose text was not kept; where it is gone there is no line. */
static void test_line_is_read_again(void **state)
{
    (void)state;
    char path[] = "/tmp/compose-diag-XXXXXX";
    close(mkstemp(path));
    assert_int_equal(fs_write_atomic(path, "a: b\n", 5, 0644, false, NULL), 0);
    for (int gone = 0; gone < 2; gone++) {
        struct diag d AUTODIAG = DIAG_INIT;
        diag_source_at(&d, "f", path);
        diag_error(&d, &(struct mark){.file = "f", .line = 1, .col = 4}, "here");
        if (gone)
            unlink(path);
        assert_rendered(&d, gone ? "f:1:4: error: here\n"
                                 : "f:1:4: error: here\n    1 | a: b\n      |    ^\n");
    }
}

static void test_columns_are_characters_and_tabs_stay(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    add_source(&d, "f", "\xc3\xa9\xc3\xa9:\t\xc3\xa4x, y\n");
    diag_error(&d, &(struct mark){.file = "f", .line = 1, .col = 5}, "here");
    assert_rendered(&d, "f:1:5: error: here\n"
                        "    1 | \xc3\xa9\xc3\xa9:\t\xc3\xa4x, y\n"
                        "      |    \t^~\n");
}

static void test_order_notes_and_hints(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    add_source(&d, "a", "1\n2\n3\n");
    diag_error(&d, &(struct mark){.file = "a", .line = 3, .col = 1}, "third");
    diag_error(&d, &(struct mark){.file = "a", .line = 1, .col = 1}, "first");
    diag_note(&d, &(struct mark){.file = "other", .line = 7, .col = 2}, "because");
    diag_error(&d, NULL, "nowhere");
    diag_suggest(&d, "somewhere");
    diag_warning(&d, NULL, "not an error");
    assert_rendered(&d, "error: nowhere; did you mean \"somewhere\"?\n"
                        "a:1:1: error: first\n    1 | 1\n      | ^\n"
                        "other:7:2: note: because\n"
                        "a:3:1: error: third\n    3 | 3\n      | ^\n");
    assert_int_equal(d.errors, 3);
    assert_int_equal(d.warnings, 1);
}

static void test_repetitions_are_dropped_with_their_notes(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    for (int i = 0; i < 3; i++) {
        diag_error(&d, &(struct mark){.file = "a", .line = 1, .col = 1}, "same");
        diag_note(&d, &(struct mark){.file = "a", .line = 2, .col = 1}, "note");
        diag_suggest(&d, "word");
    }
    assert_int_equal(d.errors, 1);
    assert_rendered(&d, "a:1:1: error: same; did you mean \"word\"?\na:2:1: note: note\n");
}

static void test_count_is_bounded(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    for (int i = 0; i < DIAG_MAX + 5; i++)
        diag_error(&d, &(struct mark){.file = "a", .line = (unsigned)i + 1, .col = 1}, "error %d",
                   i);
    assert_int_equal(d.errors, DIAG_MAX + 5);
    struct strbuf out AUTOBUF = STRBUF_INIT;
    diag_render(&d, DIAG_ERROR, false, &out);
    assert_non_null(strstr(out.buf, "5 more errors not shown\n"));
}

static void test_terminals_are_safe(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    add_source(&d, "a", "x\033[31mred\n");
    diag_error(&d, &(struct mark){.file = "a", .line = 1, .col = 1}, "bad \033[31m\nvalue");
    assert_rendered(&d, "a:1:1: error: bad ?[31m value\n"
                        "    1 | x?[31mred\n"
                        "      | ^~~~~~~~~\n");
}

static void test_json(void **state)
{
    (void)state;
    struct diag d AUTODIAG = DIAG_INIT;
    diag_error(&d, &(struct mark){.file = "a", .line = 1, .col = 2}, "wrong");
    diag_note(&d, &(struct mark){.file = "b", .line = 3, .col = 4}, "see");
    json_t *j AUTOJSON = diag_to_json(&d);
    json_t *first = json_array_get(j, 0);
    assert_string_equal(jstr(first, "level", ""), "error");
    assert_int_equal(jint(first, "column", 0), 2);
    json_t *note = json_array_get(json_object_get(first, "notes"), 0);
    assert_string_equal(jstr(note, "message", ""), "see");
}

static const char *nearest(const char *word, const char *a, const char *b)
{
    struct closest c = {.word = word};
    closest_try(&c, a);
    closest_try(&c, b);
    return c.best;
}

static void test_did_you_mean(void **state)
{
    (void)state;
    assert_string_equal(nearest("imgae", "build", "image"), "image");
    assert_string_equal(nearest("volums", "volume", "volumes"), "volume");
    assert_string_equal(nearest("Ports", "ports", "port"), "ports");
    assert_null(nearest("foo", "environment", "a"));
    assert_null(nearest("b", "a", "c")); /* too short to tell */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_line_and_caret),
        cmocka_unit_test(test_line_is_read_again),
        cmocka_unit_test(test_columns_are_characters_and_tabs_stay),
        cmocka_unit_test(test_order_notes_and_hints),
        cmocka_unit_test(test_repetitions_are_dropped_with_their_notes),
        cmocka_unit_test(test_count_is_bounded),
        cmocka_unit_test(test_terminals_are_safe),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_did_you_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
