#include "cli/moment.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/units.h"

int moment_parse(const char *s, int64_t *out, struct err *err)
{
    int64_t ns;
    *out = 0;
    if (!*s)
        return 0;
    if (duration_parse(s, &ns)) {
        *out = time_now() - ns;
        return 0;
    }
    /* "2013-01-02" and "2013-01-02T13:23" are completed, in UTC. */
    static const char *const tails[] = {"", "Z", ":00Z", ":00:00Z", "T00:00:00Z"};
    for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
        char *whole AUTOFREE = xasprintf("%s%s", s, tails[i]);
        if (time_parse(whole, out))
            return 0;
    }
    char *end;
    double seconds = strtod(s, &end);
    if (*end || end == s)
        return err_set(err, ERR_INVALID,
                       "invalid value \"%s\": want a time as 2013-01-02T13:23:37Z or a duration as "
                       "42m",
                       s);
    *out = (int64_t)(seconds * 1e9);
    return 0;
}
