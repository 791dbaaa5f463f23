/* The user's terminal: its size, raw mode that is undone whatever happens: a small process sees to it that
 * waits for our end, which may be a SIGKILL. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* False where fd is no terminal or does not know its size. */
bool terminal_size(int fd, int *rows, int *cols);
/* Columns of fd, or the fallback. */
int terminal_width(int fd, int fallback);
/* A terminal that understands cursor movements. */
bool terminal_capable(int fd);

/* Raw mode on stdin; undone by terminal_restore(), at exit and by fatal signals. False: no terminal. */
bool terminal_raw(void);
/* Keys come one by one and unseen, Ctrl-C stays a signal; undone like raw mode. False: no terminal. */
bool terminal_keys(void);
void terminal_restore(void);
/* What is written to stdout when we die before terminal_restore(); at most TERMINAL_LAST_WORDS bytes, "": nothing. */
enum { TERMINAL_LAST_WORDS = 63 };
void terminal_last_words(const char *text);

/* Cells that a UTF-8 text takes; escape sequences (CSI ... letter) take none. */
int text_width(const char *s);
/* Bytes of s that fit in width cells. */
size_t text_fit(const char *s, int width);

#endif
