/* What `compose exec -d` leaves behind: the parent of its process, which tells of its end.
 *
 * compose-monitor detach DIR TEXT PID_FILE COMMAND...
 *
 * COMMAND is an OCI runtime's exec that ends when the process runs; its standard streams are the
 * process's. Then one byte goes to descriptor 3, and when the process has ended, its exit code between
 * BEFORE and AFTER is a line for DIR/control.sock, if somebody listens there. Ends with 1 where COMMAND
 * failed. */
#ifndef MONITOR_DETACH_H
#define MONITOR_DETACH_H

int detach_main(char **args);

#endif
