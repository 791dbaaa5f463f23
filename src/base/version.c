#include "base/version.h"

#include <stdlib.h>

#include "base/json.h"

#ifndef COMPOSE_PROTOCOL
#define COMPOSE_PROTOCOL 1
#define COMPOSE_STATE    1
#endif

const char compose_version[] = COMPOSE_VERSION;
const int protocol_version = COMPOSE_PROTOCOL;
const int state_version = COMPOSE_STATE;

int version_compare(const char *a, const char *b)
{
    for (;;) {
        char *a_end, *b_end;
        unsigned long x = strtoul(a, &a_end, 10), y = strtoul(b, &b_end, 10);
        if (x != y)
            return x < y ? -1 : 1;
        if (*a_end != '.' || *b_end != '.')
            return (*a_end == '.') - (*b_end == '.');
        a = a_end + 1;
        b = b_end + 1;
    }
}

int state_version_check(const json_t *file, const char *path, struct err *err)
{
    json_int_t version = jint(file, "version", 0);
    if (version < 1)
        return err_set(err, ERR_CORRUPT, "%s: no version", path);
    if (version <= state_version)
        return 0;
    return err_set(
        err, ERR_CONFLICT,
        "%s was written by a newer compose (version %lld of the state): this compose %s knows "
        "versions up to %d",
        path, (long long)version, compose_version, state_version);
}
