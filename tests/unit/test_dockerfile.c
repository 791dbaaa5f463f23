#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/dockerfile.h"
#include "image/module/lint.h"
#include "image/module/words.h"

/* The bases as "name[ platform]" joined by ", ". */
static char *bases_of(const char *text, const char *const *args)
{
    base_images bases;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    dockerfile_bases(text, args, &bases);
    vec_foreach (&bases, b)
        strbuf_addf(&out, "%s%s%s%s", out.len ? ", " : "", b->name, b->platform ? " " : "",
                    b->platform ? b->platform : "");
    base_images_release(&bases);
    return strbuf_detach(&out);
}

static void test_bases(void **state)
{
    static const struct {
        const char *text, *bases;
    } cases[] = {
        {"FROM debian:12\nRUN x\n", "debian:12"},
        {"from debian\n", "debian"},
        {"FROM scratch\nCOPY a /\n", ""},
        {"# syntax=docker/dockerfile:1\n\nFROM a AS build\nFROM b\nCOPY --from=build /x /x\n",
         "a, b"},
        {"FROM a AS Build\nFROM build\nCOPY --from=0 / /\nCOPY --from=c --chown=1 / /\n", "a, c"},
        {"ARG V=12\nFROM debian:${V}\n", "debian:12"},
        {"ARG V\nFROM debian:${V:-11}\n", "debian:11"},
        {"ARG R=reg.example/\nARG V=1\nFROM ${R}x:$V\n", "reg.example/x:1"},
        {"ARG A=1\nARG B=${A}2\nFROM x:$B\n", "x:12"},
        {"ARG D=1\nFROM x${D:+-debug}\n", "x-debug"},
        {"FROM --platform=$BUILDPLATFORM go AS b\nFROM alpine\n", "go linux/test, alpine"},
        {"FROM \\\n  # between\n  debian \\\n\n  AS x\n", "debian"},
        {"FROM a\nARG X=1\nFROM b:$X\n", "a, b:"}, /* the ARG of a stage is not seen by FROM */
        {"FROM a\nRUN <<EOF\nFROM evil\nEOF\nFROM b\n", "a, b"},
        {"FROM a\nCOPY <<-\"X\" <<Y /d\nFROM e1\n\tX\nFROM e2\nY\nFROM b\n", "a, b"},
        {"FROM a\nRUN --mount=type=bind,from=tools,source=/ --mount=type=cache,target=/c make\n",
         "a, tools"},
        {"FROM a\nRUN echo --from=evil\n", "a"},
        {"# escape=`\nFROM `\n  win\n", "win"},
        {"FROM \"quoted\"\r\n", "quoted"},
        {"FROM a\nFROM a\n", "a"},
        {"", ""},
        {"FROM", ""},
    };
    const char *args[] = {"BUILDPLATFORM=linux/test", NULL};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *bases AUTOFREE = bases_of(cases[i].text, args);
        assert_string_equal(bases, cases[i].bases);
    }
}

static void test_build_args_win(void **state)
{
    const char *args[] = {"V=13", "OTHER=x", NULL};
    (void)state;
    char *bases AUTOFREE = bases_of("ARG V=12\nFROM debian:$V\n", args);
    assert_string_equal(bases, "debian:13");
}

static void test_from_scratch(void **state)
{
    static const struct {
        const char *text, *target;
        bool yes;
    } cases[] = {
        {"FROM scratch\n", NULL, true},
        {"FROM debian\n", NULL, false},
        {"FROM debian AS b\nFROM scratch\nCOPY --from=b / /\n", NULL, true},
        {"FROM scratch AS A\nFROM a AS b\nFROM B\n", NULL, true},
        {"FROM scratch AS a\nFROM debian\n", "A", true},
        {"FROM scratch\nFROM debian\n", "0", true},
        {"FROM debian AS scratched\nFROM scratched\n", NULL, false},
        {"ARG B=scratch\nFROM $B\n", NULL, true},
        {"FROM\n", NULL, false},
        {"", "x", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(dockerfile_from_scratch(cases[i].text, NULL, cases[i].target),
                         cases[i].yes);
}

static const char *value_of(void *ctx, const char *name)
{
    (void)ctx;
    return streq(name, "A") ? "a" : streq(name, "EMPTY") ? "" : NULL;
}

static void test_words(void **state)
{
    static const struct {
        const char *word, *value;
    } cases[] = {
        {"$A", "a"},
        {"x${A}y$NO", "xay"},
        {"${NO:-d}${EMPTY:-e}${EMPTY-f}${NO-g}", "deg"},
        {"${A:+y}${NO:+n}${EMPTY:+n}${EMPTY+y}", "yy"},
        {"${NO:-${NO:-$A}}", "a"},
        {"${NO:-\"}\"}", "}"},
        {"'$A'\"$A'\"", "$Aa'"},
        {"\\$A \"\\$A\\x\"", "$A $A\\x"},
        {"${A%b}", "a"},
        {"$ $. ${", "$ $. "},
        {"${A", "a"},
        {"$1", ""},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *value AUTOFREE = word_expand(cases[i].word, '\\', true, value_of, NULL);
        assert_string_equal(value, cases[i].value);
    }
    char *plain AUTOFREE = word_expand("'$A' \"", '\\', false, value_of, NULL);
    assert_string_equal(plain, "'a' \"");
}

static void count(void *ctx, const char *rule, const char *message, size_t line)
{
    (void)rule, (void)message, (void)line;
    ++*(size_t *)ctx;
}

/* Blanks of all kinds are an empty line. */
static void test_lint_of_blanks(void **state)
{
    const struct lint_source source = {.text = "FROM scratch\n\v\n \f\r\n\v \\\nLABEL a=b"};
    size_t warnings = 0;
    (void)state;
    dockerfile_lint(&source, count, &warnings);
    assert_int_equal(warnings, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bases), cmocka_unit_test(test_build_args_win),
        cmocka_unit_test(test_from_scratch), cmocka_unit_test(test_words),
        cmocka_unit_test(test_lint_of_blanks)};
    return cmocka_run_group_tests_name("dockerfile", tests, NULL, NULL);
}
