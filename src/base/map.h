/* A string-keyed hash map that remembers insertion order. Keys are copied; values are the caller's.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>

struct map_entry {
    char *key; /* NULL: removed */
    void *value;
};

struct map {
    struct map_entry *entries; /* insertion order, removed ones leave a hole */
    size_t n, cap;             /* slots used, slots allocated */
    size_t live;               /* entries that are not holes */
    unsigned *index;           /* open addressing, 0: empty, else slot + 1 */
    size_t index_cap;          /* power of two */
};

#define MAP_INIT                                                                                   \
    {                                                                                              \
        0                                                                                          \
    }
#define AUTOMAP __attribute__((cleanup(map_release)))

void *map_get(const struct map *m, const char *key);
/* Sets or replaces; returns the previous value or NULL. */
void *map_set(struct map *m, const char *key, void *value);
/* Removes; returns the value or NULL. */
void *map_del(struct map *m, const char *key);
void map_release(struct map *m);

/* for (each live entry pointer it, in insertion order); entries may be removed while walking. */
#define map_foreach(m, it)                                                                         \
    for (struct map_entry *it = (m)->entries; it && it < (m)->entries + (m)->n; it++)              \
        if (it->key)

#endif
