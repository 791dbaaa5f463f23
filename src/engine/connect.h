/* A container's names, resolver sockets and published ports, which live in the supervisor's loop.
 *
 * Each call sets container.dns_pending and ports_pending; its callbacks clear them, set fault (or, where it runs
 * already, names_missing and ports_missing) on failure, and step the container. */
#ifndef ENGINE_CONNECT_H
#define ENGINE_CONNECT_H

#include <stdbool.h>

struct container;

/* After preparing: takes what the job found out into the record, and opens. */
void connect_begin(struct container *c);
/* For an adopted container: opens again what lived in the supervisor that is gone. */
void connect_again(struct container *c);
/* Tries again what is missing of one that runs; true: there was something. */
bool connect_retry(struct container *c);
/* Takes it all back. */
void connect_end(struct container *c);

#endif
