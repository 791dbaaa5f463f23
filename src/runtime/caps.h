/* Capabilities by name: capabilities(7), include/uapi/linux/capability.h. */
#ifndef RUNTIME_CAPS_H
#define RUNTIME_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bit n is capability number n. */
typedef uint64_t caps;

#define CAP_BIT(n) ((caps)1 << (n))

/* All that this kernel knows. */
caps caps_all(void);
/* The 14 that Docker gives a container. */
caps caps_default(void);
/* Docker's rules: names with or without "CAP_", in any case, "ALL"; cap_drop: ALL starts from
 * nothing, cap_add: ALL from everything. ERR_INVALID on an unknown name. Vectors may be NULL. */
int caps_resolve(const char *const *add, const char *const *drop, caps *out, struct err *err);
/* "CAP_CHOWN"; NULL: no such number. */
const char *caps_name(unsigned n);

#endif
