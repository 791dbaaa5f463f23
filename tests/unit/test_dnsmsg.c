/* dns/message, dns/resolvconf: the wire format and resolv.conf. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "dns/message.h"
#include "dns/resolvconf.h"

/* A query for a dotted name; returns its length. */
static size_t make_query(uint8_t *buf, const char *name, uint16_t type)
{
    static const uint8_t header[12] = {0xab, 0xcd, 1, 0, 0, 1};
    size_t n = sizeof(header);
    memcpy(buf, header, n);
    for (const char *p = name; *p;) {
        size_t label = strcspn(p, ".");
        buf[n++] = (uint8_t)label;
        memcpy(buf + n, p, label);
        n += label;
        p += label + (p[label] == '.');
    }
    buf[n++] = 0;
    buf[n++] = (uint8_t)(type >> 8);
    buf[n++] = (uint8_t)type;
    buf[n++] = 0;
    buf[n++] = 1;
    return n;
}

static size_t add_opt(uint8_t *buf, size_t n, uint16_t size, uint8_t version)
{
    const uint8_t opt[11] = {0, 0, 41, (uint8_t)(size >> 8), (uint8_t)size, 0, version};
    memcpy(buf + n, opt, sizeof(opt));
    buf[11]++;
    return n + sizeof(opt);
}

static enum dns_verdict parse(const uint8_t *msg, size_t len, struct dns_query *q)
{
    enum dns_rcode rcode;
    return dns_query_parse(msg, len, q, &rcode);
}

static void test_a_query_is_read(void **state)
{
    (void)state;
    uint8_t msg[300];
    struct dns_query q;
    size_t n = make_query(msg, "Web.Shop_Default", DNS_AAAA);
    assert_int_equal(parse(msg, n, &q), DNS_QUERY_OK);
    assert_string_equal(q.name, "web.shop_default");
    assert_int_equal(q.name_len, 16);
    assert_int_equal(q.type, DNS_AAAA);
    assert_int_equal(q.id, 0xabcd);
    assert_int_equal(q.question_end, n);
    assert_true(q.plain && q.recursion_desired && !q.edns);
    n = add_opt(msg, n, 4096, 0);
    assert_int_equal(parse(msg, n, &q), DNS_QUERY_OK);
    assert_true(q.edns);
    assert_int_equal(q.udp_size, 4096);
}

static void test_every_shorter_message_is_refused_or_dropped(void **state)
{
    (void)state;
    uint8_t msg[300], out[600];
    size_t n = add_opt(msg, make_query(msg, "a.b.example", DNS_A), 1232, 0);
    for (size_t len = 0; len < n; len++) {
        /* A copy of just that length, so that a sanitizer sees a read behind it. */
        uint8_t *cut = xmemdup(msg, len ? len : 1);
        struct dns_query q;
        struct dns_writer w;
        enum dns_rcode rcode;
        enum dns_verdict v = dns_query_parse(cut, len, &q, &rcode);
        assert_int_equal(v, len < DNS_HEADER ? DNS_QUERY_DROP : DNS_QUERY_REFUSE);
        if (v == DNS_QUERY_REFUSE) {
            dns_answer_begin(&w, out, sizeof(out), DNS_UDP_MIN, cut, &q);
            assert_true(dns_answer_end(&w, &q, rcode) >= DNS_HEADER);
            assert_int_equal(dns_rcode_of(out), DNS_FORMERR);
        }
        free(cut);
    }
}

static void test_names_that_are_too_much(void **state)
{
    (void)state;
    uint8_t msg[600] = {0, 1, 1, 0, 0, 1};
    struct dns_query q;
    /* Four labels of 63 octets are 257 with their lengths and the root: two over the limit. */
    size_t n = DNS_HEADER;
    for (int i = 0; i < 4; i++) {
        msg[n++] = 63;
        memset(msg + n, 'x', 63);
        n += 63;
    }
    n++;
    memset(msg + n, 0, 4);
    assert_int_equal(parse(msg, n + 4, &q), DNS_QUERY_REFUSE);
    /* A pointer in a question, a label type that does not exist. */
    uint8_t pointer[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1};
    assert_int_equal(parse(pointer, sizeof(pointer), &q), DNS_QUERY_REFUSE);
    pointer[12] = 0x40;
    assert_int_equal(parse(pointer, sizeof(pointer), &q), DNS_QUERY_REFUSE);
}

static void test_a_dot_within_a_label_is_not_a_separator(void **state)
{
    (void)state;
    const uint8_t msg[] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'a', '.', 'b', 0, 0, 1, 0, 1};
    struct dns_query q;
    assert_int_equal(parse(msg, sizeof(msg), &q), DNS_QUERY_OK);
    assert_false(q.plain);
}

static void test_what_is_not_a_query(void **state)
{
    (void)state;
    uint8_t msg[300];
    struct dns_query q;
    enum dns_rcode rcode;
    size_t n = make_query(msg, "a", DNS_A);
    msg[2] |= 0x80;
    assert_int_equal(parse(msg, n, &q), DNS_QUERY_DROP);
    msg[2] = 0x28; /* UPDATE */
    assert_int_equal(dns_query_parse(msg, n, &q, &rcode), DNS_QUERY_REFUSE);
    assert_int_equal(rcode, DNS_NOTIMP);
    msg[2] = 1;
    msg[5] = 2;
    assert_int_equal(dns_query_parse(msg, n, &q, &rcode), DNS_QUERY_REFUSE);
    assert_int_equal(rcode, DNS_FORMERR);
    msg[5] = 1;
    n = add_opt(msg, n, 1232, 1);
    assert_int_equal(dns_query_parse(msg, n, &q, &rcode), DNS_QUERY_REFUSE);
    assert_int_equal(rcode, DNS_BADVERS);
    n = add_opt(msg, n, 1232, 0); /* two of them */
    assert_int_equal(dns_query_parse(msg, n, &q, &rcode), DNS_QUERY_REFUSE);
    assert_int_equal(rcode, DNS_FORMERR);
}

static void test_an_answer_repeats_the_question_as_written(void **state)
{
    (void)state;
    uint8_t msg[300], out[1232];
    struct dns_query q;
    struct dns_writer w;
    struct ip_addr a;
    size_t n = add_opt(msg, make_query(msg, "wEb", DNS_A), 1232, 0);
    assert_int_equal(parse(msg, n, &q), DNS_QUERY_OK);
    ip_parse("172.18.0.9", &a);
    dns_answer_begin(&w, out, sizeof(out), q.udp_size, msg, &q);
    dns_answer_address(&w, &a, 600);
    size_t len = dns_answer_end(&w, &q, DNS_NOERROR);
    const uint8_t want[] = {0xab, 0xcd, 0x81, 0x80, 0,    1,    0,    1, 0, 0,    0,    1,
                            3,    'w',  'E',  'b',  0,    0,    1,    0, 1, 0xc0, 0x0c, 0,
                            1,    0,    1,    0,    0,    2,    0x58, 0, 4, 172,  18,   0,
                            9,    0,    0,    41,   0x04, 0xd0, 0,    0, 0, 0,    0,    0};
    assert_int_equal(len, sizeof(want));
    assert_memory_equal(out, want, len);
}

static void test_what_does_not_fit_sets_tc(void **state)
{
    (void)state;
    uint8_t msg[300], out[1232];
    struct dns_query q;
    struct dns_writer w;
    struct ip_addr a;
    size_t n = make_query(msg, "web", DNS_A);
    assert_int_equal(parse(msg, n, &q), DNS_QUERY_OK);
    ip_parse("10.0.0.1", &a);
    dns_answer_begin(&w, out, sizeof(out), q.udp_size, msg, &q);
    for (int i = 0; i < 100; i++)
        dns_answer_address(&w, &a, 1);
    size_t len = dns_answer_end(&w, &q, DNS_NOERROR);
    assert_true(len <= DNS_UDP_MIN && len > DNS_UDP_MIN - 16);
    assert_true(out[2] & 2); /* TC */
    assert_int_equal(out[7], (len - n) / 16);
}

static void test_only_answers_to_the_question_count(void **state)
{
    (void)state;
    uint8_t query[300], answer[300];
    struct dns_query q;
    size_t n = make_query(query, "example.org", DNS_A);
    assert_int_equal(parse(query, n, &q), DNS_QUERY_OK);
    memcpy(answer, query, n);
    answer[2] |= 0x80;
    assert_true(dns_answers(answer, n, 0xabcd, query, &q));
    answer[13] = 'E'; /* the case may differ */
    assert_true(dns_answers(answer, n, 0xabcd, query, &q));
    assert_false(dns_answers(answer, n, 0xabce, query, &q));
    answer[14] = 'y';
    assert_false(dns_answers(answer, n, 0xabcd, query, &q));
    for (size_t len = 0; len < n; len++)
        assert_false(dns_answers(query, len, 0xabcd, query, &q));
    uint8_t bare[12] = {0xab, 0xcd, 0x81, 0x82};
    assert_true(dns_answers(bare, sizeof(bare), 0xabcd, query, &q));
    bare[3] = 0x80; /* without question and without error: of no use */
    assert_false(dns_answers(bare, sizeof(bare), 0xabcd, query, &q));
}

static void test_reverse_names(void **state)
{
    (void)state;
    struct ip_addr a;
    char text[IP_TEXT_MAX];
    assert_true(dns_parse_reverse("3.0.18.172.in-addr.arpa", &a));
    assert_string_equal(ip_format(&a, text), "172.18.0.3");
    assert_true(dns_parse_reverse(
        "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", &a));
    assert_string_equal(ip_format(&a, text), "fd00::2");
    static const char *const bad[] = {
        "in-addr.arpa",
        ".in-addr.arpa",
        "1.2.3.in-addr.arpa",
        "1.2.3.4.5.in-addr.arpa",
        "256.0.0.1.in-addr.arpa",
        "1.2.3.x.in-addr.arpa",
        "1.ip6.arpa",
        "example.org",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(dns_parse_reverse(bad[i], &a));
}

/* resolv.conf */

static const char host_conf[] = "# made by hand\n"
                                "nameserver 10.0.0.53\r\n"
                                "  nameserver\tfd00::53 # second\n"
                                "nameserver nonsense\n"
                                "nameserver\n"
                                "search first.example\n"
                                "domain ignored.example\n"
                                "search corp.example  lab.example\n"
                                "options edns0 timeout:1\n"
                                "sortlist 1.2.3.4";

static void test_resolv_conf_is_read(void **state)
{
    (void)state;
    struct resolv_conf rc;
    char text[IP_TEXT_MAX];
    resolv_conf_parse(host_conf, &rc);
    assert_int_equal(rc.servers_n, 2);
    assert_string_equal(ip_format(&rc.servers[0].addr, text), "10.0.0.53");
    assert_string_equal(ip_format(&rc.servers[1].addr, text), "fd00::53");
    assert_int_equal(strv_len((const char *const *)rc.search), 2);
    assert_string_equal(rc.search[1], "lab.example");
    assert_string_equal(rc.options[0], "edns0");
    resolv_conf_release(&rc);
    assert_int_equal(resolv_conf_read("/nonexistent/resolv.conf", &rc, NULL), 0);
    assert_int_equal(rc.servers_n, 0);
}

static void expect_conf(const struct strings *dns, const struct strings *search,
                        const struct strings *options, bool internal, const char *want)
{
    struct resolv_conf host;
    resolv_conf_parse(host_conf, &host);
    char *text AUTOFREE = dns_resolv_conf(&host, dns, search, options, internal);
    const char *body = strchr(text, '\n') + 1;
    assert_string_equal(body, want);
    resolv_conf_release(&host);
}

static void test_resolv_conf_for_containers(void **state)
{
    (void)state;
    const char *dns_v[] = {"9.9.9.9", NULL}, *search_v[] = {"my.example", NULL},
               *dot_v[] = {".", NULL}, *opt_v[] = {"ndots:2", "rotate", NULL};
    struct strings none = {0}, dns = {dns_v, 1}, search = {search_v, 1}, dot = {dot_v, 1},
                   opt = {opt_v, 2};
    expect_conf(&none, &none, &none, true,
                "nameserver 127.0.0.11\nsearch corp.example lab.example\noptions edns0 timeout:1 "
                "ndots:0\n");
    expect_conf(&dns, &search, &opt, true,
                "nameserver 127.0.0.11\nsearch my.example\noptions ndots:2 rotate\n");
    expect_conf(&none, &dot, &none, true,
                "nameserver 127.0.0.11\noptions edns0 timeout:1 ndots:0\n");
    expect_conf(NULL, NULL, NULL, false,
                "nameserver 10.0.0.53\nnameserver fd00::53\nsearch corp.example lab.example\n"
                "options edns0 timeout:1\n");
    expect_conf(&dns, &dot, &none, false, "nameserver 9.9.9.9\noptions edns0 timeout:1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_query_is_read),
        cmocka_unit_test(test_every_shorter_message_is_refused_or_dropped),
        cmocka_unit_test(test_names_that_are_too_much),
        cmocka_unit_test(test_a_dot_within_a_label_is_not_a_separator),
        cmocka_unit_test(test_what_is_not_a_query),
        cmocka_unit_test(test_an_answer_repeats_the_question_as_written),
        cmocka_unit_test(test_what_does_not_fit_sets_tc),
        cmocka_unit_test(test_only_answers_to_the_question_count),
        cmocka_unit_test(test_reverse_names),
        cmocka_unit_test(test_resolv_conf_is_read),
        cmocka_unit_test(test_resolv_conf_for_containers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
