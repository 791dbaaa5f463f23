#include "image/module/spool.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/module/resolve.h"

enum { MEMBERS_MAX = 100000, BLOCK = 1 << 20 };

static int write_member(struct archive *a, const char *path, image_cancel cancel, struct err *err)
{
    int fd AUTOCLOSE = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, errno, "create %s", path);
    for (;;) {
        const void *data;
        size_t n;
        la_int64_t offset;
        int rc = archive_read_data_block(a, &data, &n, &offset);
        if (rc == ARCHIVE_EOF)
            return 0;
        if (rc != ARCHIVE_OK)
            return err_set(err, ERR_CORRUPT, "the archive is damaged: %s", archive_error_string(a));
        if (cancel && atomic_load(cancel))
            return err_set(err, ERR_CANCELLED, "cancelled");
        if (lseek(fd, offset, SEEK_SET) < 0 || fd_write_all(fd, data, n) < 0)
            return err_sys(err, errno, "write %s", path);
    }
}

/* A link's target as a member name: hard links from the root, symbolic ones from their folder. */
static char *link_target(const char *name, struct archive_entry *e)
{
    const char *hard = archive_entry_hardlink(e), *soft = archive_entry_symlink(e);
    if (hard)
        return clean_entry_path(hard);
    if (!soft)
        return NULL;
    char *dir AUTOFREE = path_dir(name);
    char *joined AUTOFREE = path_join(dir, soft);
    return clean_entry_path(joined);
}

static int take(struct work *work, struct archive *a, struct archive_entry *e, struct map *links,
                struct spool *s, image_cancel cancel, struct err *err)
{
    const char *raw = archive_entry_pathname(e);
    char *name AUTOFREE = raw ? clean_entry_path(raw) : NULL;
    if (!name || !*name)
        return 0; /* nothing that an image archive could mean */
    char *target AUTOFREE = link_target(name, e);
    if (target) {
        free(map_set(links, name, STEAL(target)));
    } else if (archive_entry_filetype(e) == AE_IFREG) {
        char *path AUTOFREE = work_path(work, "member");
        if (write_member(a, path, cancel, err) < 0)
            return -1;
        free(map_set(&s->files, name, STEAL(path)));
    }
    return 0;
}

static void resolve_links(struct spool *s, struct map *links)
{
    map_foreach (links, it) {
        const char *target = it->value;
        for (int hops = 0; hops < 8 && map_get(links, target); hops++)
            target = map_get(links, target);
        const char *path = map_get(&s->files, target);
        if (path)
            free(map_set(&s->files, it->key, xstrdup(path)));
    }
}

static int read_members(struct work *work, struct archive *a, struct spool *s, image_cancel cancel,
                        struct err *err)
{
    struct map links = MAP_INIT;
    struct archive_entry *e;
    int rc = 0, r = ARCHIVE_OK;
    size_t members = 0;
    while (rc == 0 && ((r = archive_read_next_header(a, &e)) == ARCHIVE_OK || r == ARCHIVE_WARN)) {
        if (++members > MEMBERS_MAX)
            rc = err_set(err, ERR_INVALID, "the archive has more than %d members", MEMBERS_MAX);
        else
            rc = take(work, a, e, &links, s, cancel, err);
    }
    if (rc == 0 && r != ARCHIVE_EOF)
        rc = err_set(err, ERR_CORRUPT, "the archive is damaged: %s", archive_error_string(a));
    resolve_links(s, &links);
    map_foreach (&links, it)
        free(it->value);
    map_release(&links);
    return rc;
}

int spool_read(struct work *work, int fd, image_cancel cancel, struct spool *s, struct err *err)
{
    *s = (struct spool){0};
    struct archive *a = archive_read_new();
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_format_tar(a);
    archive_read_set_format_option(a, "tar", "hdrcharset", "BINARY");
    int rc = 0;
    if (archive_read_open_fd(a, fd, BLOCK) != ARCHIVE_OK)
        rc = err_set(err, ERR_INVALID, "it is not a tar archive: %s", archive_error_string(a));
    if (rc == 0)
        rc = read_members(work, a, s, cancel, err);
    archive_read_free(a);
    if (rc < 0)
        spool_release(s);
    return rc;
}

void spool_release(struct spool *s)
{
    map_foreach (&s->files, it)
        free(it->value);
    map_release(&s->files);
}

const char *spool_path(const struct spool *s, const char *name)
{
    char *clean AUTOFREE = clean_entry_path(name);
    return clean ? map_get(&s->files, clean) : NULL;
}

int spool_json(const struct spool *s, const char *name, size_t max, json_t **out, struct err *err)
{
    const char *path = spool_path(s, name);
    char *text AUTOFREE = NULL;
    size_t n;
    json_error_t je;
    *out = NULL;
    if (!path)
        return 0;
    if (fs_read(path, max, &text, &n, err) < 0)
        return -1;
    *out = json_loadb(text, n, 0, &je);
    return *out ? 0 : err_set(err, ERR_CORRUPT, "%s:%d: %s", name, je.line, je.text);
}
