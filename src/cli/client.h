/* One request to a project's supervisor, on a libuv loop. See engine/protocol.h.
 *
 * When the supervisor dies another is started, and asked to go on where that can be done; a few deaths in a row are an
 * error. Who follows container events is told by an event "following" that nothing is missing up to there but what
 * nobody has written down: then it is time to look at the containers again. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/json.h"
#include "base/paths.h"
#include "model/project.h"

struct client;

struct client_handler {
    /* An event object; name is its member "event". */
    void (*event)(void *ctx, const char *name, const json_t *event);
    /* The connection is gone; nothing is called after it, and the client may be freed. err: NULL after
     * "done" or "error", or when the client was cancelled; otherwise what broke. */
    void (*closed)(void *ctx, struct err *err);
    void *ctx;
};

/* Connects (starting the supervisor where start says so and none runs: ERR_NOT_FOUND otherwise) and
 * sends the request: blocking, but only for a local socket. */
int client_open(uv_loop_t *loop, const struct paths *paths, const char *project, bool start,
                const json_t *request, const struct client_handler *handler, struct client **out,
                struct err *err);
/* Hangs up: the supervisor cancels what is under way. closed() follows. */
void client_cancel(struct client *c);
/* Only after closed(). NULL is fine. */
void client_free(struct client *c);

/* A request with "v", "op" and empty options; services NULL: none given. */
json_t *request_new(const char *op, const char *const *services);
/* Adds "project" and the variables that its secrets and configs come from. */
void request_project(json_t *request, const struct project *p);
/* Members of the request's options. */
void request_bool(json_t *request, const char *name, bool value);
void request_int(json_t *request, const char *name, int64_t value);
void request_str(json_t *request, const char *name, const char *value); /* NULL: left out */
void request_json(json_t *request, const char *name, json_t *take_value);

#endif
