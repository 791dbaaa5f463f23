/* Files below /proc/sys, of the calling thread's network namespace where they are network ones. */
#ifndef NET_SYSCTL_H
#define NET_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* name as a path: "net/ipv4/ip_forward". A missing file is ERR_NOT_FOUND. */
int sysctl_write(const char *name, const char *value, struct err *err);
/* -1 where it cannot be read. */
int sysctl_int(const char *name);

#endif
