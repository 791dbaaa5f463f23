#include "engine/history.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"

enum { FILE_MAX = 128 << 10 /* bytes: some 400 events; Docker keeps 256 */ };

static char *file_of(const struct engine *e, const char *name)
{
    char *dir AUTOFREE = paths_project(e->paths, e->project_name);
    return path_join(dir, name);
}

static void start_over_if_full(const struct engine *e, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || st.st_size < FILE_MAX)
        return;
    char *old AUTOFREE = file_of(e, "events.1");
    rename(path, old);
}

void history_add(const struct engine *e, const json_t *event)
{
    char *path AUTOFREE = file_of(e, "events");
    json_t *kept AUTOJSON = json_copy((json_t *)event);
    json_object_del(kept, "labels");
    char *text AUTOFREE = json_dumps(kept, JSON_COMPACT);
    char *line AUTOFREE = xasprintf("%s\n", text);
    start_over_if_full(e, path);
    /* The folder is gone when the last container was removed by `down`: then there is no history. */
    int fd AUTOCLOSE = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        fd_write_all(fd, line, strlen(line));
}

static void read_file(const char *path, int64_t since, int64_t until,
                      void (*found)(void *ctx, const json_t *event), void *ctx)
{
    char *text AUTOFREE = NULL;
    if (fs_read(path, 2 * FILE_MAX, &text, NULL, NULL) < 0)
        return;
    /* A line that a crash cut short is no JSON and left out. */
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_t *event AUTOJSON = json_loadb(line, (size_t)(end - line), 0, NULL);
        int64_t time = jint(event, "time", 0);
        if (time >= since && time && (!until || time <= until))
            found(ctx, event);
    }
}

void history_read(const struct engine *e, int64_t since, int64_t until,
                  void (*found)(void *ctx, const json_t *event), void *ctx)
{
    char *old AUTOFREE = file_of(e, "events.1"), *path AUTOFREE = file_of(e, "events");
    read_file(old, since, until, found, ctx);
    read_file(path, since, until, found, ctx);
}
