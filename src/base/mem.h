/* Memory: allocation that never fails (it aborts instead) and scope-bound release.
 *
 * Small allocations abort on exhaustion: no caller could do better. Anything whose size comes from
 * outside is bounded by its reader before it is allocated. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *xvasprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* NULL-terminated string vectors, heap-owned. */
char **strv_dup(const char *const *v);
void strv_free(char **v);
size_t strv_len(const char *const *v);
/* Appends a copy of s; *v may be NULL. */
void strv_push(char ***v, const char *s);

void mem_free_ptr(void *pp);
void mem_free_strv(char ***v);

/* char *p AUTOFREE = NULL; is freed at the end of the scope, unless handed over with STEAL(p). */
#define AUTOFREE __attribute__((cleanup(mem_free_ptr)))
#define AUTOSTRV __attribute__((cleanup(mem_free_strv)))
#define STEAL(p)                                                                                   \
    ({                                                                                             \
        __typeof__(p) stolen_ = (p);                                                               \
        (p) = NULL;                                                                                \
        stolen_;                                                                                   \
    })

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline int streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static inline int starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static inline int ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

#endif
