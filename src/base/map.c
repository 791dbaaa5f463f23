#include "base/map.h"

#include <stdint.h>

#include "base/mem.h"

/* FNV-1a, 64 bit: short keys, no adversary (documents are bounded before they get here). */
static uint64_t hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ (h >> 29);
}

static size_t probe(const struct map *m, const char *key)
{
    size_t mask = m->index_cap - 1, i = hash(key) & mask;
    for (;; i = (i + 1) & mask) {
        unsigned slot = m->index[i];
        if (!slot)
            return i;
        const struct map_entry *e = &m->entries[slot - 1];
        if (e->key && streq(e->key, key))
            return i;
    }
}

/* Drops the holes and makes room for one more. */
static void rebuild(struct map *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->entries[i].key)
            m->entries[n++] = m->entries[i];
    m->n = n;
    size_t want = 16;
    while (want < (n + 1) * 2)
        want *= 2;
    free(m->index);
    m->index = xcalloc(want, sizeof(*m->index));
    m->index_cap = want;
    for (size_t i = 0; i < n; i++)
        m->index[probe(m, m->entries[i].key)] = (unsigned)i + 1;
}

void *map_get(const struct map *m, const char *key)
{
    if (!m->index_cap)
        return NULL;
    unsigned slot = m->index[probe(m, key)];
    return slot ? m->entries[slot - 1].value : NULL;
}

void *map_set(struct map *m, const char *key, void *value)
{
    if (!m->index_cap || (m->n + 1) * 2 > m->index_cap)
        rebuild(m);
    size_t i = probe(m, key);
    if (m->index[i]) {
        struct map_entry *e = &m->entries[m->index[i] - 1];
        void *old = e->value;
        e->value = value;
        return old;
    }
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 8;
        m->entries = xrealloc(m->entries, m->cap * sizeof(*m->entries));
    }
    m->entries[m->n] = (struct map_entry){.key = xstrdup(key), .value = value};
    m->index[i] = (unsigned)++m->n;
    m->live++;
    return NULL;
}

void *map_del(struct map *m, const char *key)
{
    if (!m->index_cap)
        return NULL;
    unsigned slot = m->index[probe(m, key)];
    if (!slot)
        return NULL;
    /* The index keeps pointing at the hole, so that later keys of the same run stay reachable. */
    struct map_entry *e = &m->entries[slot - 1];
    void *value = e->value;
    free(e->key);
    *e = (struct map_entry){0};
    m->live--;
    return value;
}

void map_release(struct map *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->entries[i].key);
    free(m->entries);
    free(m->index);
    *m = (struct map)MAP_INIT;
}
