/* Arena: allocations that are freed all at once. A loaded project is one arena.
 * Memory is zeroed, and aligned for pointers and 64-bit numbers: sixteen bytes, as malloc has them,
 * would cost a tree of small nodes a tenth. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a);
void *arena_alloc(struct arena *a, size_t n);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Bytes handed out so far: lets a reader of hostile input bound what it builds. */
size_t arena_used(const struct arena *a);

#define arena_new_of(a, T)   ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (n)))

#endif
