#include "file/scalar.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define YAML_TAG "tag:yaml.org,2002:"

/* Magnitude after an optional sign, in a base given by the prefix where base is 0. */
static bool parse_magnitude(const char *s, int base, uint64_t *out)
{
    if (base == 0) {
        base = 10;
        if (s[0] == '0' && s[1]) {
            char p = (char)tolower((unsigned char)s[1]);
            base = p == 'x' ? 16 : p == 'b' ? 2 : 8;
            s += p == 'x' || p == 'b' || p == 'o' ? 2 : 1;
        }
    }
    if (!*s)
        return false;
    uint64_t v = 0;
    for (; *s; s++) {
        int digit = isdigit((unsigned char)*s)    ? *s - '0'
                    : isxdigit((unsigned char)*s) ? tolower((unsigned char)*s) - 'a' + 10
                                                  : 99;
        if (digit >= base)
            return false;
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)digit, &v))
            return false;
    }
    *out = v;
    return true;
}

bool scalar_parse_int(const char *s, int base, int64_t *v)
{
    bool negative = *s == '-';
    uint64_t u;
    if (!parse_magnitude(s + (*s == '-' || *s == '+'), base, &u))
        return false;
    if (u > (uint64_t)INT64_MAX + negative)
        return false;
    *v = negative ? (int64_t)-u : (int64_t)u;
    return true;
}

bool scalar_parse_float(const char *s, double *v)
{
    if (!*s || isspace((unsigned char)*s))
        return false;
    for (const char *p = s; *p; p++)
        if (!strchr("0123456789+-.eE", *p))
            return false;
    char *end;
    errno = 0;
    double d = strtod(s, &end);
    if (*end || (errno == ERANGE && isinf(d)))
        return false;
    *v = d;
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool looks_like_float(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, "0123456789");
    s += whole;
    if (*s == '.') {
        size_t decimals = strspn(++s, "0123456789");
        if (!whole && !decimals)
            return false;
        s += decimals;
    } else if (!whole) {
        return false;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        size_t n = strspn(s, "0123456789");
        if (!n)
            return false;
        s += n;
    }
    return !*s;
}

static bool take_number(const char **s, size_t max_digits, int *v)
{
    size_t n = 0;
    *v = 0;
    while (n < max_digits && isdigit((unsigned char)**s)) {
        *v = *v * 10 + (*(*s)++ - '0');
        n++;
    }
    return n > 0;
}

static bool take_char(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

struct timestamp {
    int year, month, day, hour, minute, second;
    const char *fraction; /* digits */
    int fraction_n;
    char sign; /* of the zone: 0 for UTC */
    int zone_hour, zone_minute;
};

/* h:m:s[.f] and, where zoned, Z or +hh:mm. */
static bool parse_time(const char *s, bool zoned, struct timestamp *t)
{
    if (!take_number(&s, 2, &t->hour) || !take_char(&s, ':') || !take_number(&s, 2, &t->minute) ||
        !take_char(&s, ':') || !take_number(&s, 2, &t->second) || t->hour > 23 || t->minute > 59 ||
        t->second > 59)
        return false;
    if (*s == '.') {
        t->fraction = s + 1;
        t->fraction_n = (int)strspn(s + 1, "0123456789");
        s += 1 + t->fraction_n;
    }
    if (!zoned || streq(s, "Z"))
        return !*s || zoned;
    t->sign = *s;
    return (take_char(&s, '+') || take_char(&s, '-')) && take_number(&s, 2, &t->zone_hour) &&
           take_char(&s, ':') && take_number(&s, 2, &t->zone_minute) && !*s;
}

/* YYYY-M-D, also followed by [Tt]h:m:s[.f](Z|+hh:mm) or a space and h:m:s[.f]. */
static bool parse_timestamp(const char *s, struct timestamp *t)
{
    *t = (struct timestamp){0};
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *start = s;
    if (!take_number(&s, 4, &t->year) || s - start != 4 || !take_char(&s, '-') ||
        !take_number(&s, 2, &t->month) || !take_char(&s, '-') || !take_number(&s, 2, &t->day))
        return false;
    bool leap = (t->year % 4 == 0 && t->year % 100 != 0) || t->year % 400 == 0;
    if (t->month < 1 || t->month > 12 || t->day < 1 ||
        t->day > days[t->month - 1] + (t->month == 2 && leap))
        return false;
    if (!*s)
        return true;
    bool zoned = *s == 'T' || *s == 't';
    return (zoned || *s == ' ') && parse_time(s + 1, zoned, t);
}

/* As RFC 3339 has it, with nanoseconds at most and no zero at the end of a fraction. */
static const char *format_timestamp(struct arena *a, const struct timestamp *t)
{
    int n = t->fraction_n > 9 ? 9 : t->fraction_n;
    while (n && t->fraction[n - 1] == '0')
        n--;
    const char *zone = "Z";
    if (t->zone_hour || t->zone_minute)
        zone = arena_printf(a, "%c%02d:%02d", t->sign, t->zone_hour, t->zone_minute);
    return arena_printf(a, "%04d-%02d-%02dT%02d:%02d:%02d%s%.*s%s", t->year, t->month, t->day,
                        t->hour, t->minute, t->second, n ? "." : "", n, n ? t->fraction : "", zone);
}

static const struct {
    const char *text;
    enum node_kind kind;
    double value;
} words[] = {
    {"true", NODE_BOOL, 1},
    {"True", NODE_BOOL, 1},
    {"TRUE", NODE_BOOL, 1},
    {"false", NODE_BOOL, 0},
    {"False", NODE_BOOL, 0},
    {"FALSE", NODE_BOOL, 0},
    {"", NODE_NULL, 0},
    {"~", NODE_NULL, 0},
    {"null", NODE_NULL, 0},
    {"Null", NODE_NULL, 0},
    {"NULL", NODE_NULL, 0},
    {".nan", NODE_FLOAT, NAN},
    {".NaN", NODE_FLOAT, NAN},
    {".NAN", NODE_FLOAT, NAN},
    {".inf", NODE_FLOAT, INFINITY},
    {".Inf", NODE_FLOAT, INFINITY},
    {".INF", NODE_FLOAT, INFINITY},
    {"+.inf", NODE_FLOAT, INFINITY},
    {"+.Inf", NODE_FLOAT, INFINITY},
    {"+.INF", NODE_FLOAT, INFINITY},
    {"-.inf", NODE_FLOAT, -INFINITY},
    {"-.Inf", NODE_FLOAT, -INFINITY},
    {"-.INF", NODE_FLOAT, -INFINITY},
};

static bool resolve_word(struct node *n, const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!streq(text, words[i].text))
            continue;
        n->kind = words[i].kind;
        if (n->kind == NODE_BOOL)
            n->boolean = words[i].value != 0;
        else if (n->kind == NODE_FLOAT)
            n->number = words[i].value;
        return true;
    }
    return false;
}

static bool resolve_number(struct node *n, const char *text)
{
    char plain[64];
    size_t len = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '_')
            continue;
        if (len == sizeof(plain) - 1)
            return false;
        plain[len++] = *p;
    }
    plain[len] = '\0';
    int64_t i;
    uint64_t u;
    double d;
    if (scalar_parse_int(plain, 0, &i)) {
        n->kind = NODE_INT;
        n->integer = i;
    } else if (parse_magnitude(plain, 0, &u)) {
        n->kind = NODE_FLOAT;
        n->tag = TAG_UINT64;
        n->whole = u;
    } else if (looks_like_float(plain) && scalar_parse_float(plain, &d)) {
        n->kind = NODE_FLOAT;
        n->number = d;
    } else {
        return false;
    }
    return true;
}

static void resolve_plain(struct arena *a, struct node *n, const char *text, bool dates)
{
    struct timestamp when;
    n->kind = NODE_STRING;
    char c = *text;
    /* Most strings are ruled out by their first byte. */
    if (c && !strchr("+-.0123456789tTfFnN~", c)) {
        n->string = text;
        return;
    }
    if (resolve_word(n, text))
        return;
    double d;
    if (c == '.') {
        if (scalar_parse_float(text, &d)) {
            n->kind = NODE_FLOAT;
            n->number = d;
            return;
        }
    } else if (isdigit((unsigned char)c) || c == '+' || c == '-') {
        if (dates && parse_timestamp(text, &when)) {
            n->tag = TAG_TIMESTAMP;
            text = a ? format_timestamp(a, &when) : text;
        } else if (resolve_number(n, text)) {
            return;
        }
    }
    n->string = text;
}

static bool base64_decode(struct arena *a, const char *s, const char **out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *p = arena_alloc(a, strlen(s) + 1);
    *out = p;
    unsigned bits = 0, n = 0, padding = 0;
    for (; *s; s++) {
        if (isspace((unsigned char)*s))
            continue;
        const char *at = strchr(digits, *s);
        if (*s == '=')
            padding++;
        else if (!at || padding)
            return false;
        bits = bits << 6 | (at ? (unsigned)(at - digits) : 0);
        if (++n % 4 == 0) {
            *p++ = (char)(bits >> 16);
            if (padding < 2)
                *p++ = (char)(bits >> 8);
            if (padding < 1)
                *p++ = (char)bits;
            bits = 0;
        }
    }
    *p = '\0';
    return n % 4 == 0 && padding <= 2;
}

bool scalar_resolve(struct arena *a, struct node *n, const char *text, size_t len, const char *tag,
                    bool quoted)
{
    n->kind = NODE_STRING;
    n->string = text;
    if (strlen(text) != len) /* a NUL, which libyaml lets through as "\0" in double quotes */
        return false;
    if (!tag) {
        if (!quoted)
            resolve_plain(a, n, text, true);
        return true;
    }
    if (!starts_with(tag, YAML_TAG))
        return true; /* of an application: the value is the text */
    tag += strlen(YAML_TAG);
    if (streq(tag, "binary"))
        return base64_decode(a, text, &n->string);
    if (streq(tag, "timestamp")) {
        struct timestamp when;
        if (!parse_timestamp(text, &when))
            return false;
        n->tag = TAG_TIMESTAMP;
        n->string = format_timestamp(a, &when);
        return true;
    }
    bool is_int = streq(tag, "int"), is_float = streq(tag, "float");
    if (!is_int && !is_float && !streq(tag, "bool") && !streq(tag, "null"))
        return true;
    resolve_plain(a, n, text, false);
    if (is_float && n->kind == NODE_INT) {
        n->number = (double)n->integer;
        n->kind = NODE_FLOAT;
    }
    return (is_int && n->kind == NODE_INT) || (is_float && n->kind == NODE_FLOAT) ||
           (streq(tag, "bool") && n->kind == NODE_BOOL) ||
           (streq(tag, "null") && n->kind == NODE_NULL);
}

bool scalar_is_plain_string(const char *text)
{
    struct node n = {0};
    resolve_plain(NULL, &n, text, true);
    return n.kind == NODE_STRING && n.tag == TAG_NONE;
}
