/* From a service and an image to something that an OCI runtime can run: root file system (overlay),
 * config.json, /etc/{hosts,hostname,resolv.conf}, secrets and configs.
 *
 * On disk, DIR = ROOT/projects/P/containers/ID: upper/ work/ (overlay), hosts, hostname, resolv.conf,
 * secrets/ (on tmpfs below RUN), config.json in RUN/containers/ID, rootfs mounted at
 * RUN/containers/ID/rootfs. All of it can be made again from the same request after a reboot;
 * upper/ keeps what the container wrote. */
#ifndef RUNTIME_BUNDLE_H
#define RUNTIME_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/paths.h"
#include "image/store.h"
#include "model/project.h"
#include "runtime/oci.h"

/* A mount whose source is already known on this host. */
struct bundle_mount {
    enum mount_type type;
    char *source; /* host path; bind, volume, image: made by the caller; NULL: tmpfs */
    char *target; /* absolute in the container */
    bool read_only;
    const struct service_mount *from; /* further options; may be NULL */
};

/* A secret or a config, content resolved by the caller. */
struct bundle_file {
    char *source;  /* host file to bind read-only; or NULL and content */
    char *content; /* written to a file on tmpfs */
    size_t len;
    char *target;
    long uid, gid; /* -1: default (source's owner; content: 0) */
    int mode;      /* -1: default 0444 */
};

/* One address for /etc/hosts. */
struct bundle_host {
    char *address, *name;
};

struct bundle_request {
    const struct paths *paths;
    const struct oci_runtime *runtime;
    const char *id, *name, *project, *dir; /* dir: see above */
    const struct service *service;
    const struct image *image;

    /* What `run` changes; NULL / -1: as the service says. */
    const char *const *command; /* replaces command, and with entrypoint set also the image's cmd */
    const char *const *entrypoint;
    const char *const *environment; /* "K=V", put over the service's */
    const char *user, *working_dir;
    int tty, stdin_open;

    const struct bundle_mount *mounts; /* volumes:, tmpfs from volumes:, volumes_from; not tmpfs: */
    size_t mounts_n;
    const struct bundle_file *files;
    size_t files_n;
    const char *hostname;            /* resolved: hostname:, else the id's first 12 digits */
    const char *netns;               /* path; NULL: the host's network */
    const char *resolv_conf;         /* text; NULL: bind the host's file */
    const struct bundle_host *hosts; /* own addresses and extra_hosts; written after localhost */
    size_t hosts_n;
    const char *ipc_path, *pid_path,
        *uts_path;           /* namespaces of another container (/proc/PID/ns/..) */
    const char *cgroup_path; /* "/compose/<project>/<id>", below cgroup_parent when given */
};

/* Mounts the root file system only: what volume_seed() needs before bundle_write(). Idempotent. */
int bundle_mount_rootfs(const struct bundle_request *r, char **rootfs, struct err *err);
/* Mounts the image read-only below RUN/containers/ID, for a mount of type image; *out is the path.
 * index: which of the container's. Idempotent. */
int bundle_mount_image(const struct paths *p, const char *id, size_t index,
                       const struct image *image, char **out, struct err *err);
/* Writes everything else. The root file system must be mounted. */
int bundle_write(const struct bundle_request *r, struct err *err);
/* Unmounts whatever is mounted below RUN/containers/ID and removes that folder. Idempotent; works
 * without a request: also for containers of which nothing else is known. */
int bundle_release(const struct paths *p, const char *id, struct err *err);

/* Writes an OCI process document for exec from the container's own config.json (RUN/containers/ID),
 * changed by the non-NULL members; path: heap, a new file below RUN/containers/ID. */
struct exec_request {
    const char *id;
    const char *const *command;
    const char *const *environment; /* "K=V" added */
    const char *user, *working_dir;
    bool tty, privileged;
};
int exec_process_write(const struct paths *p, const struct exec_request *r, char **path,
                       struct err *err);
/* The command line as Docker's events have it: "sh -c exit 3", and "true " without arguments. Heap. */
char *exec_text(const char *const *command);

/* Effective command line, healthcheck and user-visible command string of service + image + overrides
 * (the rules of entrypoint/command/CMD as Docker has them). NULL-terminated heap vector. */
char **bundle_command(const struct bundle_request *r);

#endif
