/* What a project is on disk: one JSON file a container, written by the supervisor alone and read by
 * everybody (ps, logs, exec, port, ... need no supervisor).
 *
 * ROOT/projects/P/project.json                  the project as last applied (model/decode.h)
 * ROOT/projects/P/containers/ID/container.json  one struct container_record
 * ROOT/projects/P/containers/ID/{status,log}    the monitor's, see runtime/monitor.h */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"

/* docker's container states */
enum container_status {
    CONTAINER_CREATED,
    CONTAINER_RUNNING,
    CONTAINER_PAUSED,
    CONTAINER_RESTARTING,
    CONTAINER_REMOVING,
    CONTAINER_EXITED,
    CONTAINER_DEAD,
};

enum health_status { HEALTH_NONE, HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };

struct container_port {
    char *host_ip;      /* NULL: all */
    uint16_t published; /* 0: only exposed */
    uint16_t target;
    char *protocol;
};

struct container_network {
    char *network; /* name on the machine */
    char *ifname, *ipv4, *ipv6, *mac;
    char **aliases; /* DNS names */
};

struct container_mount {
    char *type;   /* "bind", "volume", "tmpfs", "image" */
    char *name;   /* of a volume; the ID of an image; else NULL */
    char *source; /* host path, NULL: tmpfs */
    char *target;
    bool read_only, anonymous;
};

struct container_record {
    char *id; /* 64 hex digits */
    char *name, *project, *service;
    int number;  /* replica, from 1 */
    bool oneoff; /* made by `run` */
    bool auto_remove;
    bool hide_aliases; /* `run` without --use-aliases: only its own name resolves */
    char *image, *image_id;
    char *command; /* as ps shows it, unquoted and untruncated */
    char *config_hash;
    char *hostname;
    char *runtime;  /* OCI runtime that runs it, NULL: never started */
    char *replaces; /* ID of the container that is removed because there is this one, NULL */
    json_t *labels; /* object of strings */
    json_t *config; /* the project cut down to its service: model/decode.h, project_to_json() */
    /* What it was given besides its section: {"configs": {KEY: DIGEST}, "secrets": {KEY: DIGEST},
     * "networks": {KEY: NAME}, "volumes": {KEY: NAME}}; NULL: made by a version that did not say. */
    json_t *inputs;

    enum container_status status;
    pid_t pid;
    unsigned long long pid_start; /* see pid_start_time() */
    int exit_code;
    bool oom_killed;
    char *error;                        /* why the last start failed, NULL */
    int64_t created, started, finished; /* ns since the epoch, 0: never */
    int restart_count;                  /* by its policy, since it was last started by hand */
    int restart_attempts;               /* in a row, for max_attempts: see restart_policy.window */
    int unhealthy_restarts;             /* in a row, for x-restart-unhealthy */
    bool stopped_by_user;               /* `stop`: restart policies leave it alone */
    char *hook;   /* due or under way: "post_start[0]", "pre_stop[1]"; NULL: none */
    bool due;     /* a command has stopped it only to have it run again */
    bool unsaved; /* read from RUN: the one in ROOT is out of date */
    bool tty, stdin_open;

    enum health_status health;
    int health_failing_streak;
    char *health_output; /* of the last probe */

    char **
        log_sink; /* where its output goes besides the log file, and with what: engine/log_driver.h; NULL */

    struct container_port *ports;
    size_t ports_n;
    char **exposed; /* "80/tcp", of the image and of expose:, while it runs */
    struct container_network *networks;
    size_t networks_n;
    struct container_mount *mounts;
    size_t mounts_n;
};

const char *container_status_name(enum container_status s); /* "running" */
const char *health_status_name(enum health_status h);       /* "healthy"; HEALTH_NONE: "" */

void container_record_release(struct container_record *c);
/* Forgets ports and networks: what a container has only while it runs. */
void container_record_clear_endpoints(struct container_record *c);
/* Makes the folder where it is missing. What fails for want of room is put into RUN meanwhile, from where
 * readers take it. */
int container_record_write(const struct paths *p, const struct container_record *c,
                           struct err *err);
/* Into RUN only: for what the next container_record_write() is about to outdate, and what nobody has to know after
 * a reboot. */
int container_record_note(const struct paths *p, const struct container_record *c, struct err *err);
/* Folders that a removal has left without a record. Only while nobody makes containers. */
void container_records_sweep(const struct paths *p, const char *project);
int container_record_remove(const struct paths *p, const struct container_record *c,
                            struct err *err);

struct container_list {
    struct container_record *v; /* by service, then number, one-offs last */
    size_t n;
};
/* Damaged records are left out and told through log_line(); one of a newer program fails (ERR_CONFLICT). A project unknown: empty list.
 * A running container whose process is gone is given as exited (code from the monitor's status). */
int container_list_read(const struct paths *p, const char *project, struct container_list *out,
                        struct err *err);
void container_list_release(struct container_list *l);

/* A container of any project but the one named (NULL: of any) by its name. 0: found; ERR_NOT_FOUND.
 */
int container_find(const struct paths *p, const char *name, const char *except_project,
                   struct container_record *out, struct err *err);

/* Names of the projects that have containers or a project.json; NULL-terminated heap vector. */
char **project_names(const struct paths *p);

#endif
