/* Who one is at a registry: Docker's config.json (auths, credHelpers, credsStore, identity tokens;
 * protocol of docker-credential-*). */
#ifndef IMAGE_MODULE_AUTH_H
#define IMAGE_MODULE_AUTH_H

#include <stdbool.h>

#include "base/err.h"

struct credentials {
    char *user, *password; /* both NULL: anonymous */
    char *identity_token;  /* OAuth2 refresh token, in the place of a password */
};

/* file NULL: $DOCKER_CONFIG/config.json, else ~/.docker/config.json; a missing file is anonymous.
 * registry: "docker.io", "host:port". */
int credentials_load(const char *file, const char *registry, struct credentials *c,
                     struct err *err);
bool credentials_any(const struct credentials *c);
void credentials_release(struct credentials *c);

/* "Basic BASE64", heap. */
char *basic_authorization(const char *user, const char *password);

#endif
