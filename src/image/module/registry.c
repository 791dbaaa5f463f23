#include "image/module/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/units.h"
#include "image/module/auth.h"
#include "image/module/endpoint.h"
#include "image/module/hash.h"
#include "image/module/token.h"

enum {
    ATTEMPTS = 6,
    RETRY_AFTER_MAX = 30, /* s: what a registry may make us wait; who is told more, is told so */
};

static const char MANIFEST_TYPES[] = MEDIA_OCI_INDEX ", " MEDIA_OCI_MANIFEST ", " MEDIA_DOCKER_LIST
                                                     ", " MEDIA_DOCKER_MANIFEST;

struct registry {
    char *name, *repository;
    endpoint_list endpoints;
    size_t current; /* the endpoint that answers */
    bool settled;   /* it has answered: no further one is tried */
    bool push;
    char *auth_file;
    const struct stop *stop;
    registry_retrying retrying;
    void *retrying_ctx;
    pthread_mutex_t mutex; /* of what follows */
    bool credentials_known;
    struct credentials credentials;
    char *authorization; /* "Bearer ..." or "Basic ...", NULL: none was needed so far */
    unsigned generation; /* of the authorization: which one a refused request had used */
};

struct registry_client {
    struct registry *registry;
    struct http *http;
};

struct registry *registry_new(const struct reference *ref, const char *auth_file, bool push,
                              const struct stop *stop, struct err *err)
{
    endpoint_list endpoints;
    if (endpoints_find(ref->registry, !push, &endpoints, err) < 0)
        return NULL;
    struct registry *r = xcalloc(1, sizeof(*r));
    r->endpoints = endpoints;
    r->name = xstrdup(ref->registry);
    r->repository = xstrdup(ref->repository);
    r->auth_file = auth_file ? xstrdup(auth_file) : NULL;
    r->push = push;
    r->stop = stop;
    pthread_mutex_init(&r->mutex, NULL);
    return r;
}

void registry_on_retry(struct registry *r, registry_retrying retrying, void *ctx)
{
    r->retrying = retrying;
    r->retrying_ctx = ctx;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    free(r->name);
    free(r->repository);
    free(r->auth_file);
    free(r->authorization);
    credentials_release(&r->credentials);
    endpoints_release(&r->endpoints);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

struct registry_client *registry_client_new(struct registry *registry)
{
    struct registry_client *c = xcalloc(1, sizeof(*c));
    c->registry = registry;
    c->http = http_new(registry->stop);
    return c;
}

void registry_client_free(struct registry_client *c)
{
    if (!c)
        return;
    http_free(c->http);
    free(c);
}

const char *registry_host(const struct registry *r)
{
    return r->endpoints.v[r->current].host;
}

void manifest_release(struct manifest *m)
{
    free(m->text);
    free(m->media_type);
    json_decref(m->json);
    *m = (struct manifest){0};
}

/* A mirror is somebody else: the registry's login is not for it. */
static int load_credentials(struct registry *r, struct err *err)
{
    const struct endpoint *e = &r->endpoints.v[r->current];
    if (r->credentials_known)
        return 0;
    if (credentials_load(r->auth_file, e->mirror ? e->host : r->name, &r->credentials, err) < 0)
        return -1;
    r->credentials_known = true;
    return 0;
}

/* Answers a 401: a new authorization in the place of that of the given generation, unless another
 * thread got one meanwhile. Threads that come at the same time wait for the first one's. */
static int authorize(struct registry_client *c, struct http_response *response, unsigned generation,
                     struct err *err)
{
    struct registry *r = c->registry;
    int rc = 0;
    pthread_mutex_lock(&r->mutex);
    if (generation == r->generation) {
        char *token AUTOFREE = NULL;
        rc = load_credentials(r, err);
        if (rc == 0 && response->bearer) {
            const struct token_request ask = {
                .challenge = response->bearer,
                .repository = r->repository,
                .push = r->push,
                .credentials = &r->credentials,
                .endpoint = &r->endpoints.v[r->current],
            };
            rc = token_fetch(c->http, &ask, &token, response, err);
        } else if (rc == 0 && !(response->basic && r->credentials.user)) {
            rc = err_set(err, ERR_DENIED, "a login is needed");
        }
        if (rc == 0) {
            free(r->authorization);
            r->authorization = token ? xasprintf("Bearer %s", token)
                                     : basic_authorization(r->credentials.user,
                                                           r->credentials.password);
            r->generation++;
        }
    }
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

/* {"errors":[{"code":"...","message":"..."}]}, distribution-spec "Error codes"; heap or NULL. */
static char *error_text(const struct http_response *response)
{
    json_t *j AUTOJSON = json_loadb(response->body.buf, response->body.len, 0, NULL);
    const json_t *first = json_array_get(json_object_get(j, "errors"), 0);
    const char *message = jstr(first, "message", jstr(first, "code", NULL));
    return message ? xasprintf("%.300s", message) : NULL;
}

static int status_error(const struct http_response *response, const char *what, struct err *err)
{
    char *said AUTOFREE = error_text(response);
    const char *sep = said ? ": " : "", *text = said ? said : "";
    switch (response->status) {
    case 401:
    case 403:
        return err_set(err, ERR_DENIED,
                       "access denied: it does not exist or needs a login (HTTP %ld%s%s)",
                       response->status, sep, text);
    case 404:
        return err_set(err, ERR_NOT_FOUND, "%s not found (HTTP 404%s%s)", what, sep, text);
    case 429:
        if (response->retry_after >= 0)
            return err_set(err, ERR_UNAVAILABLE,
                           "its rate limit is reached; it may be asked again in %lld s "
                           "(HTTP 429%s%s)",
                           (long long)response->retry_after, sep, text);
        return err_set(err, ERR_UNAVAILABLE, "its rate limit is reached (HTTP 429%s%s)", sep, text);
    default:
        return err_set(err, ERR_UNAVAILABLE, "%s: HTTP %ld%s%s", what, response->status, sep, text);
    }
}

struct call {
    const char *path; /* below /v2/REPOSITORY/; or a whole URL */
    const char *what; /* for messages */
    struct http_request request;
    struct layer_sink *blob; /* where the body of a blob goes; it resumes by what it has */
    int64_t from;            /* the first byte that was asked for */
    int64_t position;        /* in a whole answer to that */
    bool once;               /* not repeated: the body would be gone */
};

/* Tells who watches, and waits before attempt n + 1: 0.2, 0.4, ... s and as much again at random, or
 * what it was told. */
static int back_off(struct registry *r, const struct call *call, int n, int64_t retry_after,
                    const struct err *why, struct err *err)
{
    int64_t ms = (int64_t)200 << n;
    ms += random() % (ms + 1);
    if (retry_after >= 0 && ms < retry_after * 1000)
        ms = retry_after * 1000;
    if (call->blob)
        layer_sink_retrying(call->blob, why->msg, ms);
    else if (r->retrying)
        r->retrying(r->retrying_ctx, why->msg, ms);
    int64_t end = time_monotonic() + ms * 1000000;
    while (time_monotonic() < end) {
        if (stop_now(r->stop))
            return err_set(err, ERR_CANCELLED, "cancelled");
        poll(NULL, 0, 50);
    }
    return 0;
}

/* A server may answer a range with the whole: what the sink has already is left out. */
static int blob_sink(void *ctx, long status, const void *data, size_t n)
{
    struct call *call = ctx;
    if (status == 200 && call->position < call->from) {
        int64_t left = call->from - call->position;
        size_t drop = left < (int64_t)n ? (size_t)left : n;
        call->position += (int64_t)drop;
        data = (const char *)data + drop;
        n -= drop;
    }
    return n ? layer_sink_write(call->blob, data, n) : 0;
}

static char *call_url(const struct registry *r, const struct call *call)
{
    if (strstr(call->path, "://"))
        return xstrdup(call->path);
    const char *base = r->endpoints.v[r->current].base;
    if (call->path[0] == '/')
        return xasprintf("%s%s", base, call->path);
    return xasprintf("%s/v2/%s%s/%s", base, r->endpoints.v[r->current].prefix, r->repository,
                     call->path);
}

static bool is_at(const char *url, const struct endpoint *e)
{
    size_t n = strlen(e->base);
    return starts_with(url, e->base) && strchr("/?", url[n]);
}

/* One request, with an answer to a 401. */
static int request_once(struct registry_client *c, struct call *call,
                        struct http_response *response, struct err *err)
{
    struct registry *r = c->registry;
    for (int refused = 0;; refused++) {
        pthread_mutex_lock(&r->mutex);
        char *authorization AUTOFREE = r->authorization ? xstrdup(r->authorization) : NULL;
        unsigned generation = r->generation;
        pthread_mutex_unlock(&r->mutex);
        const struct endpoint *e = &r->endpoints.v[r->current];
        char *url AUTOFREE = call_url(r, call);
        struct http_request q = call->request;
        q.url = url;
        /* An upload may have been sent to another host: the token is not for it. */
        if (is_at(url, e))
            q.authorization = authorization;
        q.no_verify = e->no_verify;
        q.certs = e->host;
        if (call->blob) {
            q.sink = blob_sink;
            q.sink_ctx = call;
            q.range_from = call->from = layer_sink_received(call->blob);
            call->position = 0;
        }
        if (http_do(c->http, &q, response, err) < 0)
            return -1;
        if (response->status != 401 || refused == 2)
            return 0;
        if (authorize(c, response, generation, err) < 0)
            return -1;
        http_response_release(response);
    }
}

/* Who one is at one endpoint is no concern of the next. */
static void go_on(struct registry *r)
{
    pthread_mutex_lock(&r->mutex);
    r->current++;
    r->settled = false;
    free(r->authorization);
    r->authorization = NULL;
    credentials_release(&r->credentials);
    r->credentials_known = false;
    r->generation++;
    pthread_mutex_unlock(&r->mutex);
}

/* Go's, nginx's and Apache's answers to plain text at a TLS port. */
static bool wants_tls(const struct http_response *response)
{
    return response->status == 400 && response->body.len &&
           (strstr(response->body.buf, "HTTPS") || strstr(response->body.buf, "SSL"));
}

/* Whether another endpoint should be asked: before one has answered, or when a mirror fails. */
static bool next_endpoint(struct registry *r, const struct http_response *response,
                          const struct err *why)
{
    const struct endpoint *e = &r->endpoints.v[r->current];
    bool spoke = response->status && !wants_tls(response);
    bool failed = !response->status || response->status >= 400;
    if (r->settled || !failed || r->current + 1 >= r->endpoints.n || (spoke && !e->mirror))
        return false;
    go_on(r);
    if (e->mirror && !streq(e->host, registry_host(r)) && r->retrying) {
        char *text AUTOFREE = xasprintf("mirror %s: %s", e->host, why->msg);
        r->retrying(r->retrying_ctx, text, 0);
    }
    return true;
}

bool registry_leave_mirror(struct registry *r)
{
    if (!r->endpoints.v[r->current].mirror)
        return false;
    go_on(r);
    return true;
}

/* Whether the request is sent again, after a while. */
static bool again(const struct call *call, const struct http_response *response, int attempt)
{
    return http_may_pass(response) && !call->once && attempt + 1 < ATTEMPTS &&
           response->retry_after <= RETRY_AFTER_MAX;
}

/* 0: an answer below 400 came. The response is the caller's in any case. */
static int request(struct registry_client *c, struct call *call, struct http_response *response,
                   struct err *err)
{
    struct registry *r = c->registry;
    int64_t received = 0;
    for (int attempt = 0;; attempt++) {
        struct err why AUTOERR = ERR_INIT;
        int rc = request_once(c, call, response, &why);
        /* A connection that breaks off again and again, but moves, is not given up. */
        if (call->blob && layer_sink_received(call->blob) > received) {
            received = layer_sink_received(call->blob);
            attempt = 0;
        }
        /* Broken off behind the last byte: there is nothing left to ask for. */
        if (rc < 0 && call->blob && layer_sink_complete(call->blob))
            return 0;
        if (rc == 0 && response->status < 400) {
            if (!r->settled)
                r->settled = true;
            return 0;
        }
        if (response->sink_refused)
            return -1;
        if (rc == 0)
            status_error(response, call->what, &why);
        if (why.kind != ERR_CANCELLED && next_endpoint(r, response, &why)) {
            http_response_release(response);
            attempt--;
            continue;
        }
        if (!again(call, response, attempt)) {
            err_move(err, &why);
            return -1;
        }
        int64_t retry_after = response->retry_after;
        http_response_release(response);
        if (back_off(r, call, attempt, retry_after, &why, err) < 0)
            return -1;
    }
}

static int wrap(const struct registry_client *c, struct err *err)
{
    return err_wrap(err, "registry %s", registry_host(c->registry));
}

int registry_head(struct registry_client *c, const char *tag, char digest[72], struct err *err)
{
    char *path AUTOFREE = xasprintf("manifests/%s", tag);
    struct call call = {.path = path, .what = "manifest", .request = HTTP_REQUEST_INIT};
    call.request.method = "HEAD";
    call.request.accept = MANIFEST_TYPES;
    struct http_response response;
    digest[0] = '\0';
    int rc = request(c, &call, &response, err);
    if (rc == 0 && response.digest && digest_valid(response.digest))
        snprintf(digest, 72, "%s", response.digest);
    http_response_release(&response);
    return rc < 0 ? wrap(c, err) : 0;
}

static int take_manifest(struct http_response *response, const char *what, struct manifest *m,
                         struct err *err)
{
    m->n = response->body.len;
    m->text = strbuf_detach(&response->body);
    digest_of(m->text, m->n, m->digest);
    const char *want = digest_valid(what) ? what : response->digest;
    if (want && digest_valid(want) && !streq(want, m->digest))
        return err_set(err, ERR_CORRUPT, "digest mismatch: the manifest has %s in the place of %s",
                       m->digest, want);
    m->json = json_loadb(m->text, m->n, 0, NULL);
    if (!json_is_object(m->json))
        return err_set(err, ERR_CORRUPT, "the manifest is not a JSON object");
    if (jint(m->json, "schemaVersion", 0) == 1)
        return err_set(err, ERR_INVALID, "the manifest is of schema 1, which is no longer in use");
    const char *type = manifest_media_type(m->json);
    if (!type || !(media_is_index(type) || streq(type, MEDIA_OCI_MANIFEST) ||
                   streq(type, MEDIA_DOCKER_MANIFEST)))
        return err_set(err, ERR_INVALID, "it is not a container image (%.100s)",
                       type ? type : "a manifest without layers");
    m->media_type = xstrdup(type);
    return 0;
}

int registry_manifest(struct registry_client *c, const char *what, struct manifest *m,
                      struct err *err)
{
    *m = (struct manifest){0};
    char *path AUTOFREE = xasprintf("manifests/%s", what);
    struct call call = {.path = path, .what = "manifest", .request = HTTP_REQUEST_INIT};
    call.request.method = "GET";
    call.request.accept = MANIFEST_TYPES;
    call.request.body_max = MANIFEST_MAX;
    struct http_response response;
    int rc = request(c, &call, &response, err);
    if (rc == 0)
        rc = take_manifest(&response, what, m, err);
    http_response_release(&response);
    if (rc < 0)
        manifest_release(m);
    return rc < 0 ? wrap(c, err) : 0;
}

int registry_blob(struct registry_client *c, const char *digest, struct layer_sink *sink,
                  struct err *err)
{
    char *path AUTOFREE = xasprintf("blobs/%s", digest);
    struct call call = {.path = path, .what = "blob", .request = HTTP_REQUEST_INIT, .blob = sink};
    call.request.method = "GET";
    struct http_response response;
    int rc = request(c, &call, &response, err);
    bool refused = response.sink_refused;
    http_response_release(&response);
    return rc < 0 && !refused ? wrap(c, err) : rc;
}

int registry_blob_text(struct registry_client *c, const char *digest, int64_t size, char **text,
                       struct err *err)
{
    char *path AUTOFREE = xasprintf("blobs/%s", digest);
    struct call call = {.path = path, .what = "config", .request = HTTP_REQUEST_INIT};
    call.request.method = "GET";
    call.request.body_max = CONFIG_MAX;
    struct http_response response;
    char actual[72];
    int rc = request(c, &call, &response, err);
    if (rc == 0 && (int64_t)response.body.len != size)
        rc = err_set(err, ERR_CORRUPT, "the config has %zu bytes in the place of %lld",
                     response.body.len, (long long)size);
    else if (rc == 0 && !streq(digest_of(response.body.buf, response.body.len, actual), digest))
        rc = err_set(err, ERR_CORRUPT, "digest mismatch: the config has %s in the place of %s",
                     actual, digest);
    if (rc == 0)
        *text = strbuf_detach(&response.body);
    http_response_release(&response);
    return rc < 0 ? wrap(c, err) : 0;
}

int registry_has_blob(struct registry_client *c, const char *digest, bool *has, struct err *err)
{
    char *path AUTOFREE = xasprintf("blobs/%s", digest);
    struct call call = {.path = path, .what = "blob", .request = HTTP_REQUEST_INIT};
    call.request.method = "HEAD";
    struct http_response response;
    struct err why AUTOERR = ERR_INIT;
    int rc = request(c, &call, &response, &why);
    *has = rc == 0;
    http_response_release(&response);
    if (rc == 0 || why.kind == ERR_NOT_FOUND)
        return 0;
    err_move(err, &why);
    return wrap(c, err);
}

/* distribution-spec "Pushing a blob monolithically", POST then PUT. */
static int upload_url(struct registry_client *c, const char *digest, char **url, struct err *err)
{
    struct call call = {.path = "blobs/uploads/", .what = "upload", .request = HTTP_REQUEST_INIT};
    call.request.method = "POST";
    struct http_response response;
    int rc = request(c, &call, &response, err);
    if (rc == 0 && !response.location)
        rc = err_set(err, ERR_UNAVAILABLE, "it does not say where to upload");
    if (rc == 0)
        *url = xasprintf("%s%cdigest=%s", response.location,
                         strchr(response.location, '?') ? '&' : '?', digest);
    http_response_release(&response);
    return rc;
}

int registry_put_blob(struct registry_client *c, const char *digest, const char *path, int64_t size,
                      void (*progress)(void *ctx, int64_t sent), void *ctx, struct err *err)
{
    int fd AUTOCLOSE = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    for (int attempt = 0;; attempt++) {
        struct err why AUTOERR = ERR_INIT;
        char *url AUTOFREE = NULL;
        if (lseek(fd, 0, SEEK_SET) < 0)
            return err_sys(err, errno, "seek %s", path);
        if (upload_url(c, digest, &url, err) < 0)
            return wrap(c, err);
        struct call call = {
            .path = url, .what = "upload", .request = HTTP_REQUEST_INIT, .once = true};
        call.request.method = "PUT";
        call.request.content_type = "application/octet-stream";
        call.request.upload = fd;
        call.request.upload_n = size;
        call.request.uploaded = progress;
        call.request.uploaded_ctx = ctx;
        struct http_response response;
        int rc = request(c, &call, &response, &why);
        call.once = false;
        bool repeat = rc < 0 && again(&call, &response, attempt);
        int64_t retry_after = response.retry_after;
        http_response_release(&response);
        if (rc == 0)
            return 0;
        if (!repeat) {
            err_move(err, &why);
            return wrap(c, err);
        }
        if (back_off(c->registry, &call, attempt, retry_after, &why, err) < 0)
            return -1;
    }
}

int registry_put_manifest(struct registry_client *c, const char *tag, const char *media_type,
                          const char *text, size_t n, struct err *err)
{
    char *path AUTOFREE = xasprintf("manifests/%s", tag);
    struct call call = {.path = path, .what = "manifest", .request = HTTP_REQUEST_INIT};
    call.request.method = "PUT";
    call.request.content_type = media_type;
    call.request.body = text;
    call.request.body_n = n;
    struct http_response response;
    int rc = request(c, &call, &response, err);
    http_response_release(&response);
    return rc < 0 ? wrap(c, err) : 0;
}

int wrap_transfer(struct err *err, const char *image)
{
    for (char *p = err->msg; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == '\x7f')
            *p = ' ';
    return err_wrap(err, "image %s", image);
}
