/* Where a registry is reached: the host itself or its mirrors, by TLS or, for loopback and
 * configured registries, without.
 *
 * Settings are those of Docker's daemon.json ("insecure-registries", "registry-mirrors"), read from
 * /etc/docker/daemon.json and /etc/compose/registries.json, with COMPOSE_INSECURE_REGISTRIES and
 * COMPOSE_REGISTRY_MIRRORS (comma-separated) in addition. */
#ifndef IMAGE_MODULE_ENDPOINT_H
#define IMAGE_MODULE_ENDPOINT_H

#include <stdbool.h>

#include "base/vec.h"

struct endpoint {
    char *base;     /* "https://registry-1.docker.io" */
    char *host;     /* "registry-1.docker.io", "localhost:5000" */
    bool no_verify; /* certificates are not checked */
    bool mirror;
};

typedef VEC(struct endpoint) endpoint_list;

/* In the order in which they are tried. */
void endpoints_find(const char *registry, bool mirrors, endpoint_list *list);
void endpoints_release(endpoint_list *list);

#endif
