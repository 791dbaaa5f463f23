/* The store through what users do: import, find, tag, remove, prune, check, save, load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/layout.h"
#include "image/module/calls.h"
#include "tar_maker.h"

struct fixture {
    char *base;
    struct paths paths;
    struct image_store *store;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    char template[] = "/tmp/test_store.XXXXXX";
    f->base = xstrdup(mkdtemp(template));
    f->paths.root = path_join(f->base, "root");
    f->paths.run = path_join(f->base, "run");
    mkdir(f->paths.root, 0711);
    if (image_store_open(&f->paths, &f->store, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    image_store_free(f->store);
    fs_remove_all(f->base, NULL);
    paths_release(&f->paths);
    err_release(&f->err);
    free(f->base);
    free(f);
    return 0;
}

static int memory_file(const struct strbuf *content)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(fd_write_all(fd, content->buf, content->len), 0);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Imports a root file system of one file; the ID is the caller's. */
static char *import(struct fixture *f, const char *name, const char *content,
                    const char *const *changes)
{
    struct strbuf tar AUTOBUF = STRBUF_INIT;
    tar_add(&tar, (struct tar_item){"file", '0', content, .mode = 0644});
    tar_end(&tar);
    int fd AUTOCLOSE = memory_file(&tar);
    struct import_request q = {.fd = fd, .source = "test", .reference = name, .changes = changes};
    char *id = NULL;
    if (call_import(f->store, &q, &id, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    return id;
}

static struct image *find(struct fixture *f, const char *name)
{
    struct image *image;
    if (image_find(f->store, name, NULL, &image, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    return image;
}

static void assert_no_image(struct fixture *f, const char *name)
{
    struct image *image;
    assert_int_equal(image_find(f->store, name, NULL, &image, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_NOT_FOUND);
}

/* Entries of a folder of the store. */
static size_t count(struct fixture *f, const char *folder)
{
    char *dir AUTOFREE = path_join(image_store_dir(f->store), folder);
    struct stat st;
    if (stat(dir, &st) < 0)
        return 0;
    size_t n = 0;
    char *command AUTOFREE = xasprintf("ls -A %s | wc -l", dir);
    FILE *p = popen(command, "r");
    assert_int_equal(fscanf(p, "%zu", &n), 1);
    pclose(p);
    return n;
}

static void test_import_and_find(void **state)
{
    struct fixture *f = *state;
    const char *changes[] = {"CMD [\"run\", \"-x\"]",
                             "ENV A=1 B=\"two words\"",
                             "EXPOSE 80 53/udp",
                             "LABEL role=web",
                             "USER 5:6",
                             "WORKDIR /w",
                             "STOPSIGNAL SIGINT",
                             "VOLUME /data",
                             "ENTRYPOINT start it",
                             "HEALTHCHECK --interval=3s --retries=4 CMD curl -f localhost",
                             NULL};
    char *id AUTOFREE = import(f, "app:1", "content", changes);
    struct image *image = find(f, "app:1");
    assert_string_equal(image->id, id);
    assert_string_equal(image->names[0], "docker.io/library/app:1");
    assert_null(image->names[1]);
    assert_null(image->config.cmd); /* forgotten by the entrypoint that came later */
    assert_string_equal(image->config.entrypoint[2], "start it");
    assert_string_equal(image->config.env[1], "B=two words");
    assert_string_equal(image->config.exposed_ports[0], "53/udp");
    assert_string_equal(image->config.exposed_ports[1], "80/tcp");
    assert_string_equal(image_label(image, "role"), "web");
    assert_null(image_label(image, "other"));
    assert_string_equal(image->config.user, "5:6");
    assert_string_equal(image->config.working_dir, "/w");
    assert_string_equal(image->config.stop_signal, "SIGINT");
    assert_string_equal(image->config.volumes[0], "/data");
    assert_string_equal(image->config.healthcheck.test[0], "CMD-SHELL");
    assert_int_equal(image->config.healthcheck.interval, 3000000000);
    assert_int_equal(image->config.healthcheck.retries, 4);
    assert_int_equal(image->size, 7);
    assert_non_null(image->layer_dirs);
    char *file AUTOFREE = path_join(image->layer_dirs[0], "file"), *text AUTOFREE = NULL;
    assert_int_equal(fs_read(file, 100, &text, NULL, NULL), 0);
    assert_string_equal(text, "content");
    image_free(image);
}

static void test_find_by_id(void **state)
{
    struct fixture *f = *state;
    char *id AUTOFREE = import(f, NULL, "x", NULL);
    const char *forms[] = {id, id + 7};
    char *prefix AUTOFREE = xstrndup(id + 7, 12);
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        image_free(find(f, forms[i]));
    struct image *image = find(f, prefix);
    assert_string_equal(image->id, id);
    assert_null(image->names[0]);
    image_free(image);
    assert_no_image(f, "ffffffffffff");
    assert_no_image(f, "nothing:here");
    assert_int_equal(image_find(f->store, "Not A Name", NULL, &image, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_INVALID);
    assert_int_equal(image_find(f->store, prefix, "linux/s390x", &image, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_NOT_FOUND);
}

static void test_tag_and_remove(void **state)
{
    struct fixture *f = *state;
    char *id AUTOFREE = import(f, "a:1", "x", NULL);
    assert_int_equal(image_tag(f->store, "a:1", "reg.example/b:2", &f->err), 0);
    struct image *image = find(f, "reg.example/b:2");
    assert_string_equal(image->id, id);
    assert_int_equal(strv_len((const char *const *)image->names), 2);
    image_free(image);
    struct image_change change;
    assert_int_equal(image_remove(f->store, id, NULL, false, &change, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_CONFLICT); /* two names */
    assert_int_equal(image_remove(f->store, "a:1", NULL, false, &change, &f->err), 0);
    assert_string_equal(change.untagged[0], "docker.io/library/a:1");
    assert_null(change.deleted);
    image_change_release(&change);
    assert_no_image(f, "a:1");
    assert_int_equal(image_remove(f->store, "reg.example/b:2", NULL, false, &change, &f->err), 0);
    assert_string_equal(change.deleted[0], id);
    assert_true(change.freed > 0);
    image_change_release(&change);
    assert_int_equal(count(f, "blobs/sha256"), 0);
    assert_int_equal(count(f, "layers"), 0);
    assert_int_equal(count(f, "tmp"), 0);
}

static void test_used_image_stays(void **state)
{
    struct fixture *f = *state;
    char *id AUTOFREE = import(f, "a:1", "x", NULL);
    const char *in_use[] = {id, NULL};
    struct image_change change;
    assert_int_equal(image_remove(f->store, "a:1", in_use, false, &change, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_CONFLICT);
    assert_int_equal(image_prune(f->store, in_use, true, &change, &f->err), 0);
    assert_null(change.deleted);
    image_change_release(&change);
    assert_int_equal(image_remove(f->store, "a:1", in_use, true, &change, &f->err), 0);
    assert_null(change.deleted);
    image_change_release(&change);
    struct image *image = find(f, id); /* nameless, its layers still there */
    assert_non_null(image->layer_dirs);
    image_free(image);
}

static void test_prune(void **state)
{
    struct fixture *f = *state;
    char *first AUTOFREE = import(f, "a:1", "first", NULL);
    char *second AUTOFREE = import(f, "a:1", "second", NULL); /* takes the name */
    struct image *image = find(f, first);
    assert_null(image->names[0]);
    image_free(image);
    struct image_change change;
    assert_int_equal(image_prune(f->store, NULL, false, &change, &f->err), 0);
    assert_string_equal(change.deleted[0], first);
    assert_null(change.deleted[1]);
    image_change_release(&change);
    assert_no_image(f, first);
    image_free(find(f, second));
    assert_int_equal(image_prune(f->store, NULL, true, &change, &f->err), 0);
    image_change_release(&change);
    assert_int_equal(count(f, "blobs/sha256"), 0);
}

/* What a transfer has pinned is not swept by another process's prune. */
static void test_pins(void **state)
{
    struct fixture *f = *state;
    char *id AUTOFREE = import(f, "a:1", "x", NULL);
    struct image *image = find(f, id);
    const char *pins[] = {image->layers[0].digest, image->layers[0].diff_id, NULL};
    struct work work = WORK_INIT;
    assert_int_equal(work_begin(f->store, &work, &f->err), 0);
    assert_int_equal(work_pin(&work, pins, &f->err), 0);
    struct image_change change;
    assert_int_equal(image_remove(f->store, id, NULL, true, &change, &f->err), 0);
    image_change_release(&change);
    assert_true(layout_has_blob(f->store, image->layers[0].digest, image->layers[0].size));
    assert_true(layout_has_layer(f->store, image->layers[0].diff_id));
    work_end(&work);
    assert_int_equal(layout_sweep(f->store, &f->err), 0);
    assert_false(layout_has_layer(f->store, image->layers[0].diff_id));
    image_free(image);
}

static void test_dead_work_is_swept(void **state)
{
    struct fixture *f = *state;
    char *dead AUTOFREE = path_join(image_store_dir(f->store), "tmp/0123456789abcdef/layer-x/fs");
    assert_int_equal(fs_mkdir_p(dead, 0700, &f->err), 0);
    assert_int_equal(count(f, "tmp"), 1);
    assert_int_equal(layout_sweep(f->store, &f->err), 0);
    assert_int_equal(count(f, "tmp"), 0);
}

static void keep_line(void *ctx, const char *line)
{
    strv_push(ctx, line);
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    free(import(f, "a:1", "content", NULL));
    char **lines AUTOSTRV = NULL;
    size_t findings;
    assert_int_equal(image_check(f->store, true, false, keep_line, &lines, &findings, &f->err), 0);
    assert_int_equal(findings, 0);
    struct image *image = find(f, "a:1");
    char *blob AUTOFREE = layout_blob(f->store, image->layers[0].digest);
    int fd = open(blob, O_WRONLY);
    assert_int_equal(pwrite(fd, "X", 1, 600), 1);
    close(fd);
    assert_int_equal(image_check(f->store, false, false, keep_line, &lines, &findings, &f->err), 0);
    assert_int_equal(findings, 0); /* only the digest tells */
    assert_int_equal(image_check(f->store, true, true, keep_line, &lines, &findings, &f->err), 0);
    assert_int_equal(findings, 1);
    assert_non_null(strstr(lines[0], "a:1: blob sha256:"));
    assert_false(fs_exists(blob)); /* mended: it is fetched again when it is needed */
    image_free(image);
}

/* Save and load keep ID, names and content. */
static void round_trip(struct fixture *f, bool oci)
{
    char *id AUTOFREE = import(f, "a:1", "content", NULL);
    int fd AUTOCLOSE = memfd_create("archive", MFD_CLOEXEC);
    const char *references[] = {"a:1", NULL};
    struct save_request save = {.fd = fd, .references = references, .oci = oci};
    assert_int_equal(call_save(f->store, &save, &f->err), 0);
    struct image_change change;
    assert_int_equal(image_remove(f->store, "a:1", NULL, false, &change, &f->err), 0);
    image_change_release(&change);
    lseek(fd, 0, SEEK_SET);
    struct load_request load = {.fd = fd, .source = "archive"};
    char **names AUTOSTRV = NULL;
    if (call_load(f->store, &load, &names, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    assert_string_equal(names[0], "docker.io/library/a:1");
    struct image *image = find(f, "a:1");
    assert_string_equal(image->id, id);
    assert_non_null(image->layer_dirs);
    image_free(image);
}

static void test_save_and_load(void **state)
{
    round_trip(*state, false);
}

static void test_save_and_load_oci(void **state)
{
    round_trip(*state, true);
}

static void test_load_refuses(void **state)
{
    struct fixture *f = *state;
    struct strbuf tar AUTOBUF = STRBUF_INIT;
    tar_add(&tar, (struct tar_item){"etc/passwd", '0', "root", .mode = 0644});
    tar_end(&tar);
    int fd AUTOCLOSE = memory_file(&tar);
    struct load_request load = {.fd = fd, .source = "rootfs.tar"};
    char **names = NULL;
    assert_int_equal(call_load(f->store, &load, &names, &f->err), -1);
    assert_non_null(strstr(f->err.msg, "load rootfs.tar: it is no image archive"));
    assert_int_equal(count(f, "tmp"), 0);
    assert_int_equal(count(f, "blobs/sha256"), 0);
}

/* An archive whose layer is not what its config says. */
static void test_load_verifies(void **state)
{
    struct fixture *f = *state;
    struct strbuf tar AUTOBUF = STRBUF_INIT, layer AUTOBUF = STRBUF_INIT;
    tar_add(&layer, (struct tar_item){"file", '0', "x", .mode = 0644});
    tar_end(&layer);
    char *config AUTOFREE = xasprintf(
        "{\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"sha256:%064d\"]}}", 7);
    tar_add(&tar, (struct tar_item){"c.json", '0', config, .mode = 0644});
    tar_block(&tar, &(struct tar_item){"l/layer.tar", '0', .mode = 0644}, '0', layer.len);
    tar_data(&tar, layer.buf, layer.len);
    tar_add(&tar,
            (struct tar_item){
                "manifest.json", '0',
                "[{\"Config\":\"c.json\",\"RepoTags\":[\"x:1\"],\"Layers\":[\"l/layer.tar\"]}]",
                .mode = 0644});
    tar_end(&tar);
    int fd AUTOCLOSE = memory_file(&tar);
    struct load_request load = {.fd = fd, .source = "bad.tar"};
    assert_int_equal(call_load(f->store, &load, NULL, &f->err), -1);
    assert_int_equal(f->err.kind, ERR_CORRUPT);
    assert_non_null(strstr(f->err.msg, "digest mismatch"));
    assert_int_equal(count(f, "blobs/sha256"), 0);
    assert_int_equal(count(f, "layers"), 0);
}

/* A container's upper folder becomes a layer with whiteouts; export shows the tree. */
static void test_commit(void **state)
{
    struct fixture *f = *state;
    char *base AUTOFREE = import(f, "a:1", "content", NULL);
    char *upper AUTOFREE = path_join(f->base, "upper"), *added AUTOFREE = path_join(upper, "added");
    char *gone AUTOFREE = path_join(upper, "file");
    mkdir(upper, 0755);
    assert_int_equal(fs_write_atomic(added, "new", 3, 0640, false, NULL), 0);
    assert_int_equal(mknod(gone, S_IFCHR, 0), 0);
    const char *changes[] = {"CMD [\"x\"]", NULL};
    struct commit_request q = {
        .base = base, .upper = upper, .reference = "b:2", .message = "why", .changes = changes};
    char *id AUTOFREE = NULL;
    if (call_commit(f->store, &q, &id, &f->err) < 0)
        fail_msg("%s", f->err.msg);
    struct image *image = find(f, "b:2");
    assert_int_equal(image->layers_n, 2);
    assert_string_equal(image->config.cmd[0], "x");
    assert_string_equal(image->history[image->history_n - 1].comment, "why");
    char *hidden AUTOFREE = path_join(image->layer_dirs[1], "file");
    struct stat st;
    assert_int_equal(lstat(hidden, &st), 0);
    assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
    image_free(image);
}

static void test_platforms(void **state)
{
    struct image_platform p, arm, v6;
    char text[96];
    (void)state;
    static const char *const cases[][2] = {
        {"linux/amd64", "linux/amd64"},    {"linux/arm64/v8", "linux/arm64"},
        {"linux/aarch64", "linux/arm64"},  {"linux/arm", "linux/arm/v7"},
        {"linux/arm/v6", "linux/arm/v6"},  {"x86_64", "linux/amd64"},
        {"windows/amd64", "windows/amd64"}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(image_platform_parse(cases[i][0], &p, NULL), 0);
        assert_string_equal(image_platform_format(&p, text), cases[i][1]);
    }
    assert_int_equal(image_platform_parse("linux/amd64/v1/x", &p, NULL), -1);
    assert_int_equal(image_platform_parse("a b", &p, NULL), -1);
    image_platform_parse("linux/arm/v7", &arm, NULL);
    image_platform_parse("linux/arm/v6", &v6, NULL);
    image_platform_parse("linux/amd64", &p, NULL);
    assert_true(image_platform_match(&arm, &v6) > 0);
    assert_int_equal(image_platform_match(&v6, &arm), 0);
    struct image_platform x86, arm64;
    image_platform_parse("linux/386", &x86, NULL);
    image_platform_parse("linux/arm64", &arm64, NULL);
    assert_true(image_platform_match(&p, &x86) > 0);
    assert_int_equal(image_platform_match(&x86, &p), 0);
    assert_true(image_platform_match(&arm64, &arm) > image_platform_match(&arm64, &v6));
    assert_int_equal(image_platform_match(&arm64, &arm64), IMAGE_PLATFORM_SAME);
    assert_true(image_platform_match(&arm, &arm) > image_platform_match(&arm, &v6));
    assert_int_equal(image_platform_match(&p, &arm), 0);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_import_and_find),
        TEST(test_find_by_id),
        TEST(test_tag_and_remove),
        TEST(test_used_image_stays),
        TEST(test_prune),
        TEST(test_pins),
        TEST(test_dead_work_is_swept),
        TEST(test_check),
        TEST(test_save_and_load),
        TEST(test_save_and_load_oci),
        TEST(test_load_refuses),
        TEST(test_load_verifies),
        TEST(test_commit),
        cmocka_unit_test(test_platforms),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
