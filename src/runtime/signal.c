#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

#include "base/mem.h"
#include "runtime/oci.h"

/* Names that sigabbrev_np(3) does not know, as Docker takes them. */
static const struct {
    const char *name;
    int number;
} aliases[] = {
    {"IOT", SIGIOT},
    {"CLD", SIGCHLD},
    {"POLL", SIGPOLL},
};

static int realtime_by_name(const char *name)
{
    int offset = 0, end = 0;
    if (strcasecmp(name, "RTMIN") == 0)
        return SIGRTMIN;
    if (strcasecmp(name, "RTMAX") == 0)
        return SIGRTMAX;
    if (strncasecmp(name, "RTMIN+", 6) == 0 && sscanf(name + 6, "%d%n", &offset, &end) == 1 &&
        !name[6 + end] && offset >= 0 && offset <= SIGRTMAX - SIGRTMIN)
        return SIGRTMIN + offset;
    if (strncasecmp(name, "RTMAX-", 6) == 0 && sscanf(name + 6, "%d%n", &offset, &end) == 1 &&
        !name[6 + end] && offset >= 0 && offset <= SIGRTMAX - SIGRTMIN)
        return SIGRTMAX - offset;
    return -1;
}

int signal_by_name(const char *name)
{
    if (isdigit((unsigned char)*name)) {
        char *end;
        long n = strtol(name, &end, 10);
        return !*end && n > 0 && n <= SIGRTMAX ? (int)n : -1;
    }
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int sig = 1; sig < SIGRTMIN; sig++) {
        const char *known = sigabbrev_np(sig);
        if (known && strcasecmp(known, name) == 0)
            return sig;
    }
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcasecmp(aliases[i].name, name) == 0)
            return aliases[i].number;
    return realtime_by_name(name);
}
