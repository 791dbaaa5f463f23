/* System call filters: the default profile, and profiles in Docker's JSON format. */
#ifndef RUNTIME_SECCOMP_H
#define RUNTIME_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/caps.h"

enum seccomp_arch {
    SECCOMP_X86 = 1,
    SECCOMP_ARM = 2,
    SECCOMP_PPC = 4,
    SECCOMP_S390 = 8,
    SECCOMP_RISCV = 16,
    SECCOMP_OTHER = 32,
    SECCOMP_ANY = 63,
};

enum seccomp_action { SECCOMP_ALLOW, SECCOMP_ENOSYS };
enum seccomp_op { SECCOMP_NE, SECCOMP_EQ, SECCOMP_MASKED_EQ };

struct seccomp_rule {
    const char *const *names; /* NULL-terminated */
    enum seccomp_action action;
    caps with, without; /* applies when all of with and none of without are given; 0: always */
    unsigned arches;    /* 0: any */
    bool has_arg;
    struct {
        unsigned index;
        enum seccomp_op op;
        uint64_t value; /* of SECCOMP_MASKED_EQ: the mask; what is masked must be 0 */
    } arg;
};

/* The default profile. What no rule allows fails with EPERM. */
const struct seccomp_rule *seccomp_profile(size_t *n);
/* Whether a rule applies to a container with these capabilities on this machine. */
bool seccomp_rule_applies(const struct seccomp_rule *r, caps c);

/* libseccomp's names of this machine's architectures ("x86_64", "x86", "x32"), NULL-terminated. */
const char *const *seccomp_arches(void);

/* The default profile as the "seccomp" section of a config.json; heap. */
char *seccomp_section(caps c);
/* A profile file in Docker's format, resolved for these capabilities; heap in *section. */
int seccomp_section_from_file(const char *path, caps c, char **section, struct err *err);

/* The default profile compiled, base64, for a runtime that takes a program instead of rules: saves
 * it some 14 ms a container. Compiled once with libseccomp and kept in folder cache. NULL where
 * that is not possible. */
char *seccomp_program(caps c, const char *cache);

#endif
