/* DNS messages as anybody in a container, or an upstream, sends them; and resolv.conf. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "dns/message.h"
#include "dns/resolvconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever the query, the answer stays within its bounds and is an answer to it. */
static void answer(const uint8_t *msg, const struct dns_query *q, enum dns_rcode rcode, size_t max)
{
    size_t room = max < DNS_UDP_MIN ? DNS_UDP_MIN : max;
    uint8_t *out = xmalloc(room);
    struct dns_writer w;
    struct ip_addr a;
    struct dns_query back;
    enum dns_rcode ignored;
    ip_parse("192.0.2.1", &a);
    dns_answer_begin(&w, out, room, room, msg, q);
    if (q->question_end) {
        for (int i = 0; i < 40; i++)
            dns_answer_address(&w, &a, 600);
        dns_answer_pointer(&w, q->name, 600);
    }
    size_t len = dns_answer_end(&w, q, rcode);
    if (len > room || len < DNS_HEADER)
        abort();
    if (q->question_end && !dns_answers(out, len, q->id, msg, q))
        abort();
    if (dns_query_parse(out, len, &back, &ignored) != DNS_QUERY_DROP)
        abort();
    free(out);
}

static void query(const uint8_t *data, size_t size)
{
    struct dns_query q;
    struct ip_addr a;
    enum dns_rcode rcode;
    enum dns_verdict verdict = dns_query_parse(data, size, &q, &rcode);
    if (verdict == DNS_QUERY_DROP)
        return;
    if (strlen(q.name) > q.name_len || q.name_len > DNS_NAME_MAX || q.question_end > size)
        abort();
    dns_parse_reverse(q.name, &a);
    answer(data, &q, verdict == DNS_QUERY_OK ? DNS_NOERROR : rcode, DNS_UDP_MIN);
    answer(data, &q, verdict == DNS_QUERY_OK ? DNS_NOERROR : rcode, 4096);
    /* The other half of the input as an upstream's answer to it. */
    if (verdict == DNS_QUERY_OK && q.question_end < size)
        dns_answers(data + q.question_end, size - q.question_end, q.id, data, &q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = xmemdup(data, size ? size : 1);
    query(copy, size);
    free(copy);
    char *text = xstrndup((const char *)data, size);
    struct resolv_conf rc;
    resolv_conf_parse(text, &rc);
    free(dns_resolv_conf(&rc, NULL, NULL, NULL, size & 1));
    resolv_conf_release(&rc);
    free(text);
    return 0;
}
