/* The OCI runtime's error messages in a user's words. */
#ifndef MONITOR_TIDY_H
#define MONITOR_TIDY_H

#include <stddef.h>

/* Takes the message out of the runtime's log (JSON lines or plain text) and tidies it.
 * Returns the exit code that a shell and Docker give for it: 127 command not found, 126 found but
 * not executable, 125 anything else. out holds size bytes. */
int tidy_message(const char *log, char *out, size_t size);

#endif
