#include "image/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sha256.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"

static int make_layout(const char *dir, struct err *err)
{
    static const char *const folders[] = {"blobs/sha256", "layers", "tmp", "locks"};
    /* Others than root may pass through (containers' files), but not look around. */
    if (fs_mkdir_p(dir, 0711, err) < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        char *path AUTOFREE = path_join(dir, folders[i]);
        if (fs_mkdir_p(path, 0711, err) < 0)
            return -1;
    }
    char *index AUTOFREE = path_join(dir, "index.json");
    char *marker AUTOFREE = path_join(dir, "oci-layout");
    static const char empty[] = "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX
                                "\",\"manifests\":[]}\n";
    static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}\n";
    /* Two first commands may meet here: link() in the place of rename() would be needed to be
     * exact, but both write the same text, and nobody adds an image before this returned. */
    if (!fs_exists(index) && fs_write_atomic(index, empty, sizeof(empty) - 1, 0644, true, err) < 0)
        return -1;
    return fs_write_atomic(marker, version, sizeof(version) - 1, 0644, true, err);
}

int image_store_open(const struct paths *paths, struct image_store **out, struct err *err)
{
    char *dir AUTOFREE = paths_images(paths);
    char *marker AUTOFREE = path_join(dir, "oci-layout");
    if (!fs_exists(marker)) {
        char *lock_path AUTOFREE = path_join(paths->root, "images.lock");
        int lock AUTOCLOSE = -1;
        if (fs_lock(lock_path, true, &lock, err) < 0)
            return err_wrap(err, "image store");
        if (!fs_exists(marker) && make_layout(dir, err) < 0)
            return err_wrap(err, "image store");
    }
    struct image_store *store = xcalloc(1, sizeof(*store));
    store->paths = (struct paths){xstrdup(paths->root), xstrdup(paths->run)};
    store->dir = STEAL(dir);
    char *boot AUTOFREE = NULL;
    if (fs_read("/proc/sys/kernel/random/boot_id", 64, &boot, NULL, NULL) == 0)
        snprintf(store->boot, sizeof(store->boot), "%.*s", (int)strcspn(boot, "\n"), boot);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->slot_free, NULL);
    /* One more than processors: while one layer waits for the network another one unpacks. */
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    store->slots = cpus < 2 ? 2 : cpus > 5 ? 6 : (int)cpus + 1;
    *out = store;
    return 0;
}

void image_store_free(struct image_store *store)
{
    if (!store)
        return;
    json_decref(store->index);
    pthread_mutex_destroy(&store->mutex);
    pthread_cond_destroy(&store->slot_free);
    paths_release(&store->paths);
    free(store->dir);
    free(store);
}

const char *image_store_dir(const struct image_store *store)
{
    return store->dir;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int read_index(struct image_store *store, const char *path, const struct stat *st,
                      struct err *err)
{
    char *text AUTOFREE = NULL;
    size_t len;
    if (fs_read(path, INDEX_MAX, &text, &len, err) < 0)
        return -1;
    json_error_t je;
    json_t *index = json_loadb(text, len, 0, &je);
    if (!json_is_array(json_object_get(index, "manifests"))) {
        json_decref(index);
        return err_set(err, ERR_CORRUPT, "%s: not an OCI index", path);
    }
    json_decref(store->index);
    store->index = index;
    store->stamp = *st;
    return 0;
}

int layout_index(struct image_store *store, json_t **index, struct err *err)
{
    char *path AUTOFREE = path_join(store->dir, "index.json");
    int rc = 0;
    pthread_mutex_lock(&store->mutex);
    struct stat st;
    if (stat(path, &st) < 0)
        rc = err_sys(err, errno, "image store: %s", path);
    else if (!store->index || !same_file(&st, &store->stamp))
        rc = read_index(store, path, &st, err);
    if (rc == 0)
        *index = json_incref(store->index);
    pthread_mutex_unlock(&store->mutex);
    return rc;
}

int layout_index_write(struct image_store *store, const json_t *index, struct err *err)
{
    char *path AUTOFREE = path_join(store->dir, "index.json");
    char *text AUTOFREE = json_dumps(index, JSON_INDENT(1) | JSON_SORT_KEYS);
    return fs_write_atomic(path, text, strlen(text), 0644, true, err);
}

int layout_lock(struct image_store *store, bool shared, int *fd, struct err *err)
{
    char *path AUTOFREE = path_join(store->dir, "lock");
    int lock AUTOCLOSE = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return err_sys(err, errno, "image store: %s", path);
    while (flock(lock, shared ? LOCK_SH : LOCK_EX) < 0)
        if (errno != EINTR)
            return err_sys(err, errno, "image store: lock %s", path);
    *fd = STEAL_FD(lock);
    return 0;
}

/* Callers have checked the digest with digest_valid(). */
char *layout_blob(const struct image_store *store, const char *digest)
{
    return xasprintf("%s/blobs/sha256/%s", store->dir, digest + 7);
}

char *layout_layer(const struct image_store *store, const char *digest)
{
    return xasprintf("%s/layers/%s", store->dir, digest + 7);
}

bool layout_has_blob(const struct image_store *store, const char *digest, int64_t size)
{
    char *path AUTOFREE = layout_blob(store, digest);
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (size < 0 || st.st_size == size);
}

bool layout_has_blobs(const struct image_store *store, const struct image *image)
{
    for (size_t i = 0; i < image->layers_n; i++)
        if (!layout_has_blob(store, image->layers[i].digest, image->layers[i].size))
            return false;
    return true;
}

bool layout_has_layer(const struct image_store *store, const char *digest)
{
    char *path AUTOFREE = layout_layer(store, digest);
    char *unsynced AUTOFREE = path_join(path, "unsynced"), *boot AUTOFREE = NULL;
    if (!fs_exists(path))
        return false;
    return fs_read(unsynced, 64, &boot, NULL, NULL) < 0 || streq(boot, store->boot);
}

int layout_read_json(const struct image_store *store, const char *digest, size_t max, json_t **out,
                     struct err *err)
{
    if (!digest_valid(digest))
        return err_set(err, ERR_CORRUPT, "\"%.100s\" is not a digest", digest);
    char *path AUTOFREE = layout_blob(store, digest);
    char *text AUTOFREE = NULL;
    size_t len;
    struct err why AUTOERR = ERR_INIT;
    if (fs_read(path, max, &text, &len, &why) < 0) {
        if (why.kind == ERR_NOT_FOUND)
            return err_set(err, ERR_CORRUPT, "blob %.19s is missing", digest);
        err_move(err, &why);
        return -1;
    }
    json_error_t je;
    *out = json_loadb(text, len, 0, &je);
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return err_set(err, ERR_CORRUPT, "blob %s is not a JSON object", digest);
    }
    return 0;
}

int64_t layout_layer_size(const struct image_store *store, const char *digest, bool *opaque)
{
    char *dir AUTOFREE = layout_layer(store, digest);
    char *path AUTOFREE = path_join(dir, "layer.json");
    json_t *j AUTOJSON = NULL;
    if (json_read(path, &j, NULL) < 0)
        return 0;
    if (opaque)
        *opaque = jbool(j, "opaque", false);
    return jint(j, "size", 0);
}

char *digest_of(const void *data, size_t n, char out[72])
{
    memcpy(out, "sha256:", 7);
    SHA256Data(data, n, out + 7);
    return out;
}

char *digest_chain(const char *parent, const char *diff_id, char out[72])
{
    if (!parent)
        return memmove(out, diff_id, strlen(diff_id) + 1);
    char *text AUTOFREE = xasprintf("%s %s", parent, diff_id);
    return digest_of(text, strlen(text), out);
}

char *digest_dependent(const char *chain, char out[72])
{
    char *text AUTOFREE = xasprintf("dependent %s", chain);
    return digest_of(text, strlen(text), out);
}

void layout_stack_unique(char **dirs)
{
    size_t n = 0;
    for (size_t i = 0; dirs[i]; i++) {
        bool again = false;
        for (size_t k = i + 1; dirs[k] && !again; k++)
            again = streq(dirs[i], dirs[k]);
        if (again)
            free(dirs[i]);
        else
            dirs[n++] = dirs[i];
    }
    dirs[n] = NULL;
}

bool stop_now(const struct stop *stop)
{
    return (stop->cancel && atomic_load(stop->cancel)) ||
           (stop->failed && atomic_load(stop->failed));
}

/* A killed process leaves its lock file: the next one takes it over, and its last user removes it.
 */
static int try_lock(const char *path, int *fd)
{
    int lock AUTOCLOSE = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
        return -1;
    /* The holder before us may have removed the name after we opened it. */
    struct stat mine, named;
    if (fstat(lock, &mine) < 0 || stat(path, &named) < 0 || mine.st_ino != named.st_ino) {
        errno = EWOULDBLOCK;
        return -1;
    }
    *fd = STEAL_FD(lock);
    return 0;
}

int layout_lock_digest(struct image_store *store, const char *digest, const struct stop *stop,
                       int *fd, struct err *err)
{
    char *path AUTOFREE = xasprintf("%s/locks/%s", store->dir, digest + 7);
    for (int wait_ms = 1; try_lock(path, fd) < 0; wait_ms = wait_ms < 50 ? wait_ms * 2 : 50) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(err, errno, "lock %s", path);
        if (stop_now(stop))
            return err_set(err, ERR_CANCELLED, "cancelled");
        poll(NULL, 0, wait_ms);
    }
    return 0;
}

void layout_unlock_digest(struct image_store *store, const char *digest, int fd)
{
    char *path AUTOFREE = xasprintf("%s/locks/%s", store->dir, digest + 7);
    unlink(path);
    close(fd);
}

void layout_slot_take(struct image_store *store)
{
    pthread_mutex_lock(&store->mutex);
    while (store->slots == 0)
        pthread_cond_wait(&store->slot_free, &store->mutex);
    store->slots--;
    pthread_mutex_unlock(&store->mutex);
}

void layout_slot_give(struct image_store *store)
{
    pthread_mutex_lock(&store->mutex);
    store->slots++;
    pthread_cond_signal(&store->slot_free);
    pthread_mutex_unlock(&store->mutex);
}
