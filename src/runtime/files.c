#include "runtime/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "runtime/monitor.h"

enum { SECRET_MAX = 16 << 20, RESOLV_MAX = 1 << 20, HOSTS_MAX = 16 << 20 };

static const char localhost[] = "127.0.0.1\tlocalhost\n"
                                "::1\tlocalhost ip6-localhost ip6-loopback\n"
                                "fe00::\tip6-localnet\n"
                                "ff00::\tip6-mcastprefix\n"
                                "ff02::1\tip6-allnodes\n"
                                "ff02::2\tip6-allrouters\n";

/* Written in place: these files are bound into a container that may be running. */
static int write_file(const char *dir, const char *name, const char *text, size_t n, mode_t mode,
                      struct err *err)
{
    char *path AUTOFREE = path_join(dir, name);
    int fd AUTOCLOSE = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 || fchmod(fd, mode) < 0 || fd_write_all(fd, text, n) < 0)
        return err_sys(err, errno, "write %s", path);
    return 0;
}

/* In the network of the host, or of another container, its names hold. Heap, NULL: it has a network of its own. */
static char *hosts_of_network(const struct bundle_request *r)
{
    char *owner AUTOFREE = r->netns ? files_run_of(r->paths, r->netns) : xstrdup("/etc");
    char *path AUTOFREE = owner ? path_join(owner, "hosts") : NULL;
    char *text = NULL;
    if (path && fs_read(path, HOSTS_MAX, &text, NULL, NULL) < 0)
        return NULL;
    return text;
}

static int write_hosts(const struct bundle_request *r, const char *run, struct err *err)
{
    struct strbuf text AUTOBUF = STRBUF_INIT;
    char *shared AUTOFREE = hosts_of_network(r);
    strbuf_addstr(&text, shared ? shared : localhost);
    if (text.len && text.buf[text.len - 1] != '\n')
        strbuf_addstr(&text, "\n");
    for (size_t i = 0; i < r->hosts_n; i++)
        strbuf_addf(&text, "%s\t%s\n", r->hosts[i].address, r->hosts[i].name);
    return write_file(run, "hosts", text.buf, text.len, 0644, err);
}

/* The host's is copied: what the container writes to it stays its own affair. */
static int write_resolv(const struct bundle_request *r, const char *run, struct err *err)
{
    if (r->resolv_conf)
        return write_file(run, "resolv.conf", r->resolv_conf, strlen(r->resolv_conf), 0644, err);
    char *text AUTOFREE = NULL;
    size_t n = 0;
    if (fs_read("/etc/resolv.conf", RESOLV_MAX, &text, &n, NULL) < 0)
        n = 0;
    return write_file(run, "resolv.conf", text ? text : "", n, 0644, err);
}

static bool needs_copy(const struct bundle_file *f)
{
    return !f->source || f->uid >= 0 || f->gid >= 0 || f->mode >= 0;
}

char *files_source(const struct bundle_request *r, size_t i)
{
    if (!needs_copy(&r->files[i]))
        return path_abs(NULL, r->files[i].source);
    char *run AUTOFREE = paths_container_run(r->paths, r->id);
    return xasprintf("%s/secrets/%zu", run, i);
}

/* Secrets never reach a disk: RUN is a tmpfs, or gets one here. */
static int make_secrets_folder(const char *run, char **dir, struct err *err)
{
    char *d AUTOFREE = path_join(run, "secrets");
    struct statfs fs;
    if (fs_mkdir_p(d, 0700, err) < 0)
        return -1;
    if (statfs(d, &fs) < 0)
        return err_sys(err, errno, "%s", d);
    if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC &&
        mount("tmpfs", d, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
        return err_sys(err, errno, "mount a tmpfs at %s", d);
    *dir = STEAL(d);
    return 0;
}

static int write_secret(const struct bundle_file *f, const char *dir, size_t i, struct err *err)
{
    char *read AUTOFREE = NULL, *name AUTOFREE = xasprintf("%zu", i);
    const char *content = f->content;
    size_t n = f->len;
    struct stat st = {0};
    if (f->source) {
        if (stat(f->source, &st) < 0)
            return err_sys(err, errno, "%s", f->source);
        if (fs_read(f->source, SECRET_MAX, &read, &n, err) < 0)
            return -1;
        content = read;
    }
    char *path AUTOFREE = path_join(dir, name);
    /* A copy that an earlier start has left may be read-only even to us (no capabilities). */
    unlink(path);
    if (write_file(dir, name, content ? content : "", n, 0600, err) < 0)
        return -1;
    uid_t uid = f->uid >= 0 ? (uid_t)f->uid : st.st_uid;
    gid_t gid = f->gid >= 0 ? (gid_t)f->gid : st.st_gid;
    if (chown(path, uid, gid) < 0 || chmod(path, f->mode >= 0 ? (mode_t)f->mode : 0444) < 0)
        return err_sys(err, errno, "%s", path);
    return 0;
}

int files_write(const struct bundle_request *r, struct err *err)
{
    char *run AUTOFREE = paths_container_run(r->paths, r->id);
    char *hostname AUTOFREE = xasprintf("%s\n", r->hostname ? r->hostname : "");
    if (write_hosts(r, run, err) < 0 || write_resolv(r, run, err) < 0 ||
        write_file(run, "hostname", hostname, strlen(hostname), 0644, err) < 0)
        return -1;
    char *dir AUTOFREE = NULL;
    for (size_t i = 0; i < r->files_n; i++) {
        if (!needs_copy(&r->files[i]))
            continue;
        if (!dir && make_secrets_folder(run, &dir, err) < 0)
            return -1;
        if (write_secret(&r->files[i], dir, i, err) < 0)
            return err_wrap(err, "%s", r->files[i].target);
    }
    return 0;
}

char *files_run_of(const struct paths *p, const char *namespace)
{
    int pid;
    char *all AUTOFREE = path_join(p->run, "containers");
    DIR *d = sscanf(namespace, "/proc/%d/", &pid) == 1 ? opendir(all) : NULL;
    char *found = NULL;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char *run AUTOFREE = path_join(all, e->d_name), *state AUTOFREE = path_join(run, "state");
        char *line AUTOFREE = NULL;
        struct monitor_status st;
        if (fs_read(state, 4096, &line, NULL, NULL) == 0 && monitor_status_parse(line, &st) &&
            st.phase == MONITOR_RUNNING && st.pid == pid)
            found = STEAL(run);
    }
    if (d)
        closedir(d);
    return found;
}

char *files_shm_of(const struct paths *p, const char *ipc_path)
{
    char *run AUTOFREE = files_run_of(p, ipc_path);
    char *shm = run ? path_join(run, "shm") : NULL;
    if (shm && !fs_is_dir(shm)) {
        free(shm);
        return NULL;
    }
    return shm;
}
