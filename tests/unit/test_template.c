/* file/template: variable references. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "file/template.h"

static const char *lookup(void *ctx, const char *name)
{
    (void)ctx;
    return streq(name, "SET") ? "value" : streq(name, "EMPTY") ? "" : NULL;
}

static void count_unset(void *ctx, const char *name)
{
    (void)name;
    ++*(int *)ctx;
}

static void test_operators(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
        int unset;
    } cases[] = {
        {"plain", "plain", 0},
        {"$SET ${SET}", "value value", 0},
        {"$NOPE-$EMPTY.", "-.", 1},
        {"$$SET $${SET} $$$$", "$SET ${SET} $$", 0},
        {"$ $1 $- $( a$", "$ $1 $- $( a$", 0},
        {"${NOPE:-d} ${EMPTY:-d} ${SET:-d}", "d d value", 0},
        {"${NOPE-d} ${EMPTY-d} ${SET-d}", "d  value", 0},
        {"${NOPE:+r} ${EMPTY:+r} ${SET:+r}", "  r", 0},
        {"${NOPE+r} ${EMPTY+r} ${SET+r}", " r r", 0},
        {"${SET:?e}${SET?e}${EMPTY?e}", "valuevalue", 0},
        {"${NOPE:-${SET}}", "value", 0},
        {"${NOPE:-${NOPE2:-deep}}-${NOPE3-x}", "deep-x", 0},
        {"${NOPE:-{\"a\":1}}", "{\"a\":1}", 0},
        {"${NOPE:-a:b-c}", "a:b-c", 0},
        {"${SET:-$NOPE}", "value", 0}, /* not used: not worth a word */
        {"${NOPE:-$NOPE2}", "", 1},
        {"${SET}}", "value}", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct arena *a = arena_new();
        int unset = 0;
        struct template_vars vars = {.lookup = lookup, .unset = count_unset, .ctx = &unset};
        struct template_error e;
        const char *out;
        if (template_substitute(a, cases[i].in, &vars, &out, &e))
            fail_msg("%s fails", cases[i].in);
        assert_string_equal(out, cases[i].want);
        if (unset != cases[i].unset)
            fail_msg("%s: %d unset", cases[i].in, unset);
        arena_free(a);
    }
}

static void assert_fault(const char *in, enum template_fault fault, const char *what,
                         const char *reason)
{
    struct arena *a = arena_new();
    struct template_vars vars = {.lookup = lookup};
    struct template_error e;
    const char *out;
    assert_int_equal(template_substitute(a, in, &vars, &out, &e), -1);
    assert_int_equal(e.fault, fault);
    if (what)
        assert_string_equal(e.what, what);
    if (reason)
        assert_string_equal(e.reason, reason);
    arena_free(a);
}

static void test_faults(void **state)
{
    (void)state;
    assert_fault("a ${}", TEMPLATE_INVALID, "${}", NULL);
    assert_fault("${SET", TEMPLATE_INVALID, "${SET", NULL);
    assert_fault("${1A}", TEMPLATE_INVALID, "${1A}", NULL);
    assert_fault("${SET:x}", TEMPLATE_INVALID, "${SET:x}", NULL);
    assert_fault("${NOPE:-a\nb}", TEMPLATE_INVALID, NULL, NULL); /* not over a line's end */
    assert_fault("${NOPE?}", TEMPLATE_REQUIRED, "NOPE", "");
    assert_fault("${EMPTY:?set ${SET}}", TEMPLATE_REQUIRED, "EMPTY", "set value");
    assert_fault("${SET:-${NOPE:?x}}", TEMPLATE_REQUIRED, "NOPE", "x"); /* as the reference */
}

static void test_hostile_nesting_is_bounded(void **state)
{
    (void)state;
    struct strbuf deep AUTOBUF = STRBUF_INIT, wide AUTOBUF = STRBUF_INIT;
    for (int i = 0; i < 5000; i++)
        strbuf_addstr(&deep, "${NOPE:-");
    for (int i = 0; i < 5000; i++)
        strbuf_addch(&deep, '}');
    assert_fault(deep.buf, TEMPLATE_TOO_DEEP, NULL, NULL);
    for (int i = 0; i < 1000000; i++)
        strbuf_addstr(&wide, "$SET$SET");
    assert_fault(wide.buf, TEMPLATE_TOO_LONG, NULL, NULL);
}

static void collect(void *ctx, const struct template_variable *v)
{
    strbuf_addf(ctx, "%s(%s|%s|%d) ", v->name, v->value, v->alternative, v->required);
}

static void test_variables_are_listed(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    struct strbuf out AUTOBUF = STRBUF_INIT;
    template_variables(a, "$A ${B:-b${C}} ${D:+e} ${F?g} $$H ${", collect, &out);
    assert_string_equal(out.buf, "A(||0) B(b${C}||0) C(||0) D(|e|0) F(||1) ");
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_hostile_nesting_is_bounded),
        cmocka_unit_test(test_variables_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
