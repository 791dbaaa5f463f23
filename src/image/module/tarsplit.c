#include "image/module/tarsplit.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "image/module/resolve.h"

enum { LINE_MAX_BYTES = 64 << 20, TYPE_FILE = 1, TYPE_SEGMENT = 2, CHUNK = 256 << 10 };

struct join {
    int root;
    struct layer_sink *sink;
    char *buffer; /* CHUNK bytes */
    struct strbuf segment;
};

/* Standard base64, with padding; the result is in j->segment. */
static int decode(struct join *j, const char *text, struct err *err)
{
    size_t n = strlen(text);
    strbuf_setlen(&j->segment, 0);
    strbuf_grow(&j->segment, n / 4 * 3 + 4);
    int got = n ? EVP_DecodeBlock((unsigned char *)j->segment.buf, (const unsigned char *)text,
                                  (int)n)
                : 0;
    if (got < 0 || n % 4)
        return err_set(err, ERR_CORRUPT, "the tar-split is damaged");
    while (n && text[n - 1] == '=' && got)
        n--, got--;
    j->segment.len = (size_t)got;
    return 0;
}

static int put_file(struct join *j, const char *name, json_int_t size, struct err *err)
{
    if (size <= 0)
        return 0;
    int fd AUTOCLOSE = open_beneath(j->root, name, O_RDONLY | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, errno, "open %s", name);
    while (size > 0) {
        size_t want = size < CHUNK ? (size_t)size : CHUNK;
        ssize_t n = read(fd, j->buffer, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_sys(err, errno, "read %s", name)
                         : err_set(err, ERR_CORRUPT, "%s is shorter than it was", name);
        if (layer_sink_write(j->sink, j->buffer, (size_t)n) < 0)
            return -1;
        size -= n;
    }
    return 0;
}

static int put_line(struct join *j, const char *line, size_t n, struct err *err)
{
    json_t *o AUTOJSON = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(o))
        return err_set(err, ERR_CORRUPT, "the tar-split is damaged");
    if (jint(o, "type", 0) == TYPE_SEGMENT) {
        if (decode(j, jstr(o, "payload", ""), err) < 0)
            return -1;
        return j->segment.len ? layer_sink_write(j->sink, j->segment.buf, j->segment.len) : 0;
    }
    if (jint(o, "type", 0) != TYPE_FILE)
        return err_set(err, ERR_CORRUPT, "the tar-split has entries of an unknown type");
    const char *raw = jstr(o, "name_raw", NULL); /* a name that is not UTF-8, in base64 */
    if (raw && decode(j, raw, err) < 0)
        return -1;
    char *name AUTOFREE = raw ? xstrndup(j->segment.buf, j->segment.len)
                              : xstrdup(jstr(o, "name", ""));
    return put_file(j, name, jint(o, "size", 0), err);
}

static int put_lines(struct join *j, struct archive *a, struct err *err)
{
    struct strbuf pending AUTOBUF = STRBUF_INIT;
    for (;;) {
        la_ssize_t n = archive_read_data(a, j->buffer, CHUNK);
        if (n < 0)
            return err_set(err, ERR_CORRUPT, "the tar-split is damaged: %s",
                           archive_error_string(a));
        if (n == 0)
            return pending.len ? put_line(j, pending.buf, pending.len, err) : 0;
        strbuf_add(&pending, j->buffer, (size_t)n);
        if (pending.len > LINE_MAX_BYTES)
            return err_set(err, ERR_CORRUPT, "the tar-split has a line that does not end");
        size_t done = 0;
        char *newline;
        while ((newline = memchr(pending.buf + done, '\n', pending.len - done))) {
            size_t len = (size_t)(newline - (pending.buf + done));
            if (len && put_line(j, pending.buf + done, len, err) < 0)
                return -1;
            done += len + 1;
        }
        strbuf_consume(&pending, done);
    }
}

int tarsplit_join(const char *split, const char *dir, struct layer_sink *sink, struct err *err)
{
    struct join j = {.sink = sink, .segment = STRBUF_INIT};
    j.root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (j.root < 0)
        return err_sys(err, errno, "open %s", dir);
    j.buffer = xmalloc(CHUNK);
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_format_raw(a);
    int rc;
    if (archive_read_open_filename(a, split, CHUNK) != ARCHIVE_OK ||
        archive_read_next_header(a, &entry) != ARCHIVE_OK)
        rc = err_set(err, ERR_CORRUPT, "%s: %s", split, archive_error_string(a));
    else
        rc = put_lines(&j, a, err);
    archive_read_free(a);
    strbuf_release(&j.segment);
    free(j.buffer);
    close(j.root);
    return rc;
}
