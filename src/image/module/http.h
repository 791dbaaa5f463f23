/* HTTP(S) over libcurl, one request at a time and one struct http a thread: connections are kept and
 * reused, also by the next http_new() after an http_free(); redirects are followed without taking
 * the authorization along; a stop is noticed within a tenth of a second. */
#ifndef IMAGE_MODULE_HTTP_H
#define IMAGE_MODULE_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "image/layout.h"

struct http;

struct http *http_new(const struct stop *stop);
void http_free(struct http *http);

struct http_request {
    const char *method; /* "GET", "HEAD", "POST", "PUT", "PATCH" */
    const char *url;
    const char *accept;        /* NULL: any */
    const char *authorization; /* NULL: none */
    const char *content_type;  /* of the body */
    const void *body;          /* sent, NULL: none */
    size_t body_n;
    int upload; /* fd sent from its position to its end as the body, when upload_n >= 0 */
    int64_t upload_n;
    void (*uploaded)(void *ctx, int64_t n); /* told now and then; may be NULL */
    void *uploaded_ctx;
    int64_t range_from; /* > 0: the bytes from there on */
    bool no_verify;     /* a registry that is configured as insecure */
    const char *certs;  /* host[:port]: CA and client certificates in certs.d; NULL: none */
    /* Takes the body of a 200 or 206; -1 stops. Other bodies are kept in the response. */
    int (*sink)(void *ctx, long status, const void *data, size_t n);
    void *sink_ctx;
    size_t body_max; /* bytes of a kept body; more is an error */
};
#define HTTP_REQUEST_INIT                                                                          \
    {                                                                                              \
        .upload = -1, .upload_n = -1, .body_max = 1 << 20                                          \
    }

struct http_response {
    long status; /* 0: none came */
    struct strbuf body;
    char *content_type, *digest, *location, *bearer;
    bool basic;          /* the server offers basic authentication */
    int64_t retry_after; /* seconds from now, -1: not said */
    bool sink_refused;   /* the sink said -1: err is not set */
    bool retriable;      /* it failed in a way that may pass */
};

/* 0: a response with some status came, whole. -1: err, or sink_refused. */
int http_do(struct http *http, const struct http_request *request, struct http_response *response,
            struct err *err);
void http_response_release(struct http_response *response);
/* Whether the same request may succeed later. */
bool http_may_pass(const struct http_response *response);

#endif
