/* The options of `run` as members of its request: short forms become long ones here. */
#ifndef CLI_RUN_SPEC_H
#define CLI_RUN_SPEC_H

#include "base/err.h"
#include "base/json.h"
#include "cli/options.h"

int run_request(const struct args *args, json_t *request, struct err *err);
/* "K=V" as it is, "K" with our own value; variables that we lack are left out. New array. */
json_t *environment_of(const char *const *items);

#endif
