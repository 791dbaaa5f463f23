#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "image/reference.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* With "sha256:" as long as an image ID. */
#define HEX57 "0123456789abcdef0123456789abcdef0123456789abcdef012345678"

static void test_names(void **state)
{
    static const struct {
        const char *text, *name, *familiar;
    } cases[] = {
        {"nginx", "docker.io/library/nginx:latest", "nginx:latest"},
        {"nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25"},
        {"grafana/loki:3", "docker.io/grafana/loki:3", "grafana/loki:3"},
        {"docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
        {"index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest"},
        {"localhost/a", "localhost/a:latest", "localhost/a:latest"},
        {"localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x"},
        {"ghcr.io/x/y", "ghcr.io/x/y:latest", "ghcr.io/x/y:latest"},
        {"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"},
        {"Host/x", "Host/x:latest", "Host/x:latest"},
        {"a__b/c-d.e_f:V1.0-rc_2", "docker.io/a__b/c-d.e_f:V1.0-rc_2", "a__b/c-d.e_f:V1.0-rc_2"},
        {"a--b", "docker.io/library/a--b:latest", "a--b:latest"},
        {"library/sha256:" HEX57, "docker.io/library/sha256:" HEX57, "sha256:" HEX57},
        {"nginx@sha256:" HEX, "docker.io/library/nginx@sha256:" HEX, "nginx@sha256:" HEX},
        {"nginx:1@sha256:" HEX, "docker.io/library/nginx@sha256:" HEX, "nginx@sha256:" HEX},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        struct err err AUTOERR = ERR_INIT;
        assert_int_equal(reference_parse(cases[i].text, &ref, &err), 0);
        char *name AUTOFREE = reference_name(&ref);
        char *familiar AUTOFREE = reference_familiar(&ref);
        assert_string_equal(name, cases[i].name);
        assert_string_equal(familiar, cases[i].familiar);
        /* Both forms mean the same again. */
        struct reference again AUTOREFERENCE = REFERENCE_INIT;
        assert_int_equal(reference_parse(familiar, &again, &err), 0);
        char *name_again AUTOFREE = reference_name(&again);
        assert_string_equal(name_again, cases[i].name);
    }
}

static void test_parts(void **state)
{
    (void)state;
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    assert_int_equal(reference_parse("reg.example:443/a/b:t@sha256:" HEX, &ref, NULL), 0);
    assert_string_equal(ref.registry, "reg.example:443");
    assert_string_equal(ref.repository, "a/b");
    assert_string_equal(ref.tag, "t");
    assert_string_equal(ref.digest, "sha256:" HEX);
}

static void test_invalid(void **state)
{
    static const char *const cases[] = {
        "",
        "Nginx",
        "a/B",
        "a//b",
        "/a",
        "a/",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a:",
        "a:-x",
        "a:.x",
        "a b",
        "a:b c",
        "a@",
        "a@sha256:12",
        "a@md5:" HEX,
        HEX,
        "http://x/y",
        "x:y:z",
        "host:port/x",
        "host:123456/x",
        "-h.io/x",
        "h-.io/x",
        "h..io/x",
        "a@sha256:" HEX "0",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct reference ref AUTOREFERENCE = REFERENCE_INIT;
        struct err err AUTOERR = ERR_INIT;
        if (reference_parse(cases[i], &ref, &err) == 0)
            fail_msg("\"%s\" was taken", cases[i]);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_null(ref.repository);
    }
}

static void test_says_why(void **state)
{
    (void)state;
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(reference_parse("My/App:1", &ref, &err), -1);
    assert_non_null(strstr(err.msg, "\"My/App:1\""));
    assert_int_equal(reference_parse("me/App:1", &ref, &err), -1);
    assert_string_equal(err.msg,
                        "invalid image name \"me/App:1\": the repository name must be lower case");
}

static void test_limits(void **state)
{
    (void)state;
    struct strbuf name AUTOBUF = STRBUF_INIT;
    while (name.len < 245)
        strbuf_addstr(&name, "a");
    struct reference ref AUTOREFERENCE = REFERENCE_INIT;
    /* "docker.io/library/" + 245 > 255 */
    assert_int_equal(reference_parse(name.buf, &ref, NULL), -1);
    strbuf_setlen(&name, 237);
    assert_int_equal(reference_parse(name.buf, &ref, NULL), 0);
    reference_release(&ref);
    strbuf_setlen(&name, 0);
    strbuf_addstr(&name, "a:");
    for (int i = 0; i < 128; i++)
        strbuf_addch(&name, 't');
    assert_int_equal(reference_parse(name.buf, &ref, NULL), 0);
    reference_release(&ref);
    strbuf_addch(&name, 't');
    assert_int_equal(reference_parse(name.buf, &ref, NULL), -1);
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(reference_is_id("a"));
    assert_true(reference_is_id("sha256:" HEX));
    assert_true(reference_is_id(HEX));
    assert_false(reference_is_id(HEX "0"));
    assert_false(reference_is_id(""));
    assert_false(reference_is_id("xyz"));
    assert_false(reference_is_id("ABC"));
    assert_true(digest_valid("sha256:" HEX));
    assert_false(digest_valid(HEX));
    assert_false(digest_valid("sha256:" HEX "0"));
    assert_false(digest_valid("sha512:" HEX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_parts),
        cmocka_unit_test(test_invalid), cmocka_unit_test(test_says_why),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
