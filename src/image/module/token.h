/* Bearer tokens: the answer to a registry's challenge
 * (distribution/docs/spec/auth/token.md, oauth.md; RFC 9110 11). */
#ifndef IMAGE_MODULE_TOKEN_H
#define IMAGE_MODULE_TOKEN_H

#include "base/err.h"
#include "image/module/auth.h"
#include "image/module/endpoint.h"
#include "image/module/http.h"

struct token_request {
    const char *challenge; /* what follows "Bearer " */
    const char *repository;
    bool push; /* with the right to push */
    const struct credentials *credentials;
    const struct endpoint *endpoint; /* who asks for it */
};

/* *token is heap. On failure retriable and retry_after of failed (the caller's) say whether it may
 * pass. */
int token_fetch(struct http *http, const struct token_request *request, char **token,
                struct http_response *failed, struct err *err);

#endif
