#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* AddressSanitizer sees a block as one piece, unless it is told of the pieces. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* as gcc says it */
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GAP = 8 };
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
enum { GAP = 0 };
#endif

enum { BLOCK_MIN = 16 * 1024, BLOCK_MAX = 1024 * 1024 };

struct block {
    struct block *next;
    size_t used, cap;
    alignas(max_align_t) unsigned char data[];
};

struct arena {
    struct block *head;
    size_t used;
    size_t next_cap;
};

struct arena *arena_new(void)
{
    struct arena *a = xcalloc(1, sizeof(*a));
    a->next_cap = BLOCK_MIN;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

static struct block *arena_grow(struct arena *a, size_t n)
{
    size_t cap = a->next_cap;
    if (a->next_cap < BLOCK_MAX)
        a->next_cap *= 2;
    if (cap < n)
        cap = n;
    struct block *b = xcalloc(1, sizeof(*b) + cap);
    b->cap = cap;
    ASAN_POISON_MEMORY_REGION(b->data, cap);
    /* An oversized block goes behind the current one, whose rest is still good. */
    if (a->head && n > a->next_cap / 2) {
        b->next = a->head->next;
        a->head->next = b;
    } else {
        b->next = a->head;
        a->head = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t align = alignof(uint64_t);
    if (n > SIZE_MAX / 2)
        abort();
    size_t exact = n;
    n = (n + align - 1) / align * align + GAP;
    struct block *b = a->head;
    if (!b || b->cap - b->used < n)
        b = arena_grow(a, n);
    void *p = b->data + b->used;
    ASAN_UNPOISON_MEMORY_REGION(p, exact);
    b->used += n;
    a->used += n;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        abort();
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
