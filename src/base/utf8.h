/* UTF-8 as Unicode 15, table 3-7, has it. Command lines, variables and names of files may hold any bytes. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at s, which is NUL-terminated; 0: none. */
size_t utf8_length(const char *s);
bool utf8_is_valid(const char *s);
/* With U+FFFD for each byte that belongs to no character; heap. */
char *utf8_clean(const char *s);

#endif
