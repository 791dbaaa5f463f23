#include "base/units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "base/mem.h"

bool bool_parse(const char *s, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (streq(s, yes[i]) || streq(s, no[i])) {
            *out = streq(s, yes[i]);
            return true;
        }
    }
    return false;
}

static const struct {
    const char *name;
    int64_t ns;
} duration_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xc2\xb5s", 1000},
    {"\xce\xbcs", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", 60000000000},
    {"h", 3600000000000},
    {"d", 86400000000000},
    {"w", 604800000000000},
};

bool duration_parse(const char *s, int64_t *ns)
{
    bool negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    if (streq(s, "0")) {
        *ns = 0;
        return true;
    }
    if (!*s)
        return false;
    long double total = 0;
    while (*s) {
        const char *start = s;
        long double value = 0, scale = 1;
        while (isdigit((unsigned char)*s))
            value = value * 10 + (*s++ - '0');
        bool digits = s > start;
        if (*s == '.') {
            for (s++; isdigit((unsigned char)*s); s++, digits = true)
                value += (*s - '0') * (scale /= 10);
        }
        if (!digits)
            return false;
        size_t n = 0;
        while (s[n] && s[n] != '.' && !isdigit((unsigned char)s[n]))
            n++;
        const int64_t *unit = NULL;
        for (size_t i = 0; i < ARRAY_SIZE(duration_units); i++)
            if (strlen(duration_units[i].name) == n && !strncmp(s, duration_units[i].name, n))
                unit = &duration_units[i].ns;
        if (!unit)
            return false;
        total += value * (long double)*unit;
        s += n;
        if (total > 9223372036854775807.0L)
            return false;
    }
    int64_t whole = (int64_t)(total + 1e-4L);
    *ns = negative ? -whole : whole;
    return true;
}

/* Prints value / unit with up to nine fractional digits and no trailing zeros. */
static int put_fraction(char *out, uint64_t value, uint64_t unit)
{
    int n = sprintf(out, "%" PRIu64, value / unit);
    uint64_t rest = value % unit;
    if (!rest)
        return n;
    out[n++] = '.';
    for (uint64_t digit = unit / 10; rest && digit; digit /= 10) {
        out[n++] = (char)('0' + rest / digit);
        rest %= digit;
    }
    out[n] = '\0';
    return n;
}

char *duration_format(int64_t ns, char out[32])
{
    char *p = out;
    uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
    if (ns < 0)
        *p++ = '-';
    if (!v)
        return strcpy(out, "0s");
    if (v < 1000) {
        sprintf(p, "%" PRIu64 "ns", v);
    } else if (v < 1000000) {
        strcpy(p + put_fraction(p, v, 1000), "\xc2\xb5s");
    } else if (v < 1000000000) {
        strcpy(p + put_fraction(p, v, 1000000), "ms");
    } else {
        uint64_t minutes = v / 60000000000u;
        if (minutes >= 60)
            p += sprintf(p, "%" PRIu64 "h", minutes / 60);
        if (minutes)
            p += sprintf(p, "%" PRIu64 "m", minutes % 60);
        strcpy(p + put_fraction(p, v % 60000000000u, 1000000000), "s");
    }
    return out;
}

bool size_parse(const char *s, int64_t *bytes)
{
    s += *s == '+';
    if (!isdigit((unsigned char)*s) && *s != '.')
        return false;
    char *end;
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
        return false;
    double value = strtod(s, &end);
    while (*end == ' ')
        end++;
    static const char letters[] = "kmgtp";
    int power = 0;
    if (*end) {
        const char *at = strchr(letters, tolower((unsigned char)*end));
        if (at) {
            power = (int)(at - letters) + 1;
            end++;
            if (*end == 'i' || *end == 'I') {
                if (end[1] != 'b' && end[1] != 'B')
                    return false;
                end++;
            }
        }
        if (*end == 'b' || *end == 'B')
            end++;
    }
    if (*end)
        return false;
    value *= (double)(INT64_C(1) << (10 * power));
    if (!(value >= 0 && value < 9223372036854775807.0))
        return false;
    *bytes = (int64_t)value;
    return true;
}

char *size_format(int64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes;
    size_t i = 0;
    while (v >= 1000 && i + 1 < ARRAY_SIZE(units)) {
        v /= 1000;
        i++;
    }
    snprintf(out, 32, "%.4g%s", v, units[i]);
    if (i)
        snprintf(out, 32, "%.3g%s", v, units[i]);
    return out;
}

char *time_format(int64_t ns, char out[40])
{
    time_t sec = (time_t)(ns / 1000000000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%09dZ", (int)(ns % 1000000000));
    return out;
}

bool time_parse(const char *s, int64_t *ns)
{
    struct tm tm = {0};
    const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!p)
        return false;
    int64_t fraction = 0;
    if (*p == '.') {
        int64_t digit = 100000000;
        for (p++; isdigit((unsigned char)*p); p++, digit /= 10)
            fraction += (*p - '0') * digit;
    }
    int64_t offset = 0;
    if (*p == '+' || *p == '-') {
        int h, m, n = 0;
        if (sscanf(p + 1, "%2d:%2d%n", &h, &m, &n) != 2 || n != 5 || p[6])
            return false;
        offset = (h * 3600 + m * 60) * (*p == '-' ? -1 : 1);
    } else if (*p != 'Z' || p[1]) {
        return false;
    }
    int64_t seconds = (int64_t)timegm(&tm) - offset;
    if (seconds > INT64_MAX / 1000000000 - 1 || seconds < INT64_MIN / 1000000000 + 1)
        return false;
    *ns = seconds * 1000000000 + fraction;
    return true;
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t time_now(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t time_monotonic(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

char *time_human(int64_t ns, char out[64])
{
    int64_t s = ns / 1000000000, m = s / 60, h = (s + 1800) / 3600;
    if (s < 1)
        strcpy(out, "Less than a second");
    else if (s == 1)
        strcpy(out, "1 second");
    else if (s < 60)
        sprintf(out, "%d seconds", (int)s);
    else if (m == 1)
        strcpy(out, "About a minute");
    else if (m < 60)
        sprintf(out, "%d minutes", (int)m);
    else if (h == 1)
        strcpy(out, "About an hour");
    else if (h < 48)
        sprintf(out, "%d hours", (int)h);
    else if (h < 24 * 7 * 2)
        sprintf(out, "%d days", (int)(h / 24));
    else if (h < 24 * 30 * 2)
        sprintf(out, "%d weeks", (int)(h / 24 / 7));
    else if (h < 24 * 365 * 2)
        sprintf(out, "%d months", (int)(h / 24 / 30));
    else
        sprintf(out, "%d years", (int)(h / 24 / 365));
    return out;
}

void random_hex(unsigned n, char *out)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned char byte;
        if (getrandom(&byte, 1, 0) != 1)
            abort();
        sprintf(out + (size_t)2 * i, "%02x", byte);
    }
}
