/* DNS messages on the wire: reading queries, writing answers (RFC 1035, EDNS0: RFC 6891).
 *
 * Everything here is bounded by the lengths it is given and allocates nothing: it reads what
 * anybody in a container sends. */
#ifndef DNS_MESSAGE_H
#define DNS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

enum {
    DNS_HEADER = 12,    /* RFC 1035, 4.1.1 */
    DNS_NAME_MAX = 255, /* RFC 1035, 2.3.4: octets on the wire */
    DNS_UDP_MIN = 512,  /* RFC 1035, 2.3.4 */
    DNS_UDP_MAX = 1232, /* what fits every path without fragments: DNS flag day 2020 */
    DNS_MESSAGE_MAX = 65535,
};

enum dns_type { /* RFC 1035 3.2.2, 3596, 6891 */
                DNS_A = 1,
                DNS_PTR = 12,
                DNS_AAAA = 28,
                DNS_OPT = 41,
                DNS_ANY = 255,
};

enum { DNS_CLASS_IN = 1, DNS_CLASS_ANY = 255 };

enum dns_rcode { /* RFC 1035 4.1.1; BADVERS: RFC 6891 9 */
                 DNS_NOERROR = 0,
                 DNS_FORMERR = 1,
                 DNS_SERVFAIL = 2,
                 DNS_NXDOMAIN = 3,
                 DNS_NOTIMP = 4,
                 DNS_REFUSED = 5,
                 DNS_BADVERS = 16,
};

struct dns_query {
    uint16_t id, type, class;
    bool recursion_desired, checking_disabled;
    char name[DNS_NAME_MAX + 1]; /* lower case, without the last dot; "" is the root */
    size_t name_len;
    bool plain; /* false: a label holds a dot or a control character, so name is ambiguous */
    size_t question_end; /* offset behind the question; 0: there is none that can be repeated */
    bool edns;
    uint8_t edns_version;
    uint16_t udp_size; /* largest answer that the asker takes by UDP */
};

enum dns_verdict {
    DNS_QUERY_OK,
    DNS_QUERY_DROP,   /* too short to be answered, or itself an answer */
    DNS_QUERY_REFUSE, /* answer with rcode */
};

/* Reads a query; on DNS_QUERY_REFUSE *rcode says how to refuse it. */
enum dns_verdict dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *q,
                                 enum dns_rcode *rcode);

/* Whether msg is an answer with this ID to the question of query (its bytes, parsed as q): the same
 * question, case aside (draft-vixie-dnsext-dns0x20). */
bool dns_answers(const uint8_t *msg, size_t len, uint16_t id, const uint8_t *query,
                 const struct dns_query *q);

enum dns_rcode dns_rcode_of(const uint8_t *msg);
void dns_set_id(uint8_t *msg, uint16_t id);

/* An answer under construction. */
struct dns_writer {
    uint8_t *buf;
    size_t len, limit; /* limit: what may be filled, room for the OPT record set apart */
    uint16_t answers;
    bool truncated;
};

/* Begins the answer to query (bytes, parsed as q) in buf of size octets; the answer will have at
 * most max octets. The question is repeated as it was written. size >= DNS_UDP_MIN. */
void dns_answer_begin(struct dns_writer *w, uint8_t *buf, size_t size, size_t max,
                      const uint8_t *query, const struct dns_query *q);
/* An A or AAAA record of the name asked. A record that does not fit sets TC instead. */
void dns_answer_address(struct dns_writer *w, const struct ip_addr *a, uint32_t ttl);
/* A PTR record of the name asked. */
void dns_answer_pointer(struct dns_writer *w, const char *name, uint32_t ttl);
/* Completes and returns the length. */
size_t dns_answer_end(struct dns_writer *w, const struct dns_query *q, enum dns_rcode rcode);

/* "4.3.2.1.in-addr.arpa" or its ip6.arpa form: the address (RFC 1035 3.5, RFC 3596 2.5). */
bool dns_parse_reverse(const char *name, struct ip_addr *a);

#endif
