/* Health probes of one running container: a command, by the OCI runtime's exec, or a port.
 *
 * Docker's rules for what a probe means (retries, start_period), and one of our own for when it
 * runs: the first one runs at once, and while the container is starting they come back from 50 ms,
 * doubling, up to start_interval or interval. A probe that Docker would not have made yet never
 * counts as a failure. */
#ifndef ENGINE_HEALTH_H
#define ENGINE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "engine/state.h"
#include "image/image.h"
#include "model/project.h"
#include "runtime/oci.h"

struct health_config {
    char **command;         /* argv, NULL: none */
    struct port_probe port; /* instead, where it has a kind; borrowed from the service */
    int netns;              /* taken: the container's, for port; -1 */
    int64_t interval, timeout, start_period, start_interval; /* ns */
    int retries;
};

/* The service's healthcheck over the image's, with Docker's defaults. shell: the image's, for
 * CMD-SHELL. */
void health_config_of(const struct healthcheck *service, const struct image_config *image,
                      struct health_config *out);
void health_config_release(struct health_config *c);

struct health;

struct health_events {
    /* After every probe. output: borrowed, at most 4096 bytes. */
    void (*result)(void *arg, enum health_status status, int failing_streak, const char *output);
};

/* Where the probes of an adopted container stood; of a new one all is zero but its age. */
struct health_past {
    int64_t age; /* ns since the container started */
    enum health_status status;
    int failing_streak;
};

/* Starts probing. first: the container's first process, pidfd: of it, borrowed until health_stop(). Takes config. */
struct health *health_start(uv_loop_t *loop, const struct paths *paths,
                            const struct oci_runtime *runtime, const char *id, pid_t first,
                            int pidfd, const struct health_past *past,
                            struct health_config *take_config, const struct health_events *events,
                            void *arg);
/* Stops; a probe that runs is killed. No event comes afterwards. NULL is fine. */
void health_stop(struct health *h);

#endif
