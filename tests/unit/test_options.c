/* Command lines as a user types them: pflag's syntax and its errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/keys.h"
#include "cli/options.h"

static const struct option table[] = {
    OPT_BOOL("all", 'a', "All"),
    OPT_BOOL("color", 0, "Color", .fallback = "true"),
    OPT_LIST("env", 'e', "Variable"),
    OPT_INT("timeout", 't', "Seconds", .fallback = "10"),
    OPT_STR("name", 'n', "Name", .fallback = "nobody"),
    OPT_WORDS("cap", 0, "Capabilities"),
    OPTION_END,
};
static const struct option *const tables[] = {table, NULL};

enum { WORDS_MAX = 16 };

struct line {
    char *argv[WORDS_MAX];
    int argc;
    struct args args;
    struct err err;
    bool help;
    int rc;
};

static void parse(struct line *l, bool stop, const char *first, ...)
{
    *l = (struct line){0};
    va_list ap;
    va_start(ap, first);
    for (const char *w = first; w && l->argc < WORDS_MAX; w = va_arg(ap, const char *))
        l->argv[l->argc++] = (char *)w;
    va_end(ap);
    const struct option_rules rules = {.stop_at_argument = stop};
    l->rc = args_parse(&l->args, tables, rules, l->argc, l->argv, &l->help, &l->err);
}

static void done(struct line *l)
{
    args_release(&l->args);
    err_release(&l->err);
}

static void test_defaults(void **state)
{
    struct line l;
    (void)state;
    parse(&l, false, NULL);
    assert_int_equal(l.rc, 0);
    assert_false(args_bool(&l.args, "all"));
    assert_true(args_bool(&l.args, "color"));
    assert_int_equal(args_int(&l.args, "timeout"), 10);
    assert_string_equal(args_str(&l.args, "name"), "nobody");
    assert_null(args_list(&l.args, "env")[0]);
    assert_false(args_given(&l.args, "timeout"));
    done(&l);
}

static void test_long_and_short(void **state)
{
    struct line l;
    (void)state;
    parse(&l, false, "--timeout=5", "-aeA=1", "-e", "B", "--env", "C=3", "-n=x", "web",
          "--color=false", NULL);
    assert_int_equal(l.rc, 0);
    assert_int_equal(args_int(&l.args, "timeout"), 5);
    assert_true(args_bool(&l.args, "all"));
    assert_false(args_bool(&l.args, "color"));
    assert_string_equal(args_str(&l.args, "name"), "x");
    const char *const *env = args_list(&l.args, "env");
    assert_string_equal(env[0], "A=1");
    assert_string_equal(env[1], "B");
    assert_string_equal(env[2], "C=3");
    assert_null(env[3]);
    assert_int_equal(l.args.n, 1);
    assert_string_equal(l.args.positional[0], "web");
    done(&l);
    parse(&l, false, "-t30", "-t=40", NULL);
    assert_int_equal(args_int(&l.args, "timeout"), 40);
    done(&l);
}

static void test_words_are_split(void **state)
{
    struct line l;
    (void)state;
    parse(&l, false, "--cap", "A,B", "--cap=C", NULL);
    const char *const *cap = args_list(&l.args, "cap");
    assert_string_equal(cap[0], "A");
    assert_string_equal(cap[1], "B");
    assert_string_equal(cap[2], "C");
    assert_null(cap[3]);
    done(&l);
}

static void test_arguments_between_options(void **state)
{
    struct line l;
    (void)state;
    parse(&l, false, "web", "-a", "db", "--", "-t", NULL);
    assert_true(args_bool(&l.args, "all"));
    assert_int_equal(l.args.n, 3);
    assert_string_equal(l.args.positional[2], "-t");
    assert_int_equal(l.args.dash, 2);
    done(&l);
    /* exec and run: what follows the service is the command's. */
    parse(&l, true, "-a", "web", "sh", "-a", "--help", NULL);
    assert_int_equal(l.args.n, 4);
    assert_false(l.help);
    assert_string_equal(l.args.positional[3], "--help");
    done(&l);
    parse(&l, false, "-", NULL);
    assert_string_equal(l.args.positional[0], "-");
    done(&l);
}

static void test_errors(void **state)
{
    static const struct {
        const char *words[3];
        const char *message;
    } cases[] = {
        {{"--wings"}, "unknown flag: --wings"},
        {{"--wings=3"}, "unknown flag: --wings"},
        {{"-xa"}, "unknown shorthand flag: 'x' in -xa"},
        {{"-ax"}, "unknown shorthand flag: 'x' in -x"},
        {{"--timeout"}, "flag needs an argument: --timeout"},
        {{"-t"}, "flag needs an argument: 't' in -t"},
        {{"--timeout", "abc"},
         "invalid argument \"abc\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"abc\": "
         "invalid syntax"},
        {{"-a=maybe"},
         "invalid argument \"maybe\" for \"-a, --all\" flag: strconv.ParseBool: parsing \"maybe\": "
         "invalid syntax"},
        {{"--=x"}, "bad flag syntax: --=x"},
        {{"---a"}, "bad flag syntax: ---a"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct line l;
        parse(&l, false, cases[i].words[0], cases[i].words[1], cases[i].words[2], NULL);
        assert_int_equal(l.rc, -1);
        assert_string_equal(l.err.msg, cases[i].message);
        done(&l);
    }
}

static void test_help_anywhere(void **state)
{
    struct line l;
    (void)state;
    parse(&l, false, "web", "-h", "--wings", NULL);
    assert_int_equal(l.rc, 0);
    assert_true(l.help);
    done(&l);
}

static void test_numbers(void **state)
{
    int64_t n;
    bool b;
    (void)state;
    assert_true(parse_int("-1", &n) && n == -1);
    assert_true(parse_int("0x10", &n) && n == 16);
    assert_false(parse_int("", &n));
    assert_false(parse_int("1s", &n));
    assert_false(parse_int(" 1", &n));
    assert_false(parse_int("99999999999999999999", &n));
    assert_true(bool_parse("T", &b) && b);
    assert_true(bool_parse("FALSE", &b) && !b);
    assert_false(bool_parse("yes", &b));
}

/* The tables of all commands: sorted as help shows them, no name or letter twice. */
static void check_table(const char *command, const struct option *o)
{
    for (const struct option *a = o; a && a->name; a++) {
        if (a[1].name && strcmp(a->name, a[1].name) >= 0)
            fail_msg("%s: --%s comes before --%s", command, a->name, a[1].name);
        for (const struct option *b = a + 1; b->name; b++) {
            if (a->shorthand && a->shorthand == b->shorthand)
                fail_msg("%s: -%c stands for --%s and --%s", command, a->shorthand, a->name,
                         b->name);
        }
        if (!a->help || !*a->help)
            fail_msg("%s: --%s has no help", command, a->name);
    }
}

static void check_commands(const struct command *const *list)
{
    for (size_t i = 0; list[i]; i++) {
        const struct command *c = list[i];
        check_table(c->name, c->options);
        assert_non_null(c->summary);
        assert_non_null(c->usage);
        assert_true(c->run || c->subcommands);
        assert_ptr_equal(command_find(list, c->name), c);
        if (c->subcommands)
            check_commands(c->subcommands);
    }
}

static void test_tables(void **state)
{
    (void)state;
    check_table("compose", global_options);
    check_commands(commands);
    assert_null(command_find(commands, "fly"));
    assert_ptr_equal(command_find(commands, "convert"), &cmd_config);
}

static void test_detach_keys(void **state)
{
    struct keys k;
    struct err err AUTOERR = ERR_INIT;
    struct strbuf out AUTOBUF = STRBUF_INIT;
    (void)state;
    assert_int_equal(keys_parse(NULL, &k, &err), 0);
    assert_false(keys_feed(&k, "ab\x10", 3, &out)); /* ctrl-p is held back */
    assert_string_equal(out.buf, "ab");
    assert_false(keys_feed(&k, "c", 1, &out));
    assert_string_equal(out.buf, "ab\x10"
                                 "c");
    assert_false(keys_feed(&k, "\x10\x10", 2, &out));
    assert_true(keys_feed(&k, "\x11", 1, &out));

    assert_int_equal(keys_parse("a,ctrl-[", &k, &err), 0);
    assert_int_equal(k.n, 2);
    assert_int_equal(k.sequence[1], 27);
    assert_int_equal(keys_parse("ctrl-1", &k, &err), -1);
    assert_non_null(err.msg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_long_and_short),
        cmocka_unit_test(test_words_are_split), cmocka_unit_test(test_arguments_between_options),
        cmocka_unit_test(test_errors),          cmocka_unit_test(test_help_anywhere),
        cmocka_unit_test(test_numbers),         cmocka_unit_test(test_tables),
        cmocka_unit_test(test_detach_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
