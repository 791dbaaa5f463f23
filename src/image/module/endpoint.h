/* Where a registry is reached: its mirrors first, then the host itself; by TLS or, for loopback and
 * configured registries, without.
 *
 * Settings are those of Docker's /etc/docker/daemon.json ("insecure-registries",
 * "registry-mirrors") and of a file of our own, /etc/compose/registries.json or what
 * COMPOSE_REGISTRIES names, which besides these two has mirrors of any registry:
 *
 *     { "mirrors": { "ghcr.io": ["https://mirror.lan/ghcr"] } }
 *
 * COMPOSE_INSECURE_REGISTRIES and COMPOSE_REGISTRY_MIRRORS (comma-separated) add to them. */
#ifndef IMAGE_MODULE_ENDPOINT_H
#define IMAGE_MODULE_ENDPOINT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/vec.h"

struct endpoint {
    char *base;     /* "https://registry-1.docker.io" */
    char *host;     /* "registry-1.docker.io", "localhost:5000" */
    char *prefix;   /* before the repository: "" or, at a mirror, "ghcr/" */
    bool no_verify; /* certificates are not checked */
    bool mirror;
};

typedef VEC(struct endpoint) endpoint_list;

/* In the order in which they are tried. -1: our file of settings is wrong. */
int endpoints_find(const char *registry, bool mirrors, endpoint_list *list, struct err *err);
void endpoints_release(endpoint_list *list);

#endif
