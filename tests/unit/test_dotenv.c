/* file/dotenv: .env files. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "file/dotenv.h"

struct fixture {
    struct pass pass;
    struct diag diag;
    struct env shell, vars;
    struct unset_seen seen;
    int rc;
};

static void parse_n(struct fixture *f, const char *text, size_t len)
{
    *f = (struct fixture){.diag = DIAG_INIT};
    f->pass = (struct pass){.arena = arena_new(), .diag = &f->diag};
    env_set(f->pass.arena, &f->shell, "SHELL_VAR", "from shell", (struct mark){0});
    f->rc = dotenv_parse(&f->pass, ".env", text, len, &f->shell, NULL, &f->vars, &f->seen);
}

static void parse(struct fixture *f, const char *text)
{
    parse_n(f, text, strlen(text));
}

static void release(struct fixture *f)
{
    env_release(&f->shell);
    env_release(&f->vars);
    unset_seen_release(&f->seen);
    diag_release(&f->diag);
    arena_free(f->pass.arena);
}

static void assert_value(const char *text, const char *name, const char *want)
{
    struct fixture f;
    parse(&f, text);
    assert_int_equal(f.rc, 0);
    const char *got = env_get(&f.vars, name);
    if (want)
        assert_string_equal(got, want);
    else
        assert_null(got);
    release(&f);
}

static void assert_error(const char *text, const char *want)
{
    struct fixture f;
    parse(&f, text);
    assert_int_equal(f.rc, -1);
    char *first AUTOFREE = diag_first_error(&f.diag);
    assert_string_equal(first, want);
    release(&f);
}

static void test_values(void **state)
{
    (void)state;
    assert_value("A=b\n", "A", "b");
    assert_value("A=b", "A", "b");
    assert_value("  export   A = b c  \r\n", "A", "b c");
    assert_value("A: yaml style\n", "A", "yaml style");
    assert_value("A=\nB=1\n", "A", "");
    assert_value("# comment\n\nA=b # comment\n", "A", "b");
    assert_value("A=b#c\n", "A", "b#c");
    assert_value("A=1\nA=2\n", "A", "2");
    assert_value("\xef\xbb\xbf"
                 "A=b\n",
                 "A", "b");
    assert_value("A.b-c[0]=x\n", "A.b-c[0]", "x");
}

static void test_quotes_and_escapes(void **state)
{
    (void)state;
    assert_value("A='$SHELL_VAR \\n'\n", "A", "$SHELL_VAR \\n");
    assert_value("A='it\\'s'\n", "A", "it's");
    assert_value("A=\"a\\nb\\t\\\"c\\\" \\\\ \\x\"\n", "A", "a\nb\t\"c\" \\ \\x");
    assert_value("A=\"line 1\nline 2\" # end\nB=2\n", "A", "line 1\nline 2");
    assert_value("A=\"line 1\nline 2\" # end\nB=2\n", "B", "2");
    assert_value("A=\"\\$SHELL_VAR\"\n", "A", "$SHELL_VAR");
    assert_value("A=\"\\0101\"\n", "A", "A");
    assert_value("A=\"\\041 \\0 \\0489\"\n", "A", "\\41 \\ \\489");
}

static void test_references(void **state)
{
    (void)state;
    assert_value("A=1\nB=${A}2\nC=\"$B-3\"\n", "C", "12-3");
    assert_value("A=$SHELL_VAR\n", "A", "from shell");
    assert_value("SHELL_VAR=mine\nA=$SHELL_VAR\n", "A", "from shell"); /* the shell wins */
    assert_value("A=${NOPE:-d}\n", "A", "d");
    assert_value("SHELL_VAR\n", "SHELL_VAR", "from shell");
    assert_value("SHELL_VAR", "SHELL_VAR", "from shell");
    assert_value("NOPE\nA=1\n", "NOPE", NULL);
}

static void test_errors_have_a_line(void **state)
{
    (void)state;
    assert_error("A=1\n\nB C=2\n", ".env:3:1: error: variable name \"B C\" contains a space");
    assert_error("A=1\nB='x\ny\n", ".env:2:1: error: quoted value is not closed: 'x");
    assert_error("A=1\nB(=2\n",
                 ".env:2:2: error: unexpected character \"(\" in variable name \"B(=2\"");
    assert_error("A=${X:?gone}\n", ".env:1:1: error: required variable X is missing a value: gone");
    struct fixture f;
    parse_n(&f, "A=\0\n", 4);
    assert_int_equal(f.rc, -1);
    release(&f);
}

static void test_missing_and_special_files(void **state)
{
    (void)state;
    struct fixture f;
    parse(&f, "");
    assert_int_equal(dotenv_load(&f.pass, "/dev/null", "null", NULL, NULL, NULL, &f.vars, &f.seen),
                     0);
    assert_int_equal(dotenv_load(&f.pass, "/dev/zero", "zero", NULL, NULL, NULL, &f.vars, &f.seen),
                     -1);
    assert_int_equal(dotenv_load(&f.pass, "/", "root", NULL, NULL, NULL, &f.vars, &f.seen), -1);
    release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_quotes_and_escapes),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_errors_have_a_line),
        cmocka_unit_test(test_missing_and_special_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
