/* Layers as tar streams; root is needed for owners, devices and trusted xattrs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "image/module/resolve.h"
#include "image/module/unpack.h"
#include "tar_maker.h"

struct fixture {
    char *base, *dir; /* dir is below base: what escapes dir lands where we look */
    struct strbuf tar;
    struct unpack_result result;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    char template[] = "/tmp/test_unpack.XXXXXX";
    f->base = xstrdup(mkdtemp(template));
    f->dir = path_join(f->base, "fs");
    f->tar = (struct strbuf)STRBUF_INIT;
    mkdir(f->dir, 0755);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fs_remove_all(f->base, NULL);
    strbuf_release(&f->tar);
    unpack_result_release(&f->result);
    err_release(&f->err);
    free(f->base);
    free(f->dir);
    free(f);
    return 0;
}

struct job {
    struct fixture *f;
    struct ring ring;
    int rc;
};

static void *unpack_main(void *arg)
{
    struct job *j = arg;
    j->rc = unpack_tar(&j->ring, j->f->dir, &j->f->result, &j->f->err);
    if (j->rc < 0)
        ring_stop(&j->ring);
    return NULL;
}

/* unpack_tar() wants a thread of its own. */
static int unpack(struct fixture *f)
{
    struct job j = {.f = f};
    pthread_t thread;
    ring_init(&j.ring);
    assert_int_equal(pthread_create(&thread, NULL, unpack_main, &j), 0);
    int unused = ring_write(&j.ring, f->tar.buf, f->tar.len);
    (void)unused;
    ring_end(&j.ring, false);
    pthread_join(thread, NULL);
    ring_release(&j.ring);
    return j.rc;
}

static struct stat stat_of(struct fixture *f, const char *name)
{
    char *path AUTOFREE = path_join(f->dir, name);
    struct stat st = {0};
    if (lstat(path, &st) < 0)
        fail_msg("%s is missing", name);
    return st;
}

static bool missing(struct fixture *f, const char *name)
{
    char *path AUTOFREE = path_join(f->dir, name);
    struct stat st;
    return lstat(path, &st) < 0 && errno == ENOENT;
}

static void assert_content(struct fixture *f, const char *name, const char *want)
{
    char *path AUTOFREE = path_join(f->dir, name), *text AUTOFREE = NULL;
    assert_int_equal(fs_read(path, 1 << 20, &text, NULL, NULL), 0);
    assert_string_equal(text, want);
}

#define ADD(...) tar_add(&f->tar, (struct tar_item){__VA_ARGS__})

static void test_attributes(void **state)
{
    struct fixture *f = *state;
    ADD("bin/", '5', .mode = 0755, .mtime = 1000);
    ADD("bin/su", '0', "x", .mode = 04755, .gid = 5, .mtime = 2000);
    ADD("bin/open", '0', "y", .mode = 0666, .uid = 1234, .gid = 4321, .mtime = 3000);
    ADD("tmp/", '5', .mode = 01777, .uid = 7, .mtime = 4000);
    ADD("l", '2', .link = "../../etc", .mode = 0777, .uid = 9, .mtime = 5000);
    ADD("null", '3', .mode = 0666, .major = 1, .minor = 3);
    ADD("pipe", '6', .mode = 0600);
    ADD("note", '0', "n", .mode = 0600, .pax_key = "SCHILY.xattr.user.note", .pax_value = "hello");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    struct stat su = stat_of(f, "bin/su"), open_file = stat_of(f, "bin/open");
    assert_int_equal(su.st_mode, S_IFREG | 04755);
    assert_int_equal(su.st_gid, 5);
    assert_int_equal(su.st_mtime, 2000);
    assert_int_equal(open_file.st_mode, S_IFREG | 0666); /* no umask */
    assert_int_equal(open_file.st_uid, 1234);
    assert_int_equal(open_file.st_gid, 4321);
    assert_int_equal(stat_of(f, "bin").st_mtime, 1000); /* though files came into it later */
    assert_int_equal(stat_of(f, "tmp").st_mode, S_IFDIR | 01777);
    assert_int_equal(stat_of(f, "tmp").st_uid, 7);
    assert_true(S_ISLNK(stat_of(f, "l").st_mode));
    assert_int_equal(stat_of(f, "l").st_uid, 9);
    assert_int_equal(stat_of(f, "null").st_rdev, makedev(1, 3));
    assert_true(S_ISFIFO(stat_of(f, "pipe").st_mode));
    char value[16], *path AUTOFREE = path_join(f->dir, "note");
    assert_int_equal(getxattr(path, "user.note", value, sizeof(value)), 5);
    assert_memory_equal(value, "hello", 5);
    assert_int_equal(f->result.size, 3);
    assert_int_equal(f->result.fixups.n, 0);
}

static void test_whiteouts(void **state)
{
    struct fixture *f = *state;
    ADD("a/", '5', .mode = 0755);
    ADD("a/.wh.gone", '0', "", .mode = 0600);
    ADD("b/", '5', .mode = 0755);
    ADD("b/.wh..wh..opq", '0', "", .mode = 0600);
    ADD("b/new", '0', "n", .mode = 0600);
    ADD(".wh..wh.plnk", '0', "", .mode = 0600);
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    struct stat gone = stat_of(f, "a/gone");
    assert_true(S_ISCHR(gone.st_mode) && gone.st_rdev == 0);
    assert_true(missing(f, "a/.wh.gone"));
    assert_true(missing(f, "b/.wh..wh..opq"));
    assert_true(missing(f, ".wh..wh.plnk"));
    char value, *path AUTOFREE = path_join(f->dir, "b");
    assert_int_equal(getxattr(path, "trusted.overlay.opaque", &value, 1), 1);
    assert_int_equal(value, 'y');
}

/* A whiteout and an entry of the same name in one layer: the entry stays, what is below does not. */
static void test_whiteout_beside_entry(void **state)
{
    struct fixture *f = *state;
    ADD(".wh.d", '0', "", .mode = 0600);
    ADD("d/", '5', .mode = 0700);
    ADD("d/x", '0', "x", .mode = 0600);
    ADD("e/", '5', .mode = 0700);
    ADD("e/y", '0', "y", .mode = 0600);
    ADD(".wh.e", '0', "", .mode = 0600);
    ADD(".wh.f", '0', "", .mode = 0600);
    ADD("f", '0', "f", .mode = 0600);
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    static const char *const folders[] = {"d", "e"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        char value, *path AUTOFREE = path_join(f->dir, folders[i]);
        assert_true(S_ISDIR(stat_of(f, folders[i]).st_mode));
        assert_int_equal(getxattr(path, "trusted.overlay.opaque", &value, 1), 1);
    }
    assert_content(f, "d/x", "x");
    assert_content(f, "e/y", "y");
    assert_content(f, "f", "f");
}

static void test_root_whiteout(void **state)
{
    struct fixture *f = *state;
    ADD(".wh..wh..opq", '0', "", .mode = 0600);
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_true(f->result.opaque_root);
}

static void test_overlay_xattrs_are_dropped(void **state)
{
    struct fixture *f = *state;
    ADD("d/", '5', .mode = 0755, .pax_key = "SCHILY.xattr.trusted.overlay.redirect",
        .pax_value = "/etc");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    char value[16], *path AUTOFREE = path_join(f->dir, "d");
    assert_int_equal(getxattr(path, "trusted.overlay.redirect", value, sizeof(value)), -1);
}

static void test_later_entries_win(void **state)
{
    struct fixture *f = *state;
    ADD("x", '0', "first", .mode = 0644);
    ADD("x", '0', "second", .mode = 0600);
    ADD("d/", '5', .mode = 0700);
    ADD("d/in", '0', "in", .mode = 0600);
    ADD("d/", '5', .mode = 0755); /* folders merge */
    ADD("t/", '5', .mode = 0700);
    ADD("t/in", '0', "in", .mode = 0600);
    ADD("t", '0', "now a file", .mode = 0600);
    ADD("l", '2', .link = "d");
    ADD("l/", '5', .mode = 0711); /* a folder in the place of a link, not through it */
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_content(f, "x", "second");
    assert_content(f, "d/in", "in");
    assert_int_equal(stat_of(f, "d").st_mode, S_IFDIR | 0755);
    assert_content(f, "t", "now a file");
    assert_int_equal(stat_of(f, "l").st_mode, S_IFDIR | 0711);
}

static void test_hard_links(void **state)
{
    struct fixture *f = *state;
    ADD("a", '0', "a", .mode = 0644);
    ADD("d/", '5', .mode = 0755);
    ADD("d/b", '1', .link = "./a");
    ADD("c", '1', .link = "/a");
    ADD("low", '1', .link = "usr/bin/tool");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_int_equal(stat_of(f, "a").st_ino, stat_of(f, "d/b").st_ino);
    assert_int_equal(stat_of(f, "a").st_nlink, 3);
    /* What is not in the layer is taken from below later. */
    assert_int_equal(f->result.fixups.n, 1);
    assert_string_equal(f->result.fixups.v[0].path, "low");
    assert_string_equal(f->result.fixups.v[0].target, "usr/bin/tool");
}

static void test_implied_folders(void **state)
{
    struct fixture *f = *state;
    ADD("p/q/file", '0', "x", .mode = 0644);
    ADD("p/", '5', .mode = 0700); /* its entry comes late */
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_int_equal(stat_of(f, "p").st_mode, S_IFDIR | 0700);
    assert_int_equal(stat_of(f, "p/q").st_mode, S_IFDIR | 0755);
    assert_int_equal(f->result.fixups.n, 1);
    assert_string_equal(f->result.fixups.v[0].path, "p/q");
    assert_null(f->result.fixups.v[0].target);
}

/* Links to the outside lead to the inside. */
static void test_symlinks_stay_inside(void **state)
{
    struct fixture *f = *state;
    char *outside AUTOFREE = path_join(f->base, "outside");
    mkdir(outside, 0755);
    ADD("abs", '2', .link = outside);
    ADD("abs/evil", '0', "x", .mode = 0644);
    ADD("rel", '2', .link = "../outside");
    ADD("rel/evil", '0', "x", .mode = 0644);
    ADD("up", '2', .link = "../../../../../../..");
    ADD("up/evil", '0', "x", .mode = 0644);
    ADD("loop", '2', .link = "loop");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    char *evil AUTOFREE = path_join(outside, "evil");
    assert_false(fs_exists(evil));
    assert_content(f, "outside/evil", "x");
    assert_content(f, "evil", "x");
    assert_false(fs_exists("/evil"));
}

static void test_hard_link_through_symlink(void **state)
{
    struct fixture *f = *state;
    char *secret AUTOFREE = path_join(f->base, "secret");
    assert_int_equal(fs_write_atomic(secret, "s", 1, 0600, false, NULL), 0);
    ADD("out", '2', .link = "..");
    ADD("stolen", '1', .link = "out/secret");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_true(missing(f, "stolen")); /* waits for a layer below, which will not have it */
}

static void test_refused_names(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"../evil", "a/../../evil", "..", "/../evil"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        strbuf_setlen(&f->tar, 0);
        ADD(names[i], '0', "x", .mode = 0644);
        tar_end(&f->tar);
        unpack_result_release(&f->result);
        bool refused = unpack(f) < 0;
        /* An absolute name is one from the root, from which ".." leads nowhere. */
        if (names[i][0] != '/')
            assert_true(refused);
    }
    char *evil AUTOFREE = path_join(f->base, "evil");
    assert_false(fs_exists(evil));
}

static void test_absolute_names(void **state)
{
    struct fixture *f = *state;
    ADD("/etc/compose-test-absolute", '0', "x", .mode = 0644);
    ADD("./a/./b/../c", '0', "c", .mode = 0644);
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_content(f, "etc/compose-test-absolute", "x");
    assert_content(f, "a/c", "c");
    assert_false(fs_exists("/etc/compose-test-absolute"));
}

static void test_link_out_of_layer(void **state)
{
    struct fixture *f = *state;
    ADD("x", '1', .link = "../../etc/shadow");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.kind, ERR_INVALID);
}

static void test_damage(void **state)
{
    struct fixture *f = *state;
    ADD("a", '0', "some content", .mode = 0644);
    ADD("b", '0', "some content", .mode = 0644);
    f->tar.buf[1024 + 3] ^= 0x55; /* the checksum of the second header */
    tar_end(&f->tar);
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.kind, ERR_CORRUPT);
}

static void test_truncation(void **state)
{
    struct fixture *f = *state;
    ADD("a", '0', "some content", .mode = 0644);
    strbuf_setlen(&f->tar, 600);
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.kind, ERR_CORRUPT);
}

static void test_empty(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(unpack(f), 0);
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    assert_int_equal(f->result.entries, 0);
}

/* Layers below: "x" of the upper one hides that of the lower one. */
static void test_fixups(void **state)
{
    struct fixture *f = *state;
    char *low AUTOFREE = path_join(f->base, "low"), *mid AUTOFREE = path_join(f->base, "mid");
    char *work AUTOFREE = path_join(f->base, "work");
    char *low_x AUTOFREE = path_join(low, "x"), *mid_x AUTOFREE = path_join(mid, "x");
    char *mid_d AUTOFREE = path_join(mid, "d");
    mkdir(low, 0755);
    mkdir(mid, 0755);
    mkdir(work, 0755);
    mkdir(mid_d, 01770);
    assert_int_equal(chmod(mid_d, 01770), 0);
    assert_int_equal(chown(mid_d, 11, 12), 0);
    assert_int_equal(fs_write_atomic(low_x, "low", 3, 0644, false, NULL), 0);
    assert_int_equal(fs_write_atomic(mid_x, "mid", 3, 04711, false, NULL), 0);
    ADD("d/one", '1', .link = "x");
    ADD("d/two", '1', .link = "x");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    const char *below[] = {low, mid, NULL};
    assert_int_equal(unpack_fixups(f->dir, &f->result, below, work, &f->err), 0);
    assert_content(f, "d/one", "mid");
    assert_int_equal(stat_of(f, "d/one").st_mode, S_IFREG | 04711);
    assert_int_equal(stat_of(f, "d/one").st_ino, stat_of(f, "d/two").st_ino);
    assert_int_equal(stat_of(f, "d").st_mode, S_IFDIR | 01770);
    assert_int_equal(stat_of(f, "d").st_uid, 11);
}

static void test_missing_link_target(void **state)
{
    struct fixture *f = *state;
    ADD("one", '1', .link = "x");
    tar_end(&f->tar);
    assert_int_equal(unpack(f), 0);
    const char *none[] = {NULL};
    assert_int_equal(unpack_fixups(f->dir, &f->result, none, "/nonexistent", &f->err), -1);
    assert_non_null(strstr(f->err.msg, "one"));
    assert_int_equal(f->err.kind, ERR_CORRUPT);
}

static void test_clean_entry_path(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {{"a/b", "a/b"}, {"./a", "a"},      {"/a/", "a"}, {"a//b/./c", "a/b/c"},
                 {".", ""},      {"./", ""},        {"/", ""},    {"a/..", ""},
                 {"../a", NULL}, {"a/../..", NULL}, {"..", NULL}, {"..a/b", "..a/b"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *clean AUTOFREE = clean_entry_path(cases[i].in);
        if (!cases[i].out)
            assert_null(clean);
        else
            assert_string_equal(clean, cases[i].out);
    }
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_attributes),
        TEST(test_whiteouts),
        TEST(test_whiteout_beside_entry),
        TEST(test_root_whiteout),
        TEST(test_overlay_xattrs_are_dropped),
        TEST(test_later_entries_win),
        TEST(test_hard_links),
        TEST(test_implied_folders),
        TEST(test_symlinks_stay_inside),
        TEST(test_hard_link_through_symlink),
        TEST(test_refused_names),
        TEST(test_absolute_names),
        TEST(test_link_out_of_layer),
        TEST(test_damage),
        TEST(test_truncation),
        TEST(test_empty),
        TEST(test_fixups),
        TEST(test_missing_link_target),
        cmocka_unit_test(test_clean_entry_path),
    };
    return cmocka_run_group_tests_name("unpack", tests, NULL, NULL);
}
