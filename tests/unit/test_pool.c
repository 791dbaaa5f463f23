/* net/addr, net/pool: addresses, subnets, and which one the next network gets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "net/addr.h"
#include "net/pool.h"

static struct ip_net net_of(const char *text)
{
    struct ip_net n;
    assert_true(ip_net_parse(text, &n));
    return n;
}

static struct ip_addr addr_of(const char *text)
{
    struct ip_addr a;
    assert_true(ip_parse(text, &a));
    return a;
}

static void test_addresses_are_parsed_whole_or_not(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         "1.2.3", "1.2.3.4.5", "1.2.3.256",
                                      "1.2.3.4 ", "::g",   "localhost"};
    static const char *const bad_nets[] = {"10.0.0.0",    "10.0.0.0/",    "10.0.0.0/33",
                                           "10.0.0.0/-1", "10.0.0.0/8x",  "fd00::/129",
                                           "/8",          "10.0.0.0/0008"};
    struct ip_addr a;
    struct ip_net n;
    char text[IP_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(ip_parse(bad[i], &a));
    for (size_t i = 0; i < ARRAY_SIZE(bad_nets); i++)
        assert_false(ip_net_parse(bad_nets[i], &n));
    n = net_of("fd00:0::5/64");
    assert_string_equal(ip_net_format(&n, text), "fd00::5/64");
    n = net_of("255.255.255.255/32");
    assert_string_equal(ip_net_format(&n, text), "255.255.255.255/32");
}

static void test_subnet_arithmetic(void **state)
{
    (void)state;
    char text[IP_TEXT_MAX];
    struct ip_net n = net_of("10.1.2.3/22");
    struct ip_net masked = ip_net_masked(&n);
    assert_string_equal(ip_net_format(&masked, text), "10.1.0.0/22");
    struct ip_addr last = ip_net_last(&masked);
    assert_string_equal(ip_format(&last, text), "10.1.3.255");
    struct ip_addr a = addr_of("10.1.3.9"), b = addr_of("10.1.4.0"), six = addr_of("fd00::1");
    assert_true(ip_net_contains(&n, &a));
    assert_false(ip_net_contains(&n, &b));
    assert_false(ip_net_contains(&n, &six));
    struct ip_net all = net_of("0.0.0.0/0"), inner = net_of("10.1.0.0/30"),
                  other = net_of("10.2.0.0/16");
    assert_true(ip_net_overlaps(&all, &inner));
    assert_true(ip_net_overlaps(&inner, &all));
    assert_false(ip_net_overlaps(&inner, &other));
}

static void test_counting_carries_and_ends(void **state)
{
    (void)state;
    char text[IP_TEXT_MAX];
    struct ip_addr a = addr_of("10.0.255.255"), end = addr_of("255.255.255.255"),
                   six = addr_of("fd00::ffff");
    assert_true(ip_add(&a, 1, &a));
    assert_string_equal(ip_format(&a, text), "10.1.0.0");
    assert_false(ip_add(&end, 1, &end));
    assert_true(ip_add(&six, 1, &six));
    assert_string_equal(ip_format(&six, text), "fd00::1:0");
}

static void expect_pick(const char *const *pools, const struct pool_taken *taken, size_t n,
                        const char *want)
{
    struct err err AUTOERR = ERR_INIT;
    struct ip_net got;
    char text[IP_TEXT_MAX];
    assert_int_equal(pool_pick(pools, taken, n, &got, &err), 0);
    assert_string_equal(ip_net_format(&got, text), want);
}

static void test_the_first_free_subnet_is_taken(void **state)
{
    (void)state;
    static const char *const pools[] = {"172.18.0.0/16", "10.5.0.0/30", NULL};
    struct pool_taken taken[] = {
        {net_of("172.18.0.7/32"), "address"},
        {net_of("172.18.6.0/23"), "route"},
        {net_of("172.18.0.0/16"), "vpn"},
        {net_of("172.16.0.0/12"), "large vpn"},
    };
    expect_pick(pools, taken, 0, "172.18.0.0/22");
    expect_pick(pools, taken, 1, "172.18.4.0/22");
    taken[0].net = net_of("172.18.0.0/21");
    expect_pick(pools, taken, 2, "172.18.8.0/22");
    expect_pick(pools, taken, 3, "10.5.0.0/30");
    expect_pick(pools, taken + 3, 1, "10.5.0.0/30");
}

static void test_a_pool_at_the_end_of_the_address_space(void **state)
{
    (void)state;
    static const char *const pools[] = {"255.255.254.0/23", NULL};
    struct pool_taken taken[] = {{net_of("255.255.255.0/24"), "a"},
                                 {net_of("255.255.254.0/24"), "b"}};
    struct err err AUTOERR = ERR_INIT;
    struct ip_net got;
    expect_pick(pools, taken, 1, "255.255.254.0/24");
    assert_int_equal(pool_pick(pools, taken, 2, &got, &err), -1);
    assert_int_equal(err.kind, ERR_UNAVAILABLE);
}

static void test_exhausted_pools_say_by_what_and_what_to_do(void **state)
{
    (void)state;
    static const char *const pools[] = {"10.9.0.0/24", NULL};
    struct pool_taken taken[] = {{net_of("10.0.0.0/8"), "route 10.0.0.0/8 on tun0"},
                                 {net_of("192.168.0.0/24"), "route 192.168.0.0/24 on eth0"}};
    struct err err AUTOERR = ERR_INIT;
    struct ip_net got;
    assert_int_equal(pool_pick(pools, taken, 2, &got, &err), -1);
    assert_non_null(strstr(err.msg, "route 10.0.0.0/8 on tun0"));
    assert_null(strstr(err.msg, "eth0"));
    assert_non_null(strstr(err.msg, "COMPOSE_ADDRESS_POOLS"));
}

static void test_pools_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0", "10.0.0.0/31", "fd00::/8", "x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *pools[] = {bad[i], NULL};
        struct err err AUTOERR = ERR_INIT;
        struct ip_net got;
        assert_int_equal(pool_pick(pools, NULL, 0, &got, &err), -1);
        assert_int_equal(err.kind, ERR_INVALID);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

static void test_default_pools_are_sound(void **state)
{
    (void)state;
    expect_pick(pool_defaults, NULL, 0, "172.18.0.0/22");
    for (const char *const *p = pool_defaults; *p; p++) {
        struct ip_net n = net_of(*p), masked = ip_net_masked(&n);
        assert_true(ip_equal(&n.addr, &masked.addr));
    }
}

static void test_unique_local_subnets(void **state)
{
    (void)state;
    struct err err AUTOERR = ERR_INIT;
    struct ip_net a, b;
    assert_int_equal(pool_pick_ula(NULL, 0, &a, &err), 0);
    assert_int_equal(a.prefix, 64);
    assert_int_equal(a.addr.bytes[0], 0xfd);
    assert_int_equal(pool_pick_ula(NULL, 0, &b, &err), 0);
    assert_false(ip_equal(&a.addr, &b.addr));
    struct pool_taken all = {net_of("fd00::/8"), "everything"};
    assert_int_equal(pool_pick_ula(&all, 1, &a, &err), -1);
}

static void test_lists_of_pools(void **state)
{
    (void)state;
    char **v AUTOSTRV = pool_split(" 10.0.0.0/8,,172.20.0.0/16\n");
    assert_int_equal(strv_len((const char *const *)v), 2);
    assert_string_equal(v[0], "10.0.0.0/8");
    assert_string_equal(v[1], "172.20.0.0/16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_parsed_whole_or_not),
        cmocka_unit_test(test_subnet_arithmetic),
        cmocka_unit_test(test_counting_carries_and_ends),
        cmocka_unit_test(test_the_first_free_subnet_is_taken),
        cmocka_unit_test(test_a_pool_at_the_end_of_the_address_space),
        cmocka_unit_test(test_exhausted_pools_say_by_what_and_what_to_do),
        cmocka_unit_test(test_pools_that_make_no_sense),
        cmocka_unit_test(test_default_pools_are_sound),
        cmocka_unit_test(test_unique_local_subnets),
        cmocka_unit_test(test_lists_of_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
