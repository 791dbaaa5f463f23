#include "image/module/ring.h"

#include <string.h>

#include "base/mem.h"

/* Each side is woken only when there is a good deal to do: fewer switches, longer runs in cache.
 * Of a ring one side always has a quarter, so both can never wait at once. */
enum { QUARTER = RING_SIZE / 4 };

void ring_init(struct ring *r)
{
    *r = (struct ring){0};
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->readable, NULL);
    pthread_cond_init(&r->writable, NULL);
    r->data = xmalloc(RING_SIZE);
}

void ring_release(struct ring *r)
{
    if (!r->data)
        return;
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->readable);
    pthread_cond_destroy(&r->writable);
    free(r->data);
    r->data = NULL;
}

static size_t span(uint64_t at, uint64_t count)
{
    size_t to_end = RING_SIZE - (size_t)(at % RING_SIZE);
    return count < to_end ? (size_t)count : to_end;
}

unsigned char *ring_room(struct ring *r, size_t *n)
{
    pthread_mutex_lock(&r->mutex);
    if (r->head - r->tail == RING_SIZE)
        while (!r->stopped && RING_SIZE - (r->head - r->tail) < QUARTER)
            pthread_cond_wait(&r->writable, &r->mutex);
    bool stopped = r->stopped;
    uint64_t room = RING_SIZE - (r->head - r->tail);
    pthread_mutex_unlock(&r->mutex);
    if (stopped)
        return NULL;
    *n = span(r->head, room);
    return r->data + r->head % RING_SIZE;
}

void ring_commit(struct ring *r, size_t n)
{
    pthread_mutex_lock(&r->mutex);
    uint64_t before = r->head - r->tail;
    r->head += n;
    if (before < QUARTER && r->head - r->tail >= QUARTER)
        pthread_cond_signal(&r->readable);
    pthread_mutex_unlock(&r->mutex);
}

int ring_write(struct ring *r, const void *data, size_t n)
{
    const unsigned char *p = data;
    while (n) {
        size_t room;
        unsigned char *to = ring_room(r, &room);
        if (!to)
            return -1;
        if (room > n)
            room = n;
        memcpy(to, p, room);
        ring_commit(r, room);
        p += room;
        n -= room;
    }
    return 0;
}

void ring_end(struct ring *r, bool failed)
{
    pthread_mutex_lock(&r->mutex);
    r->ended = true;
    r->failed = failed;
    pthread_cond_signal(&r->readable);
    pthread_mutex_unlock(&r->mutex);
}

const unsigned char *ring_bytes(struct ring *r, size_t *n)
{
    pthread_mutex_lock(&r->mutex);
    if (r->head == r->tail)
        while (!r->ended && r->head - r->tail < QUARTER)
            pthread_cond_wait(&r->readable, &r->mutex);
    uint64_t count = r->head - r->tail;
    bool failed = r->failed;
    pthread_mutex_unlock(&r->mutex);
    if (failed || !count) {
        *n = failed;
        return NULL;
    }
    *n = span(r->tail, count);
    return r->data + r->tail % RING_SIZE;
}

void ring_consume(struct ring *r, size_t n)
{
    pthread_mutex_lock(&r->mutex);
    uint64_t room = RING_SIZE - (r->head - r->tail);
    r->tail += n;
    if (room < QUARTER && RING_SIZE - (r->head - r->tail) >= QUARTER)
        pthread_cond_signal(&r->writable);
    pthread_mutex_unlock(&r->mutex);
}

void ring_stop(struct ring *r)
{
    pthread_mutex_lock(&r->mutex);
    r->stopped = true;
    pthread_cond_signal(&r->writable);
    pthread_mutex_unlock(&r->mutex);
}
