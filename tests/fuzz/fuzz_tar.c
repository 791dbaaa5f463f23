/* A layer's tar, as hostile as it comes: nothing may appear or change outside of its folder. Run as
 * root, on a memory file system. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "image/module/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct run {
    struct ring ring;
    char *dir;
    const uint8_t *data;
    size_t n;
};

static void *feed(void *arg)
{
    struct run *r = arg;
    int unused = ring_write(&r->ring, r->data, r->n);
    (void)unused;
    ring_end(&r->ring, false);
    return NULL;
}

static void *unpack(void *arg)
{
    struct run *r = arg;
    struct unpack_result result;
    struct err err AUTOERR = ERR_INIT;
    if (unpack_tar(&r->ring, r->dir, &result, &err) < 0)
        ring_stop(&r->ring);
    unpack_result_release(&result);
    return NULL;
}

/* Only the folder and the sentinel, and that one as it was. */
static void check_outside(const char *base)
{
    char *sentinel AUTOFREE = path_join(base, "sentinel");
    char *moved AUTOFREE = path_join(base, "fs");
    struct stat st;
    if (lstat(sentinel, &st) < 0 || st.st_mode != (S_IFREG | 0640) || st.st_size != 4 ||
        st.st_nlink != 1)
        abort();
    if (stat(base, &st) < 0 || st.st_nlink != 3 || lstat(moved, &st) < 0 || !S_ISDIR(st.st_mode))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char base[] = "/dev/shm/fuzz_tar.XXXXXX";
    if (!mkdtemp(base))
        abort();
    char *sentinel AUTOFREE = path_join(base, "sentinel");
    char *dir AUTOFREE = path_join(base, "fs");
    if (fs_write_atomic(sentinel, "safe", 4, 0640, false, NULL) < 0 || mkdir(dir, 0755) < 0)
        abort();
    struct run run = {.dir = dir, .data = data, .n = n};
    pthread_t threads[2];
    ring_init(&run.ring);
    pthread_create(&threads[0], NULL, feed, &run);
    pthread_create(&threads[1], NULL, unpack, &run);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    ring_release(&run.ring);
    check_outside(base);
    fs_remove_all(base, NULL);
    return 0;
}
