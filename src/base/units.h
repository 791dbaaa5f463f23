/* Durations, byte sizes and times in the notations that Compose files and Docker use. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* Go's strconv.ParseBool: 1, t, T, TRUE, true, True and their opposites. False for anything
 * else. */
bool bool_parse(const char *s, bool *out);
/* Go's time.ParseDuration ("1h30m", "1.5s", "300ms", "2us"), plus compose's days and weeks ("1d",
 * "1w"); *ns in nanoseconds. False on bad syntax or overflow. */
bool duration_parse(const char *s, int64_t *ns);
/* Go's Duration.String(): "1m30s", "250ms", "0s". out holds at least 32 bytes. */
char *duration_format(int64_t ns, char out[32]);

/* go-units RAMInBytes: "64m", "1.5g", "10kb", "128MiB", binary multiples, a bare number is bytes.
 * *bytes in bytes. False on bad syntax, a negative number or overflow. */
bool size_parse(const char *s, int64_t *bytes);
/* go-units HumanSize, decimal, 3 significant digits: "13.3kB". out holds at least 32 bytes. */
char *size_format(int64_t bytes, char out[32]);

/* RFC 3339 with nanoseconds in UTC as Docker prints it: "2026-01-02T03:04:05.000000006Z";
 * ns since the epoch. out holds at least 40 bytes. */
char *time_format(int64_t ns, char out[40]);
/* RFC 3339 with any offset and 0 to 9 fractional digits. False also where the nanoseconds do not fit
 * (before 1677, after 2262). */
bool time_parse(const char *s, int64_t *ns);
/* Wall clock and monotonic clock, nanoseconds. */
int64_t time_now(void);
int64_t time_monotonic(void);
/* go-units HumanDuration: "Less than a second", "5 seconds", "About a minute", "2 hours". */
char *time_human(int64_t ns, char out[64]);

/* n random bytes from getrandom(2) as 2n lower-case hex digits; out holds 2n + 1 bytes. */
void random_hex(unsigned n, char *out);

#endif
