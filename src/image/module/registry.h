/* A repository at a registry: OCI distribution-spec v1.1 (Docker Registry HTTP API V2), token
 * authentication (distribution/docs/spec/auth/token.md and oauth.md), mirrors, retries.
 *
 * One struct registry is shared by the threads of a transfer; each has a client of its own. */
#ifndef IMAGE_MODULE_REGISTRY_H
#define IMAGE_MODULE_REGISTRY_H

#include "base/err.h"
#include "base/json.h"
#include "image/module/http.h"
#include "image/module/layer.h"
#include "image/reference.h"

struct registry;
struct registry_client;

/* push: tokens are asked for with the right to push, and mirrors are left out. stop lives as long
 * as the registry. NULL: the settings of registries are wrong. */
struct registry *registry_new(const struct reference *ref, const char *auth_file, bool push,
                              const struct stop *stop, struct err *err);
void registry_free(struct registry *registry);
/* Told, in whichever thread it happens, before a request is sent again in ms; blobs that are fetched
 * tell their sink. */
typedef void (*registry_retrying)(void *ctx, const char *why, int64_t ms);
void registry_on_retry(struct registry *registry, registry_retrying retrying, void *ctx);
/* After a failure, with no request under way: false if it was not a mirror's, else the next endpoint
 * is asked from now on. */
bool registry_leave_mirror(struct registry *registry);
struct registry_client *registry_client_new(struct registry *registry);
void registry_client_free(struct registry_client *client);
/* The registry's name for messages: the host that is asked. */
const char *registry_host(const struct registry *registry);

struct manifest {
    char *text; /* as it came: what the digest is of */
    size_t n;
    char digest[72];
    char *media_type;
    json_t *json;
};
void manifest_release(struct manifest *manifest);

/* The digest that a tag stands for now, without fetching the manifest; 0 with digest[0] '\0' where
 * the registry does not say. ERR_NOT_FOUND, ERR_DENIED. */
int registry_head(struct registry_client *client, const char *tag, char digest[72],
                  struct err *err);
/* what: a tag or a digest, which is verified. */
int registry_manifest(struct registry_client *client, const char *what, struct manifest *manifest,
                      struct err *err);
/* Streams a blob, and goes on where it broke off; the sink verifies. */
int registry_blob(struct registry_client *client, const char *digest, struct layer_sink *sink,
                  struct err *err);
/* A small blob, verified; heap. */
int registry_blob_text(struct registry_client *client, const char *digest, int64_t size,
                       char **text, struct err *err);

/* Push. */
int registry_has_blob(struct registry_client *client, const char *digest, bool *has,
                      struct err *err);
int registry_put_blob(struct registry_client *client, const char *digest, const char *path,
                      int64_t size, void (*progress)(void *ctx, int64_t sent), void *ctx,
                      struct err *err);
int registry_put_manifest(struct registry_client *client, const char *tag, const char *media_type,
                          const char *text, size_t n, struct err *err);

/* "image NAME: ..." in one line without control characters: registries have a say in messages. */
int wrap_transfer(struct err *err, const char *image);

#endif
