/* The short form of a published port: [[ADDRESS:]HOST[-HOST]:]CONTAINER[-CONTAINER][/PROTOCOL]. */
#ifndef FILE_PORT_SPEC_H
#define FILE_PORT_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct port_spec {
    const char *address;  /* "" : all; without the brackets of IPv6 */
    const char *protocol; /* "tcp", "udp", "sctp" */
    uint16_t first, last; /* in the container */
    bool published;
    uint16_t host_first, host_last; /* as many as in the container, or a choice for a single one */
};

/* NULL, or what is wrong with text. */
const char *port_spec_parse(struct arena *a, const char *text, struct port_spec *out);
/* "8000" or "8000-8010"; both ends in 0..65535 and in order. */
bool port_range_parse(const char *text, uint16_t *first, uint16_t *last);
bool address_is_valid(const char *ip);

#endif
