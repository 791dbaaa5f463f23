#include "volume/driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/socket.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/strbuf.h"

/* Option words of mount(8) that are flags of mount(2); clear: the word takes the flag away. */
static const struct {
    const char *word;
    unsigned long flag;
    bool clear;
} flags[] = {
    {"defaults", 0, false},
    {"ro", MS_RDONLY, false},
    {"rw", MS_RDONLY, true},
    {"nosuid", MS_NOSUID, false},
    {"suid", MS_NOSUID, true},
    {"nodev", MS_NODEV, false},
    {"dev", MS_NODEV, true},
    {"noexec", MS_NOEXEC, false},
    {"exec", MS_NOEXEC, true},
    {"sync", MS_SYNCHRONOUS, false},
    {"async", MS_SYNCHRONOUS, true},
    {"dirsync", MS_DIRSYNC, false},
    {"noatime", MS_NOATIME, false},
    {"atime", MS_NOATIME, true},
    {"nodiratime", MS_NODIRATIME, false},
    {"diratime", MS_NODIRATIME, true},
    {"relatime", MS_RELATIME, false},
    {"norelatime", MS_RELATIME, true},
    {"strictatime", MS_STRICTATIME, false},
    {"bind", MS_BIND, false},
    {"rbind", MS_BIND | MS_REC, false},
};

int driver_check(const json_t *options, struct err *err)
{
    static const char *const known[] = {"type", "o", "device"};
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)options, key, value) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_SIZE(known); i++)
            found = found || streq(known[i], key);
        if (streq(key, "size"))
            return err_set(
                err, ERR_INVALID,
                "driver option \"size\": quotas are not supported; for tmpfs put it in \"o\"");
        if (!found)
            return err_set(err, ERR_INVALID, "invalid driver option: \"%s\"", key);
    }
    if (driver_wants_mount(options) && !*jstr(options, "device", ""))
        return err_set(err, ERR_INVALID, "missing required driver option: \"device\"");
    return 0;
}

bool driver_wants_mount(const json_t *options)
{
    return *jstr(options, "type", "") || *jstr(options, "o", "") || *jstr(options, "device", "");
}

static bool is_mountpoint(const char *path, const char *device)
{
    struct stat here, above, source;
    char *parent AUTOFREE = path_dir(path);
    if (stat(path, &here) < 0 || stat(parent, &above) < 0)
        return false;
    /* A bind mount from the same file system differs only in its inode. */
    return here.st_dev != above.st_dev ||
           (stat(device, &source) == 0 && source.st_ino == here.st_ino &&
            source.st_dev == here.st_dev);
}

/* NFS and CIFS want addr= as a number, which mount.nfs(8) would look up. */
static int add_address(struct strbuf *data, const char *host, struct err *err)
{
    struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc)
        return err_set(err, ERR_UNAVAILABLE, "addr=%s: %s", host, gai_strerror(rc));
    char text[INET6_ADDRSTRLEN];
    getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
    strbuf_addf(data, "addr=%s", text);
    return 0;
}

static bool apply_flag(const char *word, unsigned long *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        if (!streq(flags[i].word, word))
            continue;
        *out = flags[i].clear ? *out & ~flags[i].flag : *out | flags[i].flag;
        return true;
    }
    return false;
}

static int parse(const char *words, unsigned long *out, struct strbuf *data, struct err *err)
{
    char *copy AUTOFREE = xstrdup(words);
    char *rest = NULL;
    for (char *w = strtok_r(copy, ",", &rest); w; w = strtok_r(NULL, ",", &rest)) {
        if (apply_flag(w, out))
            continue;
        if (data->len)
            strbuf_addch(data, ',');
        if (!starts_with(w, "addr="))
            strbuf_addstr(data, w);
        else if (add_address(data, w + 5, err) < 0)
            return -1;
    }
    return 0;
}

int driver_mount(const json_t *options, const char *target, struct err *err)
{
    const char *type = jstr(options, "type", ""), *device = jstr(options, "device", "");
    struct strbuf data AUTOBUF = STRBUF_INIT;
    unsigned long mask = 0;
    if (parse(jstr(options, "o", ""), &mask, &data, err) < 0)
        return -1;
    bool bind = mask & MS_BIND;
    if (is_mountpoint(target, bind ? device : ""))
        return 0;
    unsigned long first = bind ? mask & (MS_BIND | MS_REC) : mask;
    if (mount(device, target,
              bind    ? NULL
              : *type ? type
                      : NULL,
              first, bind || !data.len ? NULL : data.buf) < 0)
        return err_sys(err, errno, "failed to mount local volume: mount %s:%s, data: %s", device,
                       target, data.buf);
    /* A bind mount takes its other flags only in a second step. */
    if (bind && mask & ~(MS_BIND | MS_REC) &&
        mount(NULL, target, NULL, mask | MS_REMOUNT, NULL) < 0) {
        int saved = errno;
        umount2(target, MNT_DETACH);
        return err_sys(err, saved, "failed to mount local volume: mount %s:%s", device, target);
    }
    return 0;
}
