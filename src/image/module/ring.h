/* A bounded ring of bytes between two threads: one writes, one reads, both in place (no copy).
 * What bounds the memory of a layer in work, whatever its size. */
#ifndef IMAGE_MODULE_RING_H
#define IMAGE_MODULE_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RING_SIZE = 1 << 20 };

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t readable, writable;
    unsigned char *data;
    uint64_t head, tail; /* bytes written and read so far */
    bool ended;          /* the writer is done: */
    bool failed;         /* ... because it failed */
    bool stopped;        /* the reader gave up */
};

void ring_init(struct ring *r);
void ring_release(struct ring *r);

/* Room to write at least one byte into; waits for it. NULL: the reader gave up. */
unsigned char *ring_room(struct ring *r, size_t *n);
void ring_commit(struct ring *r, size_t n);
/* Copies all n bytes in; -1: the reader gave up. */
int ring_write(struct ring *r, const void *data, size_t n);
/* Ends the stream; failed: the reader must not take what it got for the whole. */
void ring_end(struct ring *r, bool failed);

/* Bytes to read; waits for them. NULL with *n 0: the end; NULL with *n 1: the writer failed. */
const unsigned char *ring_bytes(struct ring *r, size_t *n);
void ring_consume(struct ring *r, size_t n);
/* The reader gives up: the writer's next call fails. */
void ring_stop(struct ring *r);

#endif
