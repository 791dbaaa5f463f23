#include "dns/message.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Header flags, RFC 1035 4.1.1 and RFC 4035 3.2. */
enum { QR = 0x8000, OPCODE = 0x7800, TC = 0x0200, RD = 0x0100, RA = 0x0080, CD = 0x0010 };

enum { OPT_SIZE = 11, LABEL_MAX = 63, POINTER_TO_QUESTION = 0xc000 | DNS_HEADER };

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Reads the uncompressed name at *at (a question's is never compressed: nothing stands before it).
 */
static bool read_name(const uint8_t *msg, size_t len, size_t *at, struct dns_query *q)
{
    size_t pos = *at, wire = 0, out = 0;
    q->plain = true;
    for (;;) {
        if (pos >= len)
            return false;
        size_t label = msg[pos++];
        wire += 1 + label;
        if (label > LABEL_MAX || wire > DNS_NAME_MAX || label > len - pos)
            return false;
        if (!label)
            break;
        if (out)
            q->name[out++] = '.';
        for (size_t i = 0; i < label; i++) {
            uint8_t c = msg[pos + i];
            if (c == '.' || c <= ' ' || c == 0x7f)
                q->plain = false;
            q->name[out++] = (char)lower(c);
        }
        pos += label;
    }
    q->name[out] = '\0';
    q->name_len = out;
    *at = pos;
    return true;
}

/* Steps over a name that may be compressed. */
static bool skip_name(const uint8_t *msg, size_t len, size_t *at)
{
    size_t pos = *at;
    while (pos < len) {
        uint8_t label = msg[pos];
        if ((label & 0xc0) == 0xc0) {
            *at = pos + 2;
            return *at <= len;
        }
        if (label > LABEL_MAX)
            return false;
        pos += 1 + (size_t)label;
        if (!label) {
            *at = pos;
            return pos <= len;
        }
    }
    return false;
}

/* Finds the OPT record among the records behind the question; a second one is a format error (RFC
 * 6891 6.1.1). False: malformed. */
static bool read_records(const uint8_t *msg, size_t len, size_t at, unsigned records,
                         struct dns_query *q)
{
    for (unsigned i = 0; i < records; i++) {
        size_t owner = at;
        if (!skip_name(msg, len, &at) || len - at < 10)
            return false;
        uint16_t type = get16(msg + at), class = get16(msg + at + 2),
                 rdlength = get16(msg + at + 8);
        if (type == DNS_OPT) {
            if (q->edns || msg[owner] != 0)
                return false;
            q->edns = true;
            q->edns_version = msg[at + 5];
            q->udp_size = class < DNS_UDP_MIN ? DNS_UDP_MIN : class;
        }
        at += 10;
        if (len - at < rdlength)
            return false;
        at += rdlength;
    }
    return true;
}

enum dns_verdict dns_query_parse(const uint8_t *msg, size_t len, struct dns_query *q,
                                 enum dns_rcode *rcode)
{
    /* All but the name's 256 bytes, which are only written where there is a name. */
    memset(q, 0, offsetof(struct dns_query, name) + 1);
    memset(&q->name_len, 0, sizeof(*q) - offsetof(struct dns_query, name_len));
    q->udp_size = DNS_UDP_MIN;
    *rcode = DNS_FORMERR;
    if (len < DNS_HEADER)
        return DNS_QUERY_DROP;
    uint16_t flags = get16(msg + 2);
    if (flags & QR)
        return DNS_QUERY_DROP;
    q->id = get16(msg);
    q->recursion_desired = flags & RD;
    q->checking_disabled = flags & CD;
    if (flags & OPCODE) {
        *rcode = DNS_NOTIMP;
        return DNS_QUERY_REFUSE;
    }
    size_t at = DNS_HEADER;
    if (get16(msg + 4) != 1 || !read_name(msg, len, &at, q) || len - at < 4) {
        q->name[0] = '\0';
        q->name_len = 0;
        return DNS_QUERY_REFUSE;
    }
    q->type = get16(msg + at);
    q->class = get16(msg + at + 2);
    q->question_end = at + 4;
    unsigned records = (unsigned)get16(msg + 6) + get16(msg + 8) + get16(msg + 10);
    if (!read_records(msg, len, q->question_end, records, q))
        return DNS_QUERY_REFUSE;
    if (q->edns && q->edns_version > 0) {
        *rcode = DNS_BADVERS;
        return DNS_QUERY_REFUSE;
    }
    return DNS_QUERY_OK;
}

bool dns_answers(const uint8_t *msg, size_t len, uint16_t id, const uint8_t *query,
                 const struct dns_query *q)
{
    if (len < DNS_HEADER || get16(msg) != id || !(get16(msg + 2) & QR))
        return false;
    /* Servers may leave the question out of an error. */
    if (get16(msg + 4) == 0)
        return dns_rcode_of(msg) != DNS_NOERROR;
    if (get16(msg + 4) != 1 || len < q->question_end)
        return false;
    size_t name_end = q->question_end - 4;
    for (size_t i = DNS_HEADER; i < name_end; i++) {
        if (lower(msg[i]) != lower(query[i]))
            return false;
    }
    return memcmp(msg + name_end, query + name_end, 4) == 0;
}

enum dns_rcode dns_rcode_of(const uint8_t *msg)
{
    return (enum dns_rcode)(msg[3] & 0x0f);
}

void dns_set_id(uint8_t *msg, uint16_t id)
{
    put16(msg, id);
}

void dns_answer_begin(struct dns_writer *w, uint8_t *buf, size_t size, size_t max,
                      const uint8_t *query, const struct dns_query *q)
{
    size_t limit = size < max ? size : max;
    size_t question = q->question_end ? q->question_end - DNS_HEADER : 0;
    *w = (struct dns_writer){.buf = buf, .limit = limit - (q->edns ? OPT_SIZE : 0)};
    memset(buf, 0, DNS_HEADER);
    put16(buf, q->id);
    put16(buf + 2,
          (uint16_t)(QR | RA | (q->recursion_desired ? RD : 0) | (q->checking_disabled ? CD : 0)));
    put16(buf + 4, question ? 1 : 0);
    memcpy(buf + DNS_HEADER, query + DNS_HEADER, question);
    w->len = DNS_HEADER + question;
}

/* Begins a record of the name asked; NULL when it does not fit. */
static uint8_t *begin_record(struct dns_writer *w, uint16_t type, uint32_t ttl, size_t rdlength)
{
    if (w->truncated || w->limit - w->len < 12 + rdlength) {
        w->truncated = true;
        return NULL;
    }
    uint8_t *p = w->buf + w->len;
    put16(p, POINTER_TO_QUESTION);
    put16(p + 2, type);
    put16(p + 4, DNS_CLASS_IN);
    put32(p + 6, ttl);
    put16(p + 10, (uint16_t)rdlength);
    w->len += 12 + rdlength;
    w->answers++;
    return p + 12;
}

void dns_answer_address(struct dns_writer *w, const struct ip_addr *a, uint32_t ttl)
{
    size_t size = ip_size(a);
    uint8_t *p = begin_record(w, a->family == AF_INET6 ? DNS_AAAA : DNS_A, ttl, size);
    if (p)
        memcpy(p, a->bytes, size);
}

void dns_answer_pointer(struct dns_writer *w, const char *name, uint32_t ttl)
{
    uint8_t wire[DNS_NAME_MAX + 1];
    size_t n = 0;
    for (const char *p = name; *p;) {
        size_t label = strcspn(p, ".");
        if (!label || label > LABEL_MAX || n + 1 + label + 1 > DNS_NAME_MAX)
            return; /* not a name that can be written */
        wire[n++] = (uint8_t)label;
        memcpy(wire + n, p, label);
        n += label;
        p += label + (p[label] == '.');
    }
    wire[n++] = 0;
    uint8_t *p = begin_record(w, DNS_PTR, ttl, n);
    if (p)
        memcpy(p, wire, n);
}

size_t dns_answer_end(struct dns_writer *w, const struct dns_query *q, enum dns_rcode rcode)
{
    uint16_t flags = get16(w->buf + 2);
    put16(w->buf + 2, (uint16_t)(flags | (w->truncated ? TC : 0) | (rcode & 0x0f)));
    put16(w->buf + 6, w->answers);
    if (q->edns) {
        uint8_t *p = w->buf + w->len;
        memset(p, 0, OPT_SIZE);
        put16(p + 1, DNS_OPT);
        put16(p + 3, DNS_UDP_MAX);
        p[5] = (uint8_t)(rcode >> 4);
        w->len += OPT_SIZE;
        put16(w->buf + 10, 1);
    }
    return w->len;
}

static bool parse_reverse4(const char *name, size_t len, struct ip_addr *a)
{
    char text[32];
    int end = 0;
    if (len >= sizeof(text))
        return false;
    memcpy(text, name, len);
    text[len] = '\0';
    unsigned b[4];
    if (strspn(text, "0123456789.") != len ||
        sscanf(text, "%3u.%3u.%3u.%3u%n", &b[3], &b[2], &b[1], &b[0], &end) != 4 ||
        text[end] != '\0')
        return false;
    *a = (struct ip_addr){.family = AF_INET};
    for (int i = 0; i < 4; i++) {
        if (b[i] > 255)
            return false;
        a->bytes[i] = (uint8_t)b[i];
    }
    return true;
}

static bool parse_reverse6(const char *name, size_t len, struct ip_addr *a)
{
    if (len != 63)
        return false;
    *a = (struct ip_addr){.family = AF_INET6};
    for (int i = 0; i < 32; i++) {
        unsigned char c = (unsigned char)name[i * 2];
        if (!isxdigit(c) || (i < 31 && name[i * 2 + 1] != '.'))
            return false;
        uint8_t nibble = (uint8_t)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
        int at = 31 - i;
        a->bytes[at / 2] |= (uint8_t)(at % 2 ? nibble : nibble << 4);
    }
    return true;
}

bool dns_parse_reverse(const char *name, struct ip_addr *a)
{
    static const char v4[] = ".in-addr.arpa", v6[] = ".ip6.arpa";
    size_t n = strlen(name);
    if (n > sizeof(v4) - 1 && strcmp(name + n - (sizeof(v4) - 1), v4) == 0)
        return parse_reverse4(name, n - (sizeof(v4) - 1), a);
    if (n > sizeof(v6) - 1 && strcmp(name + n - (sizeof(v6) - 1), v6) == 0)
        return parse_reverse6(name, n - (sizeof(v6) - 1), a);
    return false;
}
