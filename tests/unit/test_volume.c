/* Volumes: life cycle, seeding from an image's folder, driver options. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "volume/volume.h"

struct box {
    char dir[64];
    struct paths paths;
    char *rootfs;
};

static int setup(void **state)
{
    struct box *b = xcalloc(1, sizeof(*b));
    strcpy(b->dir, "/tmp/test-volume.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    b->paths = (struct paths){path_join(b->dir, "root"), path_join(b->dir, "run")};
    b->rootfs = path_join(b->dir, "rootfs");
    mkdir(b->rootfs, 0755);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    struct volume_state *v = NULL;
    size_t n = 0;
    volume_list(&b->paths, NULL, &v, &n, NULL);
    for (size_t i = 0; i < n; i++) {
        volume_remove(&b->paths, v[i].name, NULL, NULL);
        volume_state_release(&v[i]);
    }
    free(v);
    fs_remove_all(b->dir, NULL);
    free(b->rootfs);
    paths_release(&b->paths);
    free(b);
    return 0;
}

static char *put(const char *dir, const char *name, const char *text, size_t n)
{
    char *path = path_join(dir, name);
    char *parent AUTOFREE = path_dir(path);
    assert_int_equal(fs_mkdir_p(parent, 0755, NULL), 0);
    assert_int_equal(fs_write_atomic(path, text, n, 0644, false, NULL), 0);
    return path;
}

static struct volume_state ensure(struct box *b, const struct volume *def, bool *created)
{
    struct volume_state v;
    struct err err AUTOERR = ERR_INIT;
    if (volume_ensure(&b->paths, "p", def, created, &v, &err) < 0)
        fail_msg("%s", err.msg);
    return v;
}

static void test_made_once_listed_and_removed(void **state)
{
    struct box *b = *state;
    struct volume def = {.key = "data", .name = "p_data"};
    struct err err AUTOERR = ERR_INIT;
    bool created = false;
    struct volume_state v = ensure(b, &def, &created), again, anonymous, *list;
    assert_true(created);
    assert_true(fs_is_dir(v.mountpoint));
    again = ensure(b, &def, &created);
    assert_false(created);
    assert_string_equal(again.project, "p");
    assert_string_equal(again.key, "data");
    assert_true(json_equal(again.definition, v.definition) || (!again.definition && !v.definition));
    assert_int_equal(volume_create_anonymous(&b->paths, "q", &anonymous, &err), 0);
    assert_true(anonymous.anonymous);
    assert_int_equal(strlen(anonymous.name), 64);
    size_t n;
    assert_int_equal(volume_list(&b->paths, "p", &list, &n, &err), 0);
    assert_int_equal(n, 1);
    volume_state_release(&list[0]);
    free(list);
    assert_int_equal(volume_remove(&b->paths, "p_data", NULL, &err), 0);
    assert_int_equal(volume_remove(&b->paths, "p_data", NULL, &err), 0);
    assert_false(fs_exists(v.mountpoint));
    assert_int_equal(volume_load(&b->paths, "p_data", &again, &err), -1);
    assert_int_equal(err.kind, ERR_NOT_FOUND);
    volume_state_release(&v);
    volume_state_release(&again);
    volume_state_release(&anonymous);
}

static void test_definitions_that_cannot_be(void **state)
{
    struct box *b = *state;
    static struct key_value bad_opts[] = {{"color", "blue"}};
    const struct {
        struct volume def;
        const char *want;
    } cases[] = {
        {{.name = "gone", .external = true}, "external volume \"gone\" not found"},
        {{.name = "../x"}, "is invalid"},
        {{.name = ".lock"}, "is invalid"},
        {{.name = "x", .driver = "nfs-plugin"}, "driver \"nfs-plugin\" is not supported"},
        {{.name = "x", .driver_opts = {bad_opts, 1}}, "invalid driver option: \"color\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct volume_state v;
        struct err err AUTOERR = ERR_INIT;
        assert_int_equal(volume_ensure(&b->paths, "p", &cases[i].def, NULL, &v, &err), -1);
        if (!strstr(err.msg, cases[i].want))
            fail_msg("%s", err.msg);
    }
}

static void test_seed_copies_everything(void **state)
{
    struct box *b = *state;
    char *data AUTOFREE = path_join(b->rootfs, "data");
    char *file AUTOFREE = put(data, "sub/file", "content", 7);
    char *hard AUTOFREE = path_join(data, "hard"), *soft AUTOFREE = path_join(data, "soft");
    char *fifo AUTOFREE = path_join(data, "fifo"), *hole AUTOFREE = path_join(data, "hole");
    struct timespec old[2] = {{1000, 5}, {2000, 7}};
    assert_int_equal(link(file, hard), 0);
    assert_int_equal(symlink("sub/file", soft), 0);
    assert_int_equal(mkfifo(fifo, 0640), 0);
    int fd = open(hole, O_RDWR | O_CREAT, 0600);
    assert_int_equal(pwrite(fd, "end", 3, 4 << 20), 3);
    close(fd);
    assert_int_equal(chown(file, 12, 34), 0);
    assert_int_equal(chmod(file, 04711), 0);
    assert_int_equal(utimensat(AT_FDCWD, file, old, 0), 0);
    assert_int_equal(chown(data, 999, 998), 0);
    assert_int_equal(chmod(data, 01770), 0);
    struct volume def = {.key = "d", .name = "p_d"};
    struct volume_state v = ensure(b, &def, NULL);
    struct err err AUTOERR = ERR_INIT;
    if (volume_seed(&v, b->rootfs, "/data", &err) < 0)
        fail_msg("%s", err.msg);
    char *to_file AUTOFREE = path_join(v.mountpoint, "sub/file");
    char *to_hard AUTOFREE = path_join(v.mountpoint, "hard");
    char *to_soft AUTOFREE = path_join(v.mountpoint, "soft");
    char *to_fifo AUTOFREE = path_join(v.mountpoint, "fifo");
    char *to_hole AUTOFREE = path_join(v.mountpoint, "hole");
    struct stat root, a, h, s, p, z;
    assert_int_equal(stat(v.mountpoint, &root), 0);
    assert_int_equal(root.st_uid, 999);
    assert_int_equal(root.st_gid, 998);
    assert_int_equal(root.st_mode & 07777, 01770);
    assert_int_equal(stat(to_file, &a), 0);
    assert_int_equal(a.st_uid, 12);
    assert_int_equal(a.st_mode & 07777, 04711);
    assert_int_equal(a.st_mtim.tv_sec, 2000);
    assert_int_equal(stat(to_hard, &h), 0);
    assert_int_equal(h.st_ino, a.st_ino);
    assert_int_equal(lstat(to_soft, &s), 0);
    assert_true(S_ISLNK(s.st_mode));
    assert_int_equal(stat(to_fifo, &p), 0);
    assert_true(S_ISFIFO(p.st_mode));
    assert_int_equal(stat(to_hole, &z), 0);
    assert_int_equal(z.st_size, (4 << 20) + 3);
    assert_true(z.st_blocks < 1000);
    volume_state_release(&v);
}

static void test_seed_leaves_content_alone_and_finishes_what_was_begun(void **state)
{
    struct box *b = *state;
    char *data AUTOFREE = path_join(b->rootfs, "data");
    free(put(data, "file", "image", 5));
    struct volume def = {.key = "d", .name = "p_d"};
    struct volume_state v = ensure(b, &def, NULL);
    char *own AUTOFREE = put(v.mountpoint, "own", "kept", 4);
    char *to AUTOFREE = path_join(v.mountpoint, "file"), *dir AUTOFREE = path_dir(v.mountpoint);
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(volume_seed(&v, b->rootfs, "/data", &err), 0);
    assert_false(fs_exists(to));
    /* A copy that was cut short: the mark is there, the file is half. */
    char *mark AUTOFREE = put(dir, "seeding", "", 0);
    free(put(v.mountpoint, "file", "im", 2));
    assert_int_equal(volume_seed(&v, b->rootfs, "/data", &err), 0);
    char *text AUTOFREE = NULL;
    assert_int_equal(fs_read(to, 100, &text, NULL, &err), 0);
    assert_string_equal(text, "image");
    assert_true(fs_exists(own));
    assert_false(fs_exists(mark));
    assert_int_equal(volume_seed(&v, b->rootfs, "/missing", &err), 0);
    volume_state_release(&v);
}

static void test_seed_stays_inside_the_root(void **state)
{
    struct box *b = *state;
    char *secret AUTOFREE = put(b->dir, "outside/secret", "x", 1);
    char *outside AUTOFREE = path_dir(secret), *link AUTOFREE = path_join(b->rootfs, "data");
    assert_int_equal(symlink(outside, link), 0);
    struct volume def = {.key = "d", .name = "p_d"};
    struct volume_state v = ensure(b, &def, NULL);
    struct err err AUTOERR = ERR_INIT;
    char *copied AUTOFREE = path_join(v.mountpoint, "secret");
    assert_int_equal(volume_seed(&v, b->rootfs, "/data", &err), 0);
    assert_int_equal(volume_seed(&v, b->rootfs, "/../outside", &err), 0);
    assert_false(fs_exists(copied));
    volume_state_release(&v);
}

static void test_bind_driver_keeps_the_users_files(void **state)
{
    struct box *b = *state;
    char *file AUTOFREE = put(b->dir, "host/file", "mine", 4);
    char *host AUTOFREE = path_dir(file);
    struct key_value opts[] = {{"type", "none"}, {"o", "bind,ro"}, {"device", host}};
    struct volume def = {.key = "d", .name = "p_bind", .driver_opts = {opts, 3}};
    struct volume_state v = ensure(b, &def, NULL);
    char *seen AUTOFREE = path_join(v.mountpoint, "file");
    char *wanted AUTOFREE = path_join(v.mountpoint, "new");
    assert_true(fs_exists(seen));
    assert_int_equal(open(wanted, O_WRONLY | O_CREAT, 0600), -1);
    volume_state_release(&v);
    v = ensure(b, &def, NULL); /* not mounted twice */
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(volume_remove(&b->paths, "p_bind", NULL, &err), 0);
    assert_true(fs_exists(file));
    assert_false(fs_exists(v.mountpoint));
    volume_state_release(&v);
}

static void test_in_use_is_refused(void **state)
{
    struct box *b = *state;
    struct volume def = {.key = "d", .name = "p_d"};
    struct volume_state v = ensure(b, &def, NULL);
    char *config AUTOFREE = xasprintf("{\"mounts\":[{\"source\":\"%s\"}]}", v.mountpoint);
    char *run AUTOFREE = paths_container_run(&b->paths, "c0ffee");
    char *file AUTOFREE = put(run, "config.json", config, strlen(config));
    struct err err AUTOERR = ERR_INIT;
    assert_int_equal(volume_remove(&b->paths, "p_d", NULL, &err), -1);
    assert_int_equal(err.kind, ERR_CONFLICT);
    assert_string_equal(err.msg, "remove p_d: volume is in use - [c0ffee]");
    err_release(&err);
    assert_int_equal(unlink(file), 0);
    /* One that is stopped. */
    char *dir AUTOFREE = paths_container(&b->paths, "p", "0ffc0de");
    char *project AUTOFREE = paths_project(&b->paths, "p");
    char *record AUTOFREE = put(dir, "container.json", config, strlen(config));
    assert_non_null(record);
    assert_int_equal(volume_remove(&b->paths, "p_d", NULL, &err), -1);
    assert_string_equal(err.msg, "remove p_d: volume is in use - [0ffc0de]");
    err_release(&err);
    assert_int_equal(volume_remove(&b->paths, "p_d", "/elsewhere", &err), -1);
    err_release(&err);
    assert_int_equal(volume_remove(&b->paths, "p_d", dir, &err), 0);
    assert_int_equal(volume_remove(&b->paths, "p_d", project, &err), 0);
    volume_state_release(&v);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_made_once_listed_and_removed),
        T(test_definitions_that_cannot_be),
        T(test_seed_copies_everything),
        T(test_seed_leaves_content_alone_and_finishes_what_was_begun),
        T(test_seed_stays_inside_the_root),
        T(test_bind_driver_keeps_the_users_files),
        T(test_in_use_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
