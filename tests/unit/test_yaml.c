/* file/yaml, file/scalar: what YAML text means, where it stands, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "file/scalar.h"
#include "file/yaml.h"

struct fixture {
    struct arena *arena;
    struct diag diag;
    struct yaml_stream stream;
};

static struct fixture parse_n(const char *text, size_t len, int want)
{
    struct fixture f = {.arena = arena_new(), .diag = DIAG_INIT};
    int rc = yaml_parse(f.arena, "f.yaml", text, len, NULL, &f.stream, &f.diag);
    assert_int_equal(rc, want);
    return f;
}

static struct fixture parse(const char *text, int want)
{
    return parse_n(text, strlen(text), want);
}

static const struct node *root(const struct fixture *f)
{
    assert_true(f->stream.n > 0);
    return f->stream.docs[0].root;
}

static void release(struct fixture *f)
{
    diag_release(&f->diag);
    arena_free(f->arena);
}

static void assert_error(const char *text, int rc, const char *want)
{
    struct fixture f = parse(text, rc);
    char *first AUTOFREE = diag_first_error(&f.diag);
    assert_non_null(first);
    assert_string_equal(first, want);
    release(&f);
}

static void test_scalars_follow_the_core_schema(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum node_kind kind;
    } cases[] = {
        {"yes", NODE_STRING},
        {"on", NODE_STRING},
        {"y", NODE_STRING},
        {"true", NODE_BOOL},
        {"False", NODE_BOOL},
        {"tRUE", NODE_STRING},
        {"~", NODE_NULL},
        {"null", NODE_NULL},
        {"NULL", NODE_NULL},
        {"nULL", NODE_STRING},
        {"0o17", NODE_INT},
        {"0777", NODE_INT},
        {"0x1F", NODE_INT},
        {"0b11", NODE_INT},
        {"1_000", NODE_INT},
        {"08", NODE_FLOAT},
        {"0o8", NODE_STRING},
        {"-12", NODE_INT},
        {"+5", NODE_INT},
        {"1.5", NODE_FLOAT},
        {".5", NODE_FLOAT},
        {"1e3", NODE_FLOAT},
        {"1e400", NODE_STRING},
        {".inf", NODE_FLOAT},
        {"-", NODE_STRING},
        {"1.2.3", NODE_STRING},
        {"80:80", NODE_STRING},
        {"12:30", NODE_STRING},
        {"18446744073709551615", NODE_FLOAT},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[64];
        snprintf(text, sizeof(text), "v: %s\n", cases[i].text);
        if (streq(cases[i].text, "-"))
            strcpy(text, "v: '-'\n");
        struct fixture f = parse(text, 0);
        const struct node *v = node_get(root(&f), "v");
        if (v->kind != cases[i].kind)
            fail_msg("%s is a %s", cases[i].text, node_kind_name(v));
        release(&f);
    }
}

static void test_numbers_have_the_values_of_go_yaml(void **state)
{
    (void)state;
    struct fixture f = parse("{a: 0777, b: 0x1F, c: 0b11, d: 1_000, e: 08, f: -0o17}", 0);
    assert_int_equal(node_get(root(&f), "a")->integer, 511);
    assert_int_equal(node_get(root(&f), "b")->integer, 31);
    assert_int_equal(node_get(root(&f), "c")->integer, 3);
    assert_int_equal(node_get(root(&f), "d")->integer, 1000);
    assert_true(node_get(root(&f), "e")->number == 8);
    assert_int_equal(node_get(root(&f), "f")->integer, -15);
    release(&f);
}

static void test_numbers_print_as_go_prints_them(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"1.50", "1.5"},
        {"1e6", "1e+06"},
        {"100000.0", "100000"},
        {"1e30", "1e+30"},
        {"0.00001", "1e-05"},
        {"0.0001", "0.0001"},
        {"123456789.0", "1.23456789e+08"},
        {"2.0", "2"},
        {"-0.0", "-0"},
        {"18446744073709551615", "18446744073709551615"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[64];
        snprintf(text, sizeof(text), "v: %s\n", cases[i].text);
        struct fixture f = parse(text, 0);
        assert_string_equal(node_text(f.arena, node_get(root(&f), "v")), cases[i].want);
        release(&f);
    }
}

static void test_dates_are_no_strings(void **state)
{
    (void)state;
    struct fixture f = parse(
        "[2024-02-29, 2023-02-29, 2024-1-1, 2024-01-01 10:00:00, '2024-01-01', "
        "2024-13-01]",
        0);
    const bool want[] = {true, false, true, true, false, false};
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_int_equal(root(&f)->items[i]->tag == TAG_TIMESTAMP, want[i]);
    release(&f);
}

static void test_explicit_tags(void **state)
{
    (void)state;
    struct fixture f = parse("{a: !!str 1, b: !!int \"3\", c: !!float 3, d: !mine 5, "
                             "e: !!binary aGVsbG8=}",
                             0);
    assert_string_equal(node_get_str(root(&f), "a"), "1");
    assert_int_equal(node_get(root(&f), "b")->integer, 3);
    assert_true(node_get(root(&f), "c")->number == 3);
    assert_string_equal(node_get_str(root(&f), "d"), "5");
    assert_string_equal(node_get_str(root(&f), "e"), "hello");
    release(&f);
    assert_error("a: !!bool \"yes\"\n", 0, "f.yaml:1:4: error: \"yes\" is no bool");
}

static void test_every_node_knows_its_place(void **state)
{
    (void)state;
    struct fixture f = parse("a:\n  b: [x, \xc3\xa9\xc3\xa9, z]\n  \"c\": |\n    text\n", 0);
    const struct node *b = node_get(node_get(root(&f), "a"), "b");
    assert_int_equal(b->mark.line, 2);
    assert_int_equal(b->mark.col, 6);
    assert_int_equal(b->items[2]->mark.col, 14); /* characters, not bytes */
    assert_string_equal(b->mark.file, "f.yaml");
    assert_int_equal(node_pair(node_get(root(&f), "a"), "c")->key_mark.line, 3);
    release(&f);
}

static void test_merge_keys(void **state)
{
    (void)state;
    struct fixture f = parse("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\n"
                             "c: {<<: [*a, *b], x: 3}\nd: {<<: *b}\ne: {\"<<\": k}\n",
                             0);
    const struct node *c = node_get(root(&f), "c");
    assert_int_equal(node_get(c, "x")->integer, 3); /* own keys win */
    assert_int_equal(node_get(c, "y")->integer, 1); /* then the first of the list */
    assert_int_equal(node_get(c, "z")->integer, 2);
    assert_null(node_get(c, "<<"));
    assert_int_equal(node_get(node_get(root(&f), "d"), "y")->integer, 2);
    assert_string_equal(node_get_str(node_get(root(&f), "e"), "<<"), "k"); /* quoted: a key */
    release(&f);
    assert_error("a: {<<: null}\n", 0,
                 "f.yaml:1:9: error: \"<<\" merges a mapping or a list of mappings, not null");
}

static void test_aliases_are_copies(void **state)
{
    (void)state;
    struct fixture f = parse("a: &a {x: 1}\nb: *a\n", 0);
    assert_ptr_not_equal(node_get(root(&f), "a"), node_get(root(&f), "b"));
    assert_true(node_equal(node_get(root(&f), "a"), node_get(root(&f), "b")));
    release(&f);
}

static void test_resets_are_recorded_and_removed(void **state)
{
    (void)state;
    struct fixture f = parse("a: {b: !reset x, c: !override [1]}\nd: [!reset 1, 2]\n", 0);
    const struct yaml_document *doc = &f.stream.docs[0];
    assert_null(node_get(node_get(doc->root, "a"), "b"));
    assert_int_equal(node_get(node_get(doc->root, "a"), "c")->count, 1);
    assert_int_equal(node_get(doc->root, "d")->count, 1);
    assert_int_equal(doc->resets_n, 2);
    assert_int_equal(doc->resets[0].n, 2);
    assert_string_equal(doc->resets[0].keys[0], "a");
    assert_string_equal(doc->resets[0].keys[1], "b");
    assert_string_equal(doc->resets[1].keys[1], "c");
    release(&f);
}

static void test_documents_of_a_stream(void **state)
{
    (void)state;
    struct fixture f = parse("a: 1\n---\nb: 2\n---\n", 0);
    assert_int_equal(f.stream.n, 3);
    assert_int_equal(f.stream.docs[2].root->kind, NODE_NULL);
    release(&f);
    f = parse("", 0);
    assert_int_equal(f.stream.n, 0);
    release(&f);
    f = parse("\xef\xbb\xbf"
              "a: 1\r\nb: 2\r\n",
              0);
    assert_int_equal(node_get(root(&f), "b")->integer, 2);
    release(&f);
}

static void test_bad_syntax_has_a_place(void **state)
{
    (void)state;
    assert_error("a: b\n\tc: d\n", -1,
                 "f.yaml:2:1: error: a tab cannot indent in YAML: use spaces");
    assert_error("a: é\n\tc: d\n", -1,
                 "f.yaml:2:1: error: a tab cannot indent in YAML: use spaces");
    assert_error("a: [b\nc: d\n", -1,
                 "f.yaml:2:2: error: YAML syntax: did not find expected ',' or ']'");
    assert_error("services: [\n", -1,
                 "f.yaml:1:11: error: YAML syntax: the list that begins here is not closed");
    assert_error("\xef\xbb\xbf"
                 "é: [[a], {b: c, d\n\n",
                 -1, "f.yaml:1:10: error: YAML syntax: the mapping that begins here is not closed");
    assert_error("a: {b: [c]", -1,
                 "f.yaml:1:4: error: YAML syntax: the mapping that begins here is not closed");
    assert_error("a: b\nc: 'd\n  e\n", -1,
                 "f.yaml:2:4: error: YAML syntax: the quoted text that begins here is not closed");
    assert_error("a: *x\n", -1, "f.yaml:1:4: error: unknown anchor \"x\"");
    assert_error("a: \"\xff\"\n", -1,
                 "f.yaml:1:5: error: invalid UTF-8: invalid leading UTF-8 octet");
    assert_error("a: 1\na: 2\n", 0, "f.yaml:2:1: error: key \"a\" is already defined");
    assert_error("1: 2\n", 0,
                 "f.yaml:1:1: error: a key must be a string, not an integer: put it in quotes");
    assert_error("? [a]\n: b\n", 0, "f.yaml:1:3: error: a key must be a string, not a list");
    assert_error("a: \"\\0\"\n", 0, "f.yaml:1:4: error: NUL character in a string");
    struct fixture f = parse_n("a: \0b\n", 6, -1);
    char *first AUTOFREE = diag_first_error(&f.diag);
    assert_string_equal(first, "f.yaml:1:4: error: NUL byte: this is no text file");
    release(&f);
}

static void test_duplicate_keys_name_both_places(void **state)
{
    (void)state;
    struct fixture f = parse("a:\n  k: 1\n  l: 2\n  k: 3\n", 0);
    struct strbuf out AUTOBUF = STRBUF_INIT;
    diag_render(&f.diag, DIAG_ERROR, false, &out);
    assert_string_equal(out.buf, "f.yaml:4:3: error: key \"k\" is already defined\n"
                                 "f.yaml:2:3: note: first defined here\n");
    assert_int_equal(node_get(node_get(root(&f), "a"), "k")->integer, 1);
    release(&f);
}

static void test_alias_bombs_are_refused(void **state)
{
    (void)state;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    strbuf_addstr(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 10; i++) {
        strbuf_addf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            strbuf_addf(&text, "*a%d, ", i - 1);
        strbuf_addstr(&text, "]\n");
    }
    struct fixture f = parse(text.buf, -1);
    char *first AUTOFREE = diag_first_error(&f.diag);
    assert_non_null(strstr(first, "aliases expand to more than 1000000 nodes"));
    release(&f);
    assert_error("a: &a {b: *a}\n", -1, "f.yaml:1:11: error: anchor \"a\" contains itself");
}

static void test_depth_is_bounded_also_through_aliases(void **state)
{
    (void)state;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    for (int i = 0; i < 5000; i++)
        strbuf_addch(&text, '[');
    struct fixture f = parse(text.buf, -1);
    release(&f);
    strbuf_setlen(&text, 0);
    for (int i = 0; i < 3; i++) {
        strbuf_addf(&text, "x%d: &x%d ", i, i);
        for (int k = 0; k < 100; k++)
            strbuf_addch(&text, '[');
        if (i)
            strbuf_addf(&text, "*x%d ", i - 1);
        for (int k = 0; k < 100; k++)
            strbuf_addch(&text, ']');
        strbuf_addch(&text, '\n');
    }
    f = parse(text.buf, -1);
    char *first AUTOFREE = diag_first_error(&f.diag);
    assert_non_null(strstr(first, "nested deeper than 200 levels"));
    release(&f);
}

static void test_large_mappings_are_found_by_key(void **state)
{
    (void)state;
    struct strbuf text AUTOBUF = STRBUF_INIT;
    for (int i = 0; i < 1000; i++)
        strbuf_addf(&text, "key%d: %d\n", i, i);
    struct fixture f = parse(text.buf, 0);
    struct node *map = (struct node *)root(&f);
    assert_int_equal(node_get(map, "key777")->integer, 777);
    assert_true(node_del(map, "key5"));
    assert_null(node_get(map, "key5"));
    assert_int_equal(node_get(map, "key999")->integer, 999);
    node_put(f.arena, map, "new", node_new_int(f.arena, 1, (struct mark){0}));
    assert_int_equal(node_get(map, "new")->integer, 1);
    node_sort(map);
    assert_string_equal(map->pairs[0].key, "key0");
    assert_int_equal(node_get(map, "key42")->integer, 42);
    release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars_follow_the_core_schema),
        cmocka_unit_test(test_numbers_have_the_values_of_go_yaml),
        cmocka_unit_test(test_numbers_print_as_go_prints_them),
        cmocka_unit_test(test_dates_are_no_strings),
        cmocka_unit_test(test_explicit_tags),
        cmocka_unit_test(test_every_node_knows_its_place),
        cmocka_unit_test(test_merge_keys),
        cmocka_unit_test(test_aliases_are_copies),
        cmocka_unit_test(test_resets_are_recorded_and_removed),
        cmocka_unit_test(test_documents_of_a_stream),
        cmocka_unit_test(test_bad_syntax_has_a_place),
        cmocka_unit_test(test_duplicate_keys_name_both_places),
        cmocka_unit_test(test_alias_bombs_are_refused),
        cmocka_unit_test(test_depth_is_bounded_also_through_aliases),
        cmocka_unit_test(test_large_mappings_are_found_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
