/* Diagnostics of a process for its maintainers, not for its user: where a message goes is decided
 * once, at start. COMPOSE_TRACE=1 adds every state transition. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

/* who: process role and name before each line, e.g. "supervisor shop". fd: where to, -1: nowhere.
 */
void log_open(const char *who, int fd);
bool log_tracing(void);
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define log_trace(...)                                                                             \
    do {                                                                                           \
        if (log_tracing())                                                                         \
            log_line(__VA_ARGS__);                                                                 \
    } while (0)

#endif
