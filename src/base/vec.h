/* Typed growing arrays: VEC(struct item) items = {0}; vec_push(&items, item); items.v[i], items.n.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include "base/mem.h"

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *v;                                                                                      \
        size_t n, cap;                                                                             \
    }

#define vec_reserve(vec, want)                                                                     \
    do {                                                                                           \
        if ((vec)->cap < (want)) {                                                                 \
            size_t cap_ = (vec)->cap ? (vec)->cap * 2 : 8;                                         \
            if (cap_ < (want))                                                                     \
                cap_ = (want);                                                                     \
            (vec)->v = xrealloc((vec)->v, cap_ * sizeof(*(vec)->v));                               \
            (vec)->cap = cap_;                                                                     \
        }                                                                                          \
    } while (0)

#define vec_push(vec, ...)                                                                         \
    do {                                                                                           \
        vec_reserve(vec, (vec)->n + 1);                                                            \
        (vec)->v[(vec)->n++] = (__VA_ARGS__);                                                      \
    } while (0)

/* Removes element i, keeping the order. */
#define vec_remove(vec, i)                                                                         \
    do {                                                                                           \
        size_t i_ = (i);                                                                           \
        memmove((vec)->v + i_, (vec)->v + i_ + 1, ((vec)->n - i_ - 1) * sizeof(*(vec)->v));        \
        (vec)->n--;                                                                                \
    } while (0)

#define vec_release(vec)                                                                           \
    do {                                                                                           \
        free((vec)->v);                                                                            \
        (vec)->v = NULL;                                                                           \
        (vec)->n = (vec)->cap = 0;                                                                 \
    } while (0)

/* for (each element pointer it) */
#define vec_foreach(vec, it)                                                                       \
    for (__typeof__(&*(vec)->v) it = (vec)->v; it && it < (vec)->v + (vec)->n; it++)

#endif
