/* model/changes.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/changes.h"

static void check(const char *before, const char *after, const char *wanted)
{
    json_t *a AUTOJSON = before ? json_loads(before, JSON_DECODE_ANY, NULL) : NULL;
    json_t *b AUTOJSON = after ? json_loads(after, JSON_DECODE_ANY, NULL) : NULL;
    json_t *list AUTOJSON = json_array();
    changes_add(list, NULL, a, b);
    char *text AUTOFREE = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, wanted);
}

static void test_scalars(void **state)
{
    (void)state;
    check("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", "[]");
    check("{\"a\":1}", "{\"a\":2}", "[{\"new\":2,\"old\":1,\"path\":[\"a\"]}]");
    check("{\"a\":{\"b\":\"x\"}}", "{\"a\":{}}", "[{\"old\":\"x\",\"path\":[\"a\",\"b\"]}]");
    check("{}", "{\"a\":{\"b\":true}}", "[{\"new\":true,\"path\":[\"a\",\"b\"]}]");
    check("{}", "{\"a\":{}}", "[{\"new\":{},\"path\":[\"a\"]}]");
    check("{\"a\":{\"b\":1}}", "{\"a\":\"s\"}",
          "[{\"new\":\"s\",\"old\":{\"b\":1},\"path\":[\"a\"]}]");
}

static void test_lists(void **state)
{
    (void)state;
    check("[\"sh\",\"-c\"]", "[\"sh\"]",
          "[{\"new\":[\"sh\"],\"old\":[\"sh\",\"-c\"],\"path\":[]}]");
    check("[{\"t\":1},{\"t\":2}]", "[{\"t\":1},{\"t\":3}]",
          "[{\"new\":3,\"old\":2,\"path\":[1,\"t\"]}]");
    check("[{\"t\":1},{\"t\":2}]", "[{\"t\":2}]", "[{\"old\":{\"t\":1},\"path\":[0]}]");
    check("[{\"t\":1}]", "[{\"t\":0},{\"t\":1}]", "[{\"new\":{\"t\":0},\"path\":[0]}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
